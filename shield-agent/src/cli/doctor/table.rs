//! The matrix as people read it: a row for each way out, a column for each who tries, a word for each cell.

use std::fmt::Write as _;

use crate::cli::paint::{Paint, Tone};
use crate::prove::identity::{Identity, Mode};
use crate::prove::judge::Verdict;
use crate::prove::path::{Group, PATHS};
use crate::prove::{Cell, Proof};

/// Columns of a way's title, two blanks before it included.
const TITLE: usize = 30;
/// Columns of a cell.
const CELL: usize = 14;
/// Columns of a mode.
const MODE: usize = CELL * Identity::JUDGED.len();

/// As many modes beside each other as `width` has room for, the rest below.
pub(super) fn matrix(proof: &Proof, paint: Paint, width: usize) -> String {
    // The last column needs no blanks after it.
    let beside = (width + 2).saturating_sub(TITLE) / MODE;
    let mut text = String::new();
    for modes in Mode::ALL.chunks(beside.max(1)) {
        heads(&mut text, modes, paint);
        let mut group = None;
        for path in PATHS {
            if group.replace(path.group) != Some(path.group) {
                group_head(&mut text, path.group, paint);
            }
            let cells = modes.iter().flat_map(|&mode| {
                Identity::JUDGED.iter().filter_map(move |&who| proof.cell(path.id, mode, who))
            });
            row(&mut text, path.title, cells, paint);
        }
        text.push('\n');
    }
    text
}

fn heads(text: &mut String, modes: &[Mode], paint: Paint) {
    let title = |mode: &Mode| paint.text(Tone::Head, mode.title(), MODE);
    line(text, &format!("{:TITLE$}{}", "", modes.iter().map(title).collect::<String>()));
    let columns = modes.iter().flat_map(|_| Identity::JUDGED);
    let columns: String = columns.map(|who| paint.text(Tone::Faint, who.title(), CELL)).collect();
    line(text, &format!("{:TITLE$}{columns}", ""));
}

fn group_head(text: &mut String, group: Group, paint: Paint) {
    line(text, &paint.text(Tone::Head, group.title(), 0));
}

fn row<'a>(text: &mut String, title: &str, cells: impl Iterator<Item = &'a Cell>, paint: Paint) {
    let cells: String =
        cells.map(|cell| paint.text(tone(&cell.verdict), word(&cell.verdict), CELL)).collect();
    line(text, &format!("  {title:<width$}{cells}", width = TITLE - 2));
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("a string takes everything");
}

/// One word for a cell.
pub(super) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Blocked { layer } => layer.word(),
        Verdict::Redirected => "redirected",
        Verdict::NotPromised { .. } => "not promised",
        Verdict::NotTried { .. } => "\u{2013}",
        Verdict::Unexplained => "unexplained",
        Verdict::Leak => "LEAK",
    }
}

/// How a cell is coloured.
pub(super) fn tone(verdict: &Verdict) -> Tone {
    match verdict {
        Verdict::Blocked { .. } => Tone::Good,
        Verdict::Redirected => Tone::Led,
        Verdict::NotPromised { .. } | Verdict::Unexplained => Tone::Weak,
        Verdict::NotTried { .. } => Tone::Faint,
        Verdict::Leak => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::judge::Layer;
    use crate::prove::report::{Counts, Evidence};

    /// A proof in which everything was refused by the word that takes most room.
    fn proof() -> Proof {
        let mut cells = Vec::new();
        for mode in Mode::ALL {
            for path in PATHS {
                for identity in Identity::JUDGED {
                    let verdict = Verdict::Blocked { layer: Layer::NoListener };
                    let evidence = Evidence::default();
                    cells.push(Cell { mode, identity, path: path.id, title: path.title, verdict, evidence });
                }
            }
        }
        let (counts, broken) = (Counts::of(&cells), vec![]);
        Proof { kernel: "6.1".into(), seconds: 1.0, counts, holds: true, broken, cells }
    }

    #[test]
    fn the_table_fits_its_terminal_and_has_a_word_for_every_cell() {
        let proof = proof();
        for (width, tables) in [(80, Mode::ALL.len()), (120, Mode::ALL.len().div_ceil(2))] {
            let text = matrix(&proof, Paint(false), width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert_eq!(text.matches("no listener").count(), proof.cells.len());
            assert_eq!(text.matches("UDP over IPv4, sendto").count(), tables);
        }
    }

    #[test]
    fn a_leak_stands_out() {
        let mut proof = proof();
        proof.cells[0].verdict = Verdict::Leak;
        assert!(matrix(&proof, Paint(true), 80).contains("\u{1b}[1;31mLEAK"));
    }
}
