//! Tests that documents name exist: `` `path/to/file.rs::function` ``, and `` `prove:path` `` for ways out that are tried.

/// Where the ways out that are tried are listed.
const PATHS: &str = "shield-agent/src/prove/path.rs";

/// Complaints about tests named in Markdown `text` that do not exist; `read` gives a file's text.
pub(super) fn check(text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let exists = |name: &str| match (name.split_once(".rs::"), name.strip_prefix("prove:")) {
        (Some((file, function)), _) => {
            read(&format!("{file}.rs")).is_some_and(|code| code.contains(&format!("fn {function}(")))
        }
        (_, Some(path)) => read(PATHS).is_some_and(|code| code.contains(&format!("\"{path}\""))),
        _ => true,
    };
    let lines = text.lines().enumerate();
    let missing = lines.flat_map(|(number, line)| {
        let names = line.split('`').skip(1).step_by(2).filter(|name| !exists(name));
        names.map(move |name| format!(":{}: there is no test {name}", number + 1)).collect::<Vec<_>>()
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_not_there_is_named_with_its_line() {
        let read = |file: &str| match file {
            "a.rs" => Some("fn holds() {".to_owned()),
            PATHS => Some("path(\"tcp4\")".to_owned()),
            _ => None,
        };
        let text = "`a.rs::holds` and `prove:tcp4`\n`a.rs::hold`, `b.rs::holds`, `prove:tcp`, `other`";
        let missing = ["a.rs::hold", "b.rs::holds", "prove:tcp"];
        assert_eq!(check(text, read), missing.map(|name| format!(":2: there is no test {name}")));
    }
}
