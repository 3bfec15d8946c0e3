//! Mutants of the payloads: nobody knows what they mean, but whatever is shown of them is what servers receive.

use anyhow::{Result, ensure};
use shield_tests::speech::Protocol;

use crate::cases::{self, Expected};
use crate::corpus::host;
use crate::site::{JUDGED_PATH, Outcome, STREAMED_PATH, Site};

/// As many as fit into a minute; `SHIELD_MUTANTS` says otherwise.
const USUAL: usize = 3000;

/// What messages are made of, and what is left out or said twice where they are read differently.
const PIECES: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b":",
    b",",
    b";",
    b"_",
    b"%2f",
    b"/../",
    b"0",
    b"0\r\n\r\n",
    b"1\r\nZ\r\n",
    b"chunked",
    b"\r\nContent-Length: 5",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nConnection: Content-Length",
    b"\r\nExpect: 100-continue",
    b"GET /smuggled HTTP/1.1\r\n",
    b"HTTP/1.0",
];

#[test]
fn what_is_shown_of_mutants_is_what_eleven_servers_receive() -> Result<()> {
    let cases = cases::all()?;
    let wanted = std::env::var("SHIELD_MUTANTS").map_or(Ok(USUAL), |number| number.parse())?;
    let passing = cases.iter().filter(|case| matches!(case.expected, Expected::Shown(_)));
    let passing = passing.cloned().collect::<Vec<_>>();
    let site = Site::start()?;
    let mut chance = Chance(0x5eed);
    let mut sayings = Vec::with_capacity(wanted);
    for number in 0..wanted {
        // Of what passes, more mutants pass: those are the ones to be compared.
        let from = if chance.below(2) == 0 { &cases } else { &passing };
        let case = &from[chance.below(from.len())];
        let origin = &site.origins.all[number % site.origins.all.len()];
        if case.only_tls && origin.port == 80 {
            continue;
        }
        let prefix = if chance.below(2) == 0 { JUDGED_PATH } else { STREAMED_PATH };
        let mut bytes = case.payload(&host(origin), &format!("{prefix}{number:05}"))?;
        for _ in 0..=chance.below(2) {
            mutate(&mut bytes, &mut chance, case.protocol);
        }
        let mut saying = site.saying(origin, case.protocol, bytes);
        saying.patience = 1000;
        sayings.push(saying);
    }
    site.say(&sayings)?;
    let Outcome { shown, differences, .. } = site.outcome()?;
    ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    ensure!(shown.len() * 20 > sayings.len(), "only {} of {} were shown as sent", shown.len(), sayings.len());
    println!("{} mutants, {} requests shown and received", sayings.len(), shown.len());
    Ok(())
}

/// Changes one thing, in HTTP/2 behind the preface and the settings.
fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance, protocol: Protocol) {
    const PREFACE: usize = 33;
    let first = if protocol == Protocol::H2 { PREFACE } else { 0 };
    let at = first + chance.below(bytes.len() - first + 1);
    let to = (at + 1 + chance.below(4)).min(bytes.len());
    let piece = PIECES[chance.below(PIECES.len())];
    match chance.below(5) {
        0 => drop(bytes.drain(at..to)),
        1 => drop(bytes.splice(at..at, bytes[at..to].to_vec())),
        2 => drop(bytes.splice(at..at, piece.to_vec())),
        3 => drop(bytes.splice(at..to, piece.to_vec())),
        _ if at < to => bytes[at] ^= 1 << chance.below(8),
        _ => {}
    }
}

/// Numbers that are the same in every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        // The remainder fits: it is smaller than a limit that did.
        usize::try_from(mixed % limit as u64).unwrap_or_default()
    }
}
