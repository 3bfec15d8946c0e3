//! Links in documents lead somewhere.

/// Complaints about relative links in Markdown `text` whose target does not exist.
pub(super) fn check(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:") || file.is_empty();
            if !elsewhere && !exists(file) {
                complaints.push(format!(":{}: the link to {target} leads nowhere", number + 1));
            }
        }
    }
    complaints
}

/// What the inline links of a line point to.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_file_that_is_not_there_is_named_with_its_line() {
        let text =
            "[a](there.md) [b](https://x.example/y)\n[c](gone.md#part) [d](#here)\n```\n[e](code.md)\n```\n";
        assert_eq!(check(text, |file| file == "there.md"), [":2: the link to gone.md#part leads nowhere"]);
    }
}
