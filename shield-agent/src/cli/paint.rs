//! Colour for people's terminals, and how wide those are. A pipe and `NO_COLOR` get none.

use std::fmt;
use std::io::IsTerminal as _;

/// Width of what is no terminal.
const PLAIN_WIDTH: usize = 80;

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(pub(super) bool);

/// What a text says beside its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Worth knowing.
    Led,
    /// Weaker than it could be.
    Weak,
    /// Wrong.
    Bad,
    /// Beside the point.
    Faint,
    /// A heading.
    Head,
}

impl Paint {
    /// For standard output.
    pub(super) fn stdout() -> Self {
        Self(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    /// `text` in a tone, in at least `width` columns.
    pub(super) fn text(self, tone: Tone, text: impl fmt::Display, width: usize) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Led => "36",
            Tone::Weak => "33",
            Tone::Bad => "1;31",
            Tone::Faint => "2",
            Tone::Head => "1",
        };
        let padded = format!("{text:<width$}");
        if self.0 { format!("\u{1b}[{code}m{padded}\u{1b}[0m") } else { padded }
    }
}

/// Columns of standard output.
pub(super) fn width() -> usize {
    terminal_size::terminal_size().map_or(PLAIN_WIDTH, |(width, _)| width.0.into())
}

/// Breaks `text` into lines of at most `width` columns, each after `indent` blanks.
pub(super) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(20);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    let blanks = " ".repeat(indent);
    lines.iter().map(|line| format!("{blanks}{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_never_torn_and_lines_never_too_long() {
        let text = wrapped("one two three four five six seven eight nine ten", 2, 24);
        assert!(text.lines().all(|line| line.starts_with("  ") && line.chars().count() <= 24), "{text}");
        assert_eq!(text.split_whitespace().count(), 10);
    }

    #[test]
    fn without_colour_there_is_nothing_but_the_words() {
        assert_eq!(Paint(false).text(Tone::Bad, "LEAK", 6), "LEAK  ");
        assert!(Paint(true).text(Tone::Bad, "LEAK", 6).contains("31m"));
    }
}
