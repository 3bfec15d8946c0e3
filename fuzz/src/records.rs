//! DNS messages as RFC 1035 and RFC 9460 write them: a walk over the bytes, an opinion of our own on what is in them.

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its id.
    pub id: u16,
    /// Whether it is an answer.
    pub is_answer: bool,
    /// The questions: name, type, class.
    pub questions: Vec<(Vec<u8>, u16, u16)>,
    /// The records of all sections.
    pub records: Vec<Record>,
    /// Bytes behind the last record.
    pub rest: usize,
}

/// A record.
#[derive(Debug)]
pub struct Record {
    /// Whose it is, on the wire's form without pointers, as written.
    pub owner: Vec<u8>,
    /// Its type.
    pub kind: u16,
    /// Its data, pointers unresolved.
    pub data: Vec<u8>,
}

/// Longest name (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;

/// Types with service parameters, and what must not be in them (RFC 9460, 14.3.2).
pub const SVCB: u16 = 64;
/// See [`SVCB`].
pub const HTTPS: u16 = 65;
const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const ECH: u16 = 5;

/// Reads a message; `None` when it is cut or its names are not names.
pub fn read(message: &[u8]) -> Option<Message> {
    let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let mut at = 12;
    let mut questions = Vec::new();
    for _ in 0..number(4)? {
        let name = name(message, &mut at)?;
        questions.push((name, number(at)?, number(at + 2)?));
        at += 4;
    }
    let mut records = Vec::new();
    for _ in 0..usize::from(number(6)?) + usize::from(number(8)?) + usize::from(number(10)?) {
        let owner = name(message, &mut at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?.to_vec();
        at += 10 + length;
        records.push(Record { owner, kind, data });
    }
    let rest = message.len() - at;
    Some(Message { id: number(0)?, is_answer: message[2] & 0x80 != 0, questions, records, rest })
}

/// A name with its labels' lengths; moves `at` behind it.
fn name(message: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let (mut here, mut jumped) = (*at, false);
    loop {
        let length = *message.get(here)?;
        match length {
            0 => {
                name.push(0);
                if !jumped {
                    *at = here + 1;
                }
                return (name.len() <= MAX_NAME).then_some(name);
            }
            1..64 => {
                name.extend_from_slice(message.get(here..here + 1 + usize::from(length))?);
                here += 1 + usize::from(length);
            }
            // Pointers lead back only, so this ends.
            192.. => {
                let to = usize::from(length & 0x3f) << 8 | usize::from(*message.get(here + 1)?);
                if !jumped {
                    *at = here + 2;
                }
                if to >= here {
                    return None;
                }
                (here, jumped) = (to, true);
            }
            _ => return None,
        }
        if name.len() > MAX_NAME {
            return None;
        }
    }
}

/// Whether service parameters lead around us: a hidden server name, or HTTP/3.
pub fn leads_around(data: &[u8]) -> bool {
    let mut at = 2;
    let mut said = || {
        name(data, &mut at)?;
        while at < data.len() {
            let field =
                |at: usize| Some(usize::from(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?])));
            let (key, length) = (field(at)? as u16, field(at + 2)?);
            let value = data.get(at + 4..at + 4 + length)?;
            at += 4 + length;
            let listed = |key: u16| value.chunks(2).any(|pair| pair == key.to_be_bytes());
            let around = match key {
                ECH => true,
                MANDATORY => listed(ECH),
                ALPN => protocols(value).any(|protocol| protocol == b"h3" || protocol.starts_with(b"h3-")),
                _ => false,
            };
            if around {
                return Some(true);
            }
        }
        Some(false)
    };
    // What cannot be read may say anything.
    said().unwrap_or(true)
}

fn protocols(mut value: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = value.split_first()?;
        let (protocol, rest) = rest.split_at_checked(length.into())?;
        value = rest;
        Some(protocol)
    })
}
