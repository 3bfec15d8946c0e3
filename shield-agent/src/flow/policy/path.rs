//! Paths: the forms in which a server may read one, and templates that match them.
//!
//! The same resource can be written in many ways, and servers differ in which they understand. A rule that restricts is
//! compared with every form, so that a spelling is no way around it; a rule that permits must match all of them.

use percent::decode;

/// The path as sent, and every other reading of it that differs.
pub(super) fn forms(path: &str) -> Vec<String> {
    let mut forms = vec![path.to_owned()];
    let plain = |path: &str| !path.contains(['%', ';', '\\', '.']) && !path.contains("//");
    if plain(path) {
        return forms;
    }
    let mut add = |form: String| {
        if !forms.contains(&form) {
            forms.push(form);
        }
    };
    // Servers decode once; chains of proxies and servers decode twice.
    let once = decode(path);
    let twice = decode(&once);
    for decoded in [path, &once, &twice] {
        add(resolve(decoded, false));
        add(resolve(decoded, true));
    }
    forms
}

/// Without empty and dot segments; with `strip`, also without `;parameters`.
fn resolve(path: &str, strip: bool) -> String {
    let slashes = path.replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    for segment in slashes.split('/') {
        let segment = if strip { segment.split(';').next().unwrap_or_default() } else { segment };
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let end = if slashes.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

mod percent {
    //! Percent-decoding that never fails: what is no escape stays as it is.

    pub(super) fn decode(text: &str) -> String {
        let bytes = text.as_bytes();
        let mut decoded = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let pair = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
            match pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()) {
                Some(value) if pair.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit)) => {
                    decoded.push(value);
                    at += 3;
                }
                _ => {
                    decoded.push(byte);
                    at += 1;
                }
            }
        }
        String::from_utf8_lossy(&decoded).into_owned()
    }
}

/// `/v1/customers/{id}`: literal segments, `{name}` for one segment, `{name..}` at the end for any number of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    segments: Vec<Segment>,
    rest: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One,
}

impl Template {
    /// Reads a template; the error says what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("a path begins with `/`: `/{text}`"));
        };
        let mut template = Self { segments: vec![], rest: false };
        for segment in path.split('/') {
            if template.rest {
                return Err(format!("`{text}`: `{{…..}}` stands for all the rest and must be last"));
            }
            match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) if name.strip_suffix("..").is_some_and(is_name) => template.rest = true,
                Some(name) if is_name(name) => template.segments.push(Segment::One),
                None if !segment.contains(['{', '}', '?', '#', '*']) => {
                    template.segments.push(Segment::Literal(segment.to_owned()));
                }
                _ => {
                    let wanted = "expected words, `{name}` for one segment or `{name..}` for the rest";
                    return Err(format!("`{segment}` in `{text}`: {wanted}"));
                }
            }
        }
        if template.segments.last() == Some(&Segment::Literal(String::new())) {
            template.segments.pop();
        }
        Ok(template)
    }

    /// Whether a path is meant; a slash at its end makes no difference.
    pub(super) fn matches(&self, path: &str) -> bool {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut given = path.split('/').filter(|_| !path.is_empty());
        let fits = self.segments.iter().all(|segment| match (segment, given.next()) {
            (Segment::Literal(literal), Some(given)) => literal == given,
            (Segment::One, Some(given)) => !given.is_empty(),
            (_, None) => false,
        });
        fits && (self.rest || given.next().is_none())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_matches_segments() {
        for (template, path, fits) in [
            ("/v1/customers/{id}", "/v1/customers/8821", true),
            ("/v1/customers/{id}", "/v1/customers/8821/", true),
            ("/v1/customers/{id}", "/v1/customers/", false),
            ("/v1/customers/{id}", "/v1/customers/8821/notes", false),
            ("/repos/{rest..}", "/repos", true),
            ("/repos/{rest..}", "/repos/a/b/c", true),
            ("/repos/{rest..}", "/repositories", false),
            ("/", "/", true),
            ("/{rest..}", "/anything/at/all", true),
            ("/a/", "/a", true),
        ] {
            assert_eq!(Template::parse(template).unwrap().matches(path), fits, "{template} {path}");
        }
        for bad in ["v1", "/a/{}", "/a/{b", "/{rest..}/more", "/a*", "/a?b", "/{a b}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_spelling_of_a_path_has_the_plain_one_among_its_forms() {
        for spelling in [
            "/v1//customers/8821",
            "/v1/./customers/8821",
            "/v1/x/../customers/8821",
            "/v1/%63ustomers/8821",
            "/v1/customers/%38821",
            "/v1/x/%2e%2e/customers/8821",
            "/v1/%2E/customers/8821",
            "/v1;a=b/customers;c/8821",
            "/v1%2fcustomers%2f8821",
            "/v1/%2563ustomers/8821",
            "\\v1\\customers\\8821",
            "/v1/customers/8821;jsessionid=1",
        ] {
            let forms = forms(spelling);
            assert!(forms.iter().any(|form| form == "/v1/customers/8821"), "{spelling}: {forms:?}");
        }
        assert_eq!(forms("/v1/customers/8821"), ["/v1/customers/8821"]);
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic_and_the_first_form_is_what_was_sent(path in "/[a-z%0-9./;\\\\é]{0,40}") {
            prop_assert_eq!(&forms(&path)[0], &path);
        }
    }
}
