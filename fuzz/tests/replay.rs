//! Replays the corpora: every file as it is, and changed in ways that are the same each time.

use std::path::{Path, PathBuf};

use shield_fuzz::TARGETS;

/// Changed inputs that each target is given.
const CHANGED: u64 = 3000;

/// Files of a corpus and bytes in it: enough to reach every line, few enough to be looked at.
const MAX_FILES: usize = 100;
const MAX_BYTES: usize = 200 << 10;

/// Numbers that look random and are not (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let listed = std::fs::read_dir(&folder).expect("every target has a corpus");
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a file")).collect()
}

/// One to four changes, as a mistake or an attacker makes them.
fn change(input: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        let to = at + numbers.below(bytes.len() - at + 1).min(16);
        match numbers.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            1 if at < bytes.len() => bytes[at] = numbers.next() as u8,
            2 => drop(bytes.drain(at..to)),
            3 => bytes.insert(at, b"\r\n\0 :;,.%/\\\t-_0aA\x7f\xff"[numbers.below(19)]),
            4 => {
                let copied = bytes[at..to].to_vec();
                bytes.splice(at..at, copied);
            }
            _ => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[numbers.below(other.len() + 1)..]);
            }
        }
    }
    bytes
}

fn replay(target: &str) {
    let check = TARGETS.iter().find(|(name, _)| *name == target).expect("a target").1;
    let corpus = corpus(target);
    assert!((1..=MAX_FILES).contains(&corpus.len()), "{} files", corpus.len());
    assert!(corpus.iter().map(Vec::len).sum::<usize>() <= MAX_BYTES);
    corpus.iter().for_each(|input| try_one(target, check, input));
    let mut numbers = Numbers(1);
    for turn in 0..CHANGED {
        let input = &corpus[turn as usize % corpus.len()];
        let other = &corpus[numbers.below(corpus.len())];
        try_one(target, check, &change(input, other, &mut numbers));
    }
}

fn try_one(target: &str, check: fn(&[u8]), input: &[u8]) {
    let held = std::panic::catch_unwind(|| check(input)).is_ok();
    assert!(held, "{target} breaks on b\"{}\"", input.escape_ascii());
}

macro_rules! replayed {
    ($($test:ident: $target:literal,)*) => {
        $(#[test] fn $test() { replay($target); })*

        #[test]
        fn every_target_is_replayed() {
            let mut replayed = [$($target),*];
            replayed.sort_unstable();
            assert_eq!(replayed, TARGETS.map(|(name, _)| name));
        }
    };
}

replayed! {
    a_client_hello_is_read_as_it_was_sent: "client_hello",
    an_answer_about_a_name_never_leads_around_us: "dns_answer",
    of_a_question_about_a_name_only_name_and_type_leave: "dns_question",
    a_frame_costs_bounded_memory_and_is_read_as_it_was_said: "frame",
    a_body_ends_in_the_same_place_however_it_is_cut: "h1_body",
    an_accepted_head_has_one_reading: "h1_head",
    fields_of_http2_become_a_clean_head: "h2_head",
    a_host_has_one_spelling: "host",
}
