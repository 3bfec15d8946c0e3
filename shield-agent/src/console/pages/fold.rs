//! Long text, folded so that its beginning and its END are always on the page: what hides, hides in a long middle, and
//! that is one tap away and counted.

use crate::approval::visible;

/// Characters and lines that are shown before the fold …
const HEAD: (usize, usize) = (1500, 30);

/// … and after it: enough for whatever is put at the end to be overlooked.
const TAIL: (usize, usize) = (2000, 30);

/// The same for what is one line: an address, a header field, a command.
const LINE: (usize, usize) = (320, 4);

/// A fold that hides less than this is none.
const WORTH_FOLDING: usize = 400;

/// Empty lines, or spaces within a line, that are shown as they are.
const ROOM: usize = 3;
const SPACES: usize = 24;

/// Text in up to three parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Folded {
    pub(super) head: String,
    /// Empty when nothing is folded.
    pub(super) middle: String,
    pub(super) tail: String,
    /// How much the middle is, in words.
    pub(super) hidden: String,
}

/// Folds a body that was spelled out.
pub(super) fn fold(text: &str) -> Folded {
    cut(squeezed(text), HEAD, TAIL)
}

/// Folds a line that was spelled out.
pub(super) fn fold_line(text: &str) -> Folded {
    cut(squeezed(text), LINE, LINE)
}

fn cut(text: String, head: (usize, usize), tail: (usize, usize)) -> Folded {
    let head = reach(text.chars(), head);
    let tail = text.len() - reach(text.chars().rev(), tail);
    if head >= tail || text[head..tail].chars().count() < WORTH_FOLDING {
        return Folded { head: text, ..Folded::default() };
    }
    let middle = &text[head..tail];
    let (characters, lines) = (middle.chars().count(), middle.lines().count());
    let hidden = match lines {
        1 => format!("{characters} characters"),
        _ => format!("{characters} characters in {lines} lines"),
    };
    Folded { head: text[..head].into(), middle: middle.into(), tail: text[tail..].into(), hidden }
}

/// The end of a text that is not shown whole, spelled out.
pub(super) fn end_of(text: &str) -> String {
    let spelled = visible::block(&text[text.len() - reach(text.chars().rev(), TAIL)..]);
    let spelled = squeezed(&spelled);
    spelled[spelled.len() - reach(spelled.chars().rev(), TAIL)..].to_owned()
}

/// Bytes until so many characters or lines are over.
fn reach(characters: impl Iterator<Item = char>, (most, lines): (usize, usize)) -> usize {
    let mut ends = 0;
    let within = characters.take(most).take_while(|&character| {
        ends += usize::from(character == '\n');
        ends < lines
    });
    within.map(char::len_utf8).sum()
}

/// Says how much white space there is, instead of letting it push what follows out of sight.
fn squeezed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            empty += 1;
            if empty <= ROOM {
                out.push_str(line);
            }
            continue;
        }
        note_empty(&mut out, std::mem::take(&mut empty));
        squeeze_line(&mut out, line);
    }
    note_empty(&mut out, empty);
    out
}

fn note_empty(out: &mut String, empty: usize) {
    if empty > ROOM {
        out.push_str(&format!("‹{} more empty lines›\n", empty - ROOM));
    }
}

fn squeeze_line(out: &mut String, line: &str) {
    let mut rest = line;
    while let Some(at) = rest.find([' ', '\t']) {
        let run = rest[at..].len() - rest[at..].trim_start_matches([' ', '\t']).len();
        out.push_str(&rest[..at]);
        match run > SPACES {
            true => out.push_str(&format!(" ‹{run} spaces› ")),
            false => out.push_str(&rest[at..at + run]),
        }
        rest = &rest[at + run..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_not_folded() {
        assert_eq!(fold("a\nb"), Folded { head: "a\nb".into(), ..Folded::default() });
        assert_eq!(fold(""), Folded::default());
    }

    #[test]
    fn the_end_is_shown_however_long_the_text_is() {
        for filling in ["x".repeat(100_000), "line\n".repeat(5000), "ü漢".repeat(9000), "a \n".repeat(9000)]
        {
            let text = format!("begin{filling}DROP TABLE users");
            let folded = fold(&text);
            assert!(folded.head.starts_with("begin"));
            assert!(folded.tail.ends_with("DROP TABLE users"));
            assert!(folded.tail.lines().count() <= 31);
            assert_eq!(format!("{}{}{}", folded.head, folded.middle, folded.tail), text);
            assert!(fold_line(&text).tail.ends_with("DROP TABLE users"));
            assert!(end_of(&text).ends_with("DROP TABLE users"));
        }
    }

    #[test]
    fn white_space_pushes_nothing_out_of_sight() {
        let text = format!("safe{}\nDROP{}x", "\n".repeat(500), " ".repeat(3000));
        assert_eq!(fold(&text).head, "safe\n\n\n\n‹497 more empty lines›\nDROP ‹3000 spaces› x");
        let indented = format!("{{\n{}\"a\": 1\n}}", " ".repeat(8));
        assert_eq!(fold(&indented).head, indented, "ordinary indentation stays");
    }
}
