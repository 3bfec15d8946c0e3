//! YAML with places: what people wrote in a configuration or policy file, and where every mistake in it is.
//!
//! A file is read as a whole and every mistake in it is found, not only the first. Anchors, tags and several documents
//! in a file are refused: they only make a file mean something else than it shows.

mod fields;
mod quantity;
mod tree;

use std::fmt;

pub use fields::{Fields, Reader};
pub use tree::{Node, Value, parse};

/// A place in a file; both numbers count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Something a person should change in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file, as it was named.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    /// `file:line:column: message`, as compilers write it and editors read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, message } = self;
        write!(f, "{file}:{}:{}: {message}", place.line, place.column)
    }
}

/// All mistakes in the files that were read, in the order of the files and of the places in them. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    /// A line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

/// The known word that `word` was most likely meant to be, if any is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &str| (distance(word, candidate), candidate.len());
    let best = known.into_iter().min_by_key(|candidate| near(candidate))?;
    (distance(word, best) <= 1 + word.len().max(best.len()) / 4).then_some(best)
}

/// Levenshtein's distance over bytes; words here are short.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, candidate) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != candidate);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_known_again_and_a_strange_one_is_not() {
        let known = ["method", "host", "path", "path_regex"];
        assert_eq!(nearest("metod", known), Some("method"));
        assert_eq!(nearest("hosts", known), Some("host"));
        assert_eq!(nearest("pathregex", known), Some("path_regex"));
        assert_eq!(nearest("colour", known), None);
    }
}
