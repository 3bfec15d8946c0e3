//! The payloads in `tests/cases/smuggling/`, whose README says how they are written.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use shield_tests::speech::Protocol;

/// Where the payloads are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/smuggling");

/// What `{long}` stands for: more than a head may have.
const LONG: usize = 70_000;

const REST: &[u8] = b"{rest}";

/// One payload and what is expected of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// File and name.
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    lines: Vec<String>,
    pub(crate) expected: Expected,
    /// Whether it is about the name of a TLS session.
    pub(crate) only_tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The first answer has this status.
    Status(u16),
    /// Answered or reset.
    Refused,
    /// Ended without a word.
    Reset,
    /// No end yet.
    Waits,
    /// Sent and received as exactly these: method, target, body.
    Shown(Vec<[String; 3]>),
}

/// Every case, in the order of files and lines.
pub(crate) fn all() -> Result<Vec<Case>> {
    let listed = fs::read_dir(FOLDER).with_context(|| format!("cannot read {FOLDER}"))?;
    let mut files = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let read = files.iter().map(|file| read(file));
    Ok(read.collect::<Result<Vec<_>>>()?.concat())
}

fn read(file: &Path) -> Result<Vec<Case>> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).context("a file without a name")?;
    let protocol = if stem.starts_with("h2") { Protocol::H2 } else { Protocol::H1 };
    let mut cases = Vec::new();
    for section in fs::read_to_string(file)?.split("\n[").skip(1) {
        let (name, rest) = section.split_once("]\n").context("a name without its end")?;
        let name = format!("{stem}: {name}");
        cases.push(case(name.clone(), protocol, rest).with_context(|| name)?);
    }
    Ok(cases)
}

fn case(name: String, protocol: Protocol, text: &str) -> Result<Case> {
    let expected_at = text.find("\n=> ").context("nothing is expected")?;
    let (lines, expected) = text.split_at(expected_at);
    let expected: Vec<&str> = expected.lines().filter_map(|line| line.strip_prefix("=> ")).collect();
    let only_tls = protocol == Protocol::H2 || expected == ["421"];
    let expected = match expected[..] {
        ["refused"] => Expected::Refused,
        ["reset"] => Expected::Reset,
        ["waits"] => Expected::Waits,
        [status] if status.parse::<u16>().is_ok() => Expected::Status(status.parse()?),
        _ => Expected::Shown(expected.iter().map(|line| shown(line)).collect::<Result<_>>()?),
    };
    ensure!(lines.contains("{path}"), "nothing of it would be recognised");
    Ok(Case { name, protocol, lines: lines.split('\n').map(str::to_owned).collect(), expected, only_tls })
}

fn shown(line: &str) -> Result<[String; 3]> {
    let words = line.strip_prefix("shown ").with_context(|| format!("`{line}` is not known"))?;
    let mut words = words.splitn(3, ' ').map(str::to_owned);
    let (method, target) = (words.next().context("no method")?, words.next().context("no target")?);
    let body = words.next().unwrap_or_default();
    Ok([method, target, body.trim_matches('"').to_owned()])
}

impl Case {
    /// What is sent to the origin `host`, asking for what is under `path`.
    pub(crate) fn payload(&self, host: &str, path: &str) -> Result<Vec<u8>> {
        let filled = |text: &str| unescape(&fill(text, host, path));
        match self.protocol {
            Protocol::H2 => conversation(&self.lines, filled),
            Protocol::H1 => {
                let mut bytes = Vec::new();
                for (number, line) in self.lines.iter().enumerate() {
                    let (line, joined) =
                        line.strip_suffix('\\').map_or((&line[..], false), |line| (line, true));
                    bytes.extend(filled(line)?);
                    if !joined && number + 1 < self.lines.len() {
                        bytes.extend(b"\r\n");
                    }
                }
                Ok(with_length(bytes))
            }
        }
    }

    /// What is expected to be shown of it: method, target and body.
    pub(crate) fn shown(&self, host: &str, path: &str) -> Result<Vec<(String, String, Vec<u8>)>> {
        let Expected::Shown(shown) = &self.expected else { return Ok(vec![]) };
        let filled = |text: &str| fill(text, host, path);
        let one = |[method, target, body]: &[String; 3]| {
            Ok((method.clone(), filled(target), unescape(&filled(body))?))
        };
        shown.iter().map(one).collect()
    }
}

