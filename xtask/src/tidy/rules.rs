//! The rules about one file, as functions of its path and text.

/// Lines a file may have without saying why.
const MAX_LINES: usize = 400;

/// Words that do I/O, read a clock or start something: `inspect` and `policy` get time and bytes as arguments.
const IMPURE: [&str; 16] = [
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::std",
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "spawn(",
    "rand::",
    "println!",
    "File::open",
];

/// Complaints about a file, each beginning with `:line: `.
pub(super) fn check(file: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !file.ends_with(".rs") {
        return complaints;
    }
    if !text.starts_with("//!") {
        complaints.push(":1: begins without `//!`: say what the file does and what it never does".into());
    }
    if file.ends_with("/mod.rs") {
        complaints.push(":1: use `name.rs` beside `name/`, so that a folder lists only its parts".into());
    }
    let pure = file.contains("/flow/inspect") || file.contains("/flow/policy");
    let tests_begin = text.lines().position(|line| line.trim() == "#[cfg(test)]");
    let is_test_file = file.starts_with("tests/") || file.contains("/tests/") || file.ends_with("tests.rs");
    for (index, line) in text.lines().enumerate() {
        let in_test = is_test_file || tests_begin.is_some_and(|begin| index > begin);
        if let Some(complaint) = line_complaint(line, in_test, pure) {
            complaints.push(format!(":{}: {complaint}", index + 1));
        }
    }
    // This file spells out what it forbids.
    if file == "xtask/src/tidy/rules.rs" { Vec::new() } else { complaints }
}

/// A complaint when a file is longer than its limit: 400 lines, or what the list of exemptions grants.
pub(super) fn length(file: &str, text: &str, granted: Option<usize>) -> Option<String> {
    let lines = text.lines().count();
    if !file.ends_with(".rs") {
        return None;
    }
    match granted {
        Some(_) if lines <= MAX_LINES => {
            Some(format!(":1: is down to {lines} lines; remove it from tidy/long-files.txt"))
        }
        Some(granted) if lines > granted => {
            Some(format!(":1: has {lines} lines and may have {granted}; split it"))
        }
        None if lines > MAX_LINES => Some(format!(
            ":1: has {lines} lines, more than {MAX_LINES}: split it by idea, or list it with a reason"
        )),
        _ => None,
    }
}

fn line_complaint(line: &str, in_test: bool, pure: bool) -> Option<String> {
    let code = line.split("//").next().unwrap_or_default();
    if code.contains("#[allow(") || code.contains("#![allow(") {
        return Some(
            "use `#[expect(lint, reason = \"…\")]`: it disappears when it stops being needed".into(),
        );
    }
    if ["TODO", "FIXME"].iter().any(|word| line.contains(word)) {
        return Some("open an issue instead of leaving a note".into());
    }
    if in_test && (code.contains("sleep(") || code.contains("sleep_ms(")) {
        return Some("a test waits for a condition, never for time".into());
    }
    if in_test && code.trim_start().trim_start_matches("async ").starts_with("fn test_") {
        return Some("a test's name is a sentence about behaviour".into());
    }
    let forbidden = IMPURE.iter().find(|word| pure && !in_test && code.contains(**word))?;
    Some(format!("`{forbidden}` in a pure stage: take bytes and time as arguments"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(file: &str, text: &str) -> usize {
        check(file, text).len()
    }

    #[test]
    fn each_rule_finds_what_it_forbids() {
        let doc = "//! What it does.\n";
        for (file, line) in [
            ("a/src/x.rs", "#[allow(dead_code)]"),
            ("a/src/x.rs", "// TODO: later"),
            ("a/src/x/tests.rs", "    thread::sleep(SECOND);"),
            ("tests/host/x.rs", "tokio::time::sleep(SECOND).await;"),
            ("a/src/x.rs", "#[cfg(test)]\nmod tests { fn x() { sleep(SECOND); } }"),
            ("tests/host/x.rs", "async fn test_it() {}"),
            ("a/src/flow/policy/x.rs", "let now = Instant::now();"),
            ("a/src/flow/inspect.rs", "use std::fs;"),
        ] {
            assert_eq!(complaints(file, &format!("{doc}{line}\n")), 1, "{file}: {line}");
        }
        assert_eq!(complaints("a/src/x.rs", "fn main() {}\n"), 1);
        assert_eq!(complaints("a/src/x/mod.rs", doc), 1);
    }

    #[test]
    fn what_no_rule_forbids_passes() {
        let text = "//! What it does.\nfn wait() { sleep(SECOND) } // std::fs is not used\n";
        assert_eq!(complaints("a/src/x.rs", text), 0);
        let pure = "//! x\nlet y = 1;\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(complaints("a/src/flow/policy/x.rs", pure), 0);
        assert_eq!(complaints("README.md", "TODO"), 0);
    }

    #[test]
    fn a_long_file_needs_a_reason_and_never_outgrows_it() {
        let lines = |count| "x\n".repeat(count);
        assert!(length("a.rs", &lines(400), None).is_none());
        assert!(length("a.rs", &lines(401), None).is_some());
        assert!(length("a.rs", &lines(450), Some(450)).is_none());
        assert!(length("a.rs", &lines(451), Some(450)).is_some());
        assert!(length("a.rs", &lines(400), Some(450)).is_some());
    }
}
