//! A file's text as a tree in which every node knows its place.

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::{Mistake, Place};

/// Levels of lists and maps inside each other.
const MAX_DEPTH: usize = 32;

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// What a file can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text; `plain` when it was written without quotes, so that it may be meant as a number or a word.
    Text {
        /// The text.
        text: String,
        /// Whether it had no quotes.
        plain: bool,
    },
    /// `- a` or `[a]`
    List(Vec<Node>),
    /// `a: b` or `{a: b}`, in order; a key may occur twice.
    Map(Vec<(String, Place, Node)>),
}

/// Reads a file's text. An empty file is an empty map.
pub fn parse(file: &str, text: &str) -> Result<Node, Mistake> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder { open: vec![], root: None };
    let mistake =
        |place, message: &str| Mistake { file: file.to_owned(), place, message: message.to_owned() };
    let mut documents = 0;
    while let Some(next) = parser.next_event() {
        let (event, span) =
            next.map_err(|error| mistake(place(*error.marker()), &error.kind().to_string()))?;
        if let Event::DocumentStart(..) = event {
            documents += 1;
            if documents > 1 {
                return Err(mistake(start(&span), "a file holds one document: remove this `---`"));
            }
        }
        builder.take(event, start(&span)).map_err(|(place, message)| mistake(place, message))?;
    }
    let nothing = Node { place: Place { line: 1, column: 1 }, value: Value::Map(vec![]) };
    Ok(builder.root.filter(|root| !root.is_nothing()).unwrap_or(nothing))
}

impl Node {
    /// Whether nothing, `~` or `null` stands here.
    pub fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Text { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

fn start(span: &Span) -> Place {
    place(span.start)
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or map that has begun.
struct Open {
    place: Place,
    collected: Collected,
}

enum Collected {
    List(Vec<Node>),
    Map(Vec<(String, Place, Node)>, Option<(String, Place)>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), (Place, &'static str)> {
        let collected = match event {
            Event::Alias(_) => {
                return Err((place, "references (`*name`) are not supported: write the value out"));
            }
            Event::Scalar(_, _, anchor, ref tag) if anchor > 0 || tag.is_some() => {
                return Err((place, "anchors (`&name`) and tags (`!name`) are not supported: remove it"));
            }
            Event::SequenceStart(_, anchor, ref tag) | Event::MappingStart(_, anchor, ref tag)
                if anchor > 0 || tag.is_some() =>
            {
                return Err((place, "anchors (`&name`) and tags (`!name`) are not supported: remove it"));
            }
            Event::Scalar(text, style, ..) => {
                let value = Value::Text { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                return self.add(Node { place, value });
            }
            Event::SequenceStart(..) => Collected::List(vec![]),
            Event::MappingStart(..) => Collected::Map(vec![], None),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let value = match open.collected {
                    Collected::List(items) => Value::List(items),
                    Collected::Map(entries, _) => Value::Map(entries),
                };
                return self.add(Node { place: open.place, value });
            }
            _ => return Ok(()),
        };
        if self.open.len() >= MAX_DEPTH {
            return Err((place, "too many lists and maps inside each other"));
        }
        self.open.push(Open { place, collected });
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), (Place, &'static str)> {
        match self.open.last_mut().map(|open| &mut open.collected) {
            None => self.root = Some(node),
            Some(Collected::List(items)) => items.push(node),
            Some(Collected::Map(entries, key)) => match key.take() {
                Some((name, place)) => entries.push((name, place, node)),
                None => {
                    let Value::Text { text, .. } = node.value else {
                        return Err((node.place, "a key is a word"));
                    };
                    *key = Some((text, node.place));
                }
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complaint(text: &str) -> String {
        parse("f", text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_yaml_is_said_in_words() {
        assert_eq!(complaint("a:\n  b: ["), "f:2:6: unclosed bracket '['");
    }

    #[test]
    fn every_node_knows_its_place() {
        let Value::Map(entries) = parse("f", "a: 1\nb:\n  - x\n  - {c: 'd'}\n").unwrap().value else {
            panic!("a map")
        };
        assert_eq!((entries[0].0.as_str(), entries[0].1), ("a", Place { line: 1, column: 1 }));
        assert_eq!(entries[0].2.place, Place { line: 1, column: 4 });
        let Value::List(items) = &entries[1].2.value else { panic!("a list") };
        assert_eq!(items[0].place, Place { line: 3, column: 5 });
        let Value::Map(inner) = &items[1].value else { panic!("a map") };
        assert_eq!(inner[0].2.value, Value::Text { text: "d".into(), plain: false });
    }

    #[test]
    fn what_would_hide_a_meaning_is_refused_with_its_place() {
        assert!(complaint("a: &x 1\nb: *x\n").starts_with("f:1:"));
        assert!(complaint("a: 1\n---\nb: 2\n").starts_with("f:2:1: a file holds one document"));
        assert!(complaint("a: !!binary x\n").starts_with("f:1:"));
        assert!(complaint("a: [1, 2\n").starts_with("f:"));
        assert!(complaint(&format!("{}{}", "[".repeat(40), "]".repeat(40))).contains("inside each other"));
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        for text in ["", "# nothing\n", "~\n"] {
            assert_eq!(parse("f", text).unwrap().value, Value::Map(vec![]));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-a-z:{}\\[\\],\"'&*!|>#%@` \n\t~0-9]{0,120}") {
            let _ = parse("f", &text);
        }
    }
}
