//! Taking typed values out of a tree, collecting every mistake on the way.
//!
//! A reader never stops at a mistake: what is wrong yields nothing, the mistake is remembered, and whoever reads goes on.
//! In the end nothing is used unless there was no mistake at all.

use std::cell::RefCell;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::quantity;
use super::tree::{Node, Value};
use super::{Mistake, Mistakes, Place, nearest};

/// Reads the values of one file.
#[derive(Debug)]
pub struct Reader {
    file: String,
    mistakes: RefCell<Vec<Mistake>>,
}

/// The entries of a map, all of them known.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Where the map begins.
    pub place: Place,
    entries: Vec<(&'a str, &'a Node)>,
}

impl Reader {
    /// A reader for a file, as it is named in messages.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), mistakes: RefCell::default() }
    }

    /// Remembers a mistake.
    pub fn mistake(&self, place: Place, message: impl Display) {
        let mistake = Mistake { file: self.file.clone(), place, message: message.to_string() };
        self.mistakes.borrow_mut().push(mistake);
    }

    /// The mistakes so far, sorted by place.
    pub fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort();
        mistakes
    }

    /// `Ok` when there was no mistake.
    pub fn finish(self) -> Result<(), Mistakes> {
        let mistakes = self.into_mistakes();
        if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
    }

    /// The entries of a map that may have the `known` keys, each once. Entries without a value count as absent.
    pub fn fields<'a>(&self, node: &'a Node, known: &[&str]) -> Fields<'a> {
        let mut fields = Fields { place: node.place, entries: vec![] };
        let Value::Map(entries) = &node.value else {
            self.mistake(node.place, format_args!("expected a map with the keys {}", known.join(", ")));
            return fields;
        };
        for (name, place, value) in entries {
            if !known.contains(&name.as_str()) {
                let hint = match nearest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                self.mistake(*place, format_args!("unknown key `{name}`: {hint}"));
            } else if entries
                .iter()
                .take_while(|(_, other, _)| other != place)
                .any(|(other, ..)| other == name)
            {
                self.mistake(*place, format_args!("`{name}` is given twice: remove one"));
            } else if !value.is_nothing() {
                fields.entries.push((name, value));
            }
        }
        fields
    }

    /// Text without a type of its own.
    pub fn text<'a>(&self, node: &'a Node) -> Option<&'a str> {
        let Value::Text { text, .. } = &node.value else {
            self.mistake(node.place, "expected text");
            return None;
        };
        Some(text)
    }

    /// Text that is read by its own type; `wanted` says what that is.
    pub fn parsed<T: FromStr>(&self, node: &Node, wanted: &str) -> Option<T> {
        self.converted(node, wanted, |text| text.parse().ok())
    }

    /// `true` or `false`.
    pub fn flag(&self, node: &Node) -> Option<bool> {
        self.parsed(node, "true or false")
    }

    /// A duration.
    pub fn duration(&self, node: &Node) -> Option<Duration> {
        self.converted(node, "a duration such as 500ms, 30s, 15m, 2h or 7d", quantity::duration)
    }

    /// A number of bytes.
    pub fn size(&self, node: &Node) -> Option<u64> {
        self.converted(node, "a size such as 512KiB or 8MiB", quantity::size)
    }

    /// One of several words, each with what it means.
    pub fn word<T: Copy>(&self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.mistake(node.place, format_args!("expected one of {}, not `{text}`", all.join(", ")));
        }
        found
    }

    /// The items of a list; anything else counts as a list of one.
    pub fn items<'a>(&self, node: &'a Node) -> &'a [Node] {
        match &node.value {
            Value::List(items) => {
                if items.is_empty() {
                    self.mistake(
                        node.place,
                        "an empty list matches nothing: remove the key or name something",
                    );
                }
                items
            }
            _ => std::slice::from_ref(node),
        }
    }

    fn converted<T>(&self, node: &Node, wanted: &str, convert: impl Fn(&str) -> Option<T>) -> Option<T> {
        let Value::Text { text, .. } = &node.value else {
            self.mistake(node.place, format_args!("expected {wanted}"));
            return None;
        };
        let converted = convert(text);
        if converted.is_none() {
            self.mistake(node.place, format_args!("expected {wanted}, not `{text}`"));
        }
        converted
    }
}

impl<'a> Fields<'a> {
    /// A value, when the key is there.
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(known, _)| *known == name).map(|(_, node)| *node)
    }

    /// A value that must be there.
    pub fn required(&self, reader: &Reader, name: &str) -> Option<&'a Node> {
        let found = self.get(name);
        if found.is_none() {
            reader.mistake(self.place, format_args!("`{name}` is missing"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn mistakes(text: &str, read: impl Fn(&Reader, &Node)) -> Vec<String> {
        let reader = Reader::new("f");
        read(&reader, &parse("f", text).unwrap());
        reader.into_mistakes().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_mistakes_of_a_map_are_found_at_once() {
        let found = mistakes("wait: 5 weeks\nmx: 3\nwait: 1s\nmode: fast\n", |reader, node| {
            let fields = reader.fields(node, &["wait", "max", "mode", "id"]);
            fields.get("wait").and_then(|node| reader.duration(node));
            fields.get("mode").and_then(|node| reader.word(node, &[("slow", 1), ("slower", 2)]));
            fields.required(reader, "id");
        });
        assert_eq!(
            found,
            [
                "f:1:1: `id` is missing",
                "f:1:7: expected a duration such as 500ms, 30s, 15m, 2h or 7d, not `5 weeks`",
                "f:2:1: unknown key `mx`: did you mean `max`?",
                "f:3:1: `wait` is given twice: remove one",
                "f:4:7: expected one of slow, slower, not `fast`",
            ]
        );
    }

    #[test]
    fn a_single_value_counts_as_a_list_of_one_and_an_empty_list_is_a_mistake() {
        let reader = Reader::new("f");
        assert_eq!(reader.items(&parse("f", "[a, b]").unwrap()).len(), 2);
        assert_eq!(reader.items(&parse("f", "a").unwrap()).len(), 1);
        assert!(reader.finish().is_ok());
        assert_eq!(mistakes("[]", |reader, node| drop(reader.items(node).to_vec())).len(), 1);
    }
}