fn fill(text: &str, host: &str, path: &str) -> String {
    text.replace("{host}", host).replace("{path}", path).replace("{long}", &"a".repeat(LONG))
}

/// The number of bytes behind the head, in place of `{rest}`.
fn with_length(bytes: Vec<u8>) -> Vec<u8> {
    let find = |text: &[u8]| bytes.windows(text.len()).position(|part| part == text);
    let (Some(at), Some(end)) = (find(REST), find(b"\r\n\r\n")) else { return bytes };
    let length = (bytes.len() - end - 4).to_string();
    [&bytes[..at], length.as_bytes(), &bytes[at + REST.len()..]].concat()
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, (byte == b'\\').then(|| rest.next()).flatten()) {
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'0')) => 0,
            (b'\\', Some(b'\\')) => b'\\',
            (b'\\', Some(b'x')) => {
                let digits = [rest.next(), rest.next()].map(Option::unwrap_or_default);
                u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?
            }
            (b'\\', other) => bail!("`\\{:?}` is no escape", other.map(char::from)),
            (byte, _) => byte,
        });
    }
    Ok(bytes)
}

/// A connection of HTTP/2: preface, settings, and one request on stream 1.
fn conversation(lines: &[String], filled: impl Fn(&str) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut open = false;
    for line in ["! fields"].into_iter().chain(lines.iter().map(String::as_str)) {
        match line.strip_prefix("! ").map(|directive| directive.split_once(' ').unwrap_or((directive, ""))) {
            Some(("fields", _)) => frames.push(Frame { kind: HEADERS, bytes: vec![], split: usize::MAX }),
            Some(("data", text)) => {
                frames.push(Frame { kind: DATA, bytes: filled(text)?, split: usize::MAX });
            }
            Some(("split", size)) => last(&mut frames)?.split = size.parse()?,
            Some(("open", _)) => open = true,
            Some((other, _)) => bail!("`! {other}` is not known"),
            None => {
                let (name, value) = name_and_value(line)?;
                literal(&mut last(&mut frames)?.bytes, &filled(name)?, &filled(value)?)?;
            }
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let count = frames.len();
    for (number, frame) in frames.into_iter().enumerate() {
        frame.write(&mut bytes, !open && number + 1 == count)?;
    }
    Ok(bytes)
}

fn last(frames: &mut [Frame]) -> Result<&mut Frame> {
    frames.last_mut().context("no frame")
}

/// A pseudo field's name begins with the sign that ends every name.
fn name_and_value(line: &str) -> Result<(&str, &str)> {
    let end = line
        .char_indices()
        .skip(1)
        .find(|&(at, c)| c == ':' && line[at + 1..].chars().next().is_none_or(|next| next == ' '));
    let end =
        end.map(|(at, _)| at).or(line.starts_with(": ").then_some(0)).context("a field without a colon")?;
    let value = &line[end + 1..];
    Ok((&line[..end], value.strip_prefix(' ').unwrap_or(value)))
}

/// A field as HPACK writes it that no table knows and no code shortens.
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<()> {
    block.push(0);
    for text in [name, value] {
        // Longer ones need more than one byte for their length.
        ensure!(text.len() < 127, "a text of {} bytes is too long", text.len());
        block.push(u8::try_from(text.len())?);
        block.extend(text);
    }
    Ok(())
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

struct Frame {
    kind: u8,
    bytes: Vec<u8>,
    split: usize,
}

impl Frame {
    fn write(self, out: &mut Vec<u8>, end: bool) -> Result<()> {
        let pieces: Vec<&[u8]> =
            if self.bytes.is_empty() { vec![&[]] } else { self.bytes.chunks(self.split).collect() };
        for (number, piece) in pieces.iter().enumerate() {
            let (first, last) = (number == 0, number + 1 == pieces.len());
            let kind = if first { self.kind } else { CONTINUATION };
            let ends_stream = if first && end { END_STREAM } else { 0 };
            let ends_fields = if last && self.kind == HEADERS { END_HEADERS } else { 0 };
            out.extend(&u32::try_from(piece.len())?.to_be_bytes()[1..]);
            out.extend([kind, ends_stream | ends_fields, 0, 0, 0, 1]);
            out.extend(*piece);
        }
        Ok(())
    }
}
