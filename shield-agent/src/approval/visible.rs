//! Characters nobody can see, made visible: `‹U+202E›`.
//!
//! For everything an agent wrote that a person reads. Control characters, those that turn text around, and those that
//! take no room or look like a space are spelled out, so that two different texts never look the same for that reason.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What is spelled out: also the bracket we spell with.
static UNSEEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\p{Zs}‹&&[^ ]]")
        .expect("a valid expression")
});

/// For one line.
pub fn line(text: &str) -> String {
    UNSEEN.replace_all(text, |found: &Captures<'_>| spelled(&found[0])).into_owned()
}

/// For a block of text: line ends and tabs stay what they are.
pub fn block(text: &str) -> String {
    UNSEEN
        .replace_all(text, |found: &Captures<'_>| match &found[0] {
            kept @ ("\n" | "\t") => kept.to_owned(),
            other => spelled(other),
        })
        .into_owned()
}

fn spelled(character: &str) -> String {
    character.chars().map(|c| format!("‹U+{:04X}›", u32::from(c))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        let cases = [
            ("plain ü 漢 🚀", "plain ü 漢 🚀"),
            ("a\u{202e}b", "a‹U+202E›b"),
            ("a\u{200b}\u{feff}\u{ad}", "a‹U+200B›‹U+FEFF›‹U+00AD›"),
            ("a\u{a0}b\u{3000}", "a‹U+00A0›b‹U+3000›"),
            ("\u{1b}[31m\0", "‹U+001B›[31m‹U+0000›"),
            ("\u{e0041}\u{fe0f}\u{3164}\u{2028}", "‹U+E0041›‹U+FE0F›‹U+3164›‹U+2028›"),
            ("‹U+202E›", "‹U+2039›U+202E›"),
        ];
        for (given, expected) in cases {
            assert_eq!(line(given), expected, "{given:?}");
        }
        assert_eq!(line("a\nb"), "a‹U+000A›b");
        assert_eq!(block("a\r\n\tb"), "a‹U+000D›\n\tb");
    }
}
