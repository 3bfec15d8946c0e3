//! What stands below the matrix: what its words mean, what is not promised and why, what could not be tried, what got
//! out, and the sums.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::table::{tone, word};
use crate::cli::paint::{Paint, Tone, wrapped};
use crate::prove::identity::{Identity, Mode};
use crate::prove::judge::{Layer, Verdict};
use crate::prove::path::{PATHS, Path};
use crate::prove::report::Counts;
use crate::prove::{Cell, Proof};

/// Columns of a word of the legend.
const WORD: usize = 14;

/// Everything below the matrix.
pub(super) fn below(proof: &Proof, paint: Paint, width: usize) -> String {
    let width = width.min(110);
    let mut text = legend(proof, paint, width);
    text += &reasons(proof, "Not promised", paint, width, |verdict| match verdict {
        Verdict::NotPromised { why } => Some((*why).to_owned()),
        _ => None,
    });
    text += &reasons(proof, "Not tried", paint, width, |verdict| match verdict {
        Verdict::NotTried { why } => Some(why.clone()),
        _ => None,
    });
    text += &leaks(proof, paint);
    for broken in &proof.broken {
        text += &format!("{} {broken}\n\n", paint.text(Tone::Bad, "NOT PROVED", 0));
    }
    text + &sums(proof, paint)
}

/// Words that occur, with what they mean.
fn legend(proof: &Proof, paint: Paint, width: usize) -> String {
    let mut meanings: Vec<(&str, Tone, &str)> = Vec::new();
    for cell in &proof.cells {
        let means = match &cell.verdict {
            Verdict::Blocked { layer } => layer.means(),
            Verdict::Redirected => "led to the proxy, where the request is judged by policy",
            Verdict::Unexplained => "nothing got out, and nothing says what stopped it",
            _ => continue,
        };
        let entry = (word(&cell.verdict), tone(&cell.verdict), means);
        if !meanings.contains(&entry) {
            meanings.push(entry);
        }
    }
    meanings.sort_by_key(|(word, ..)| Layer::ALL.iter().position(|layer| layer.word() == *word));
    let mut text = paint.text(Tone::Head, "What stops it", 0) + "\n";
    for (word, tone, means) in meanings {
        let means = wrapped(means, WORD + 2, width);
        let _ = write!(text, "  {}{}", paint.text(tone, word, WORD), means.trim_start());
    }
    text + "\n"
}

/// Cells that have a reason, gathered by reason.
fn reasons(
    proof: &Proof,
    head: &str,
    paint: Paint,
    width: usize,
    reason: impl Fn(&Verdict) -> Option<String>,
) -> String {
    let mut by_reason: BTreeMap<String, Vec<&Cell>> = BTreeMap::new();
    for cell in &proof.cells {
        if let Some(why) = reason(&cell.verdict) {
            by_reason.entry(why).or_default().push(cell);
        }
    }
    if by_reason.is_empty() {
        return String::new();
    }
    let mut text = paint.text(Tone::Head, head, 0) + "\n";
    for (why, cells) in by_reason {
        for mode in Mode::ALL {
            let ways = ways(cells.iter().copied().filter(|cell| cell.mode == mode));
            if !ways.is_empty() {
                text += &wrapped(&format!("{}: {ways}", mode.title()), 2, width);
            }
        }
        for line in wrapped(&why, 4, width).lines() {
            text += &(paint.text(Tone::Faint, line, 0) + "\n");
        }
    }
    text + "\n"
}

/// Titles of the ways, each with who tried when that was not everybody.
fn ways<'a>(cells: impl Iterator<Item = &'a Cell>) -> String {
    let mut by_title: Vec<(&str, Vec<&str>)> = Vec::new();
    for cell in cells {
        match by_title.iter_mut().find(|(title, _)| *title == cell.title) {
            Some((_, who)) => who.push(cell.identity.title()),
            None => by_title.push((cell.title, vec![cell.identity.title()])),
        }
    }
    if by_title.len() == PATHS.len() {
        return format!("every way ({})", by_title[0].1.join("; "));
    }
    let everybody = by_title.iter().all(|(_, who)| who.len() == Identity::JUDGED.len());
    let one = |(title, who): &(&str, Vec<&str>)| match everybody {
        true => (*title).to_owned(),
        false => format!("{title} ({})", who.join("; ")),
    };
    by_title.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A line for each way that is open, with the first packet seen.
fn leaks(proof: &Proof, paint: Paint) -> String {
    let leaked = |mode: Mode, path: &Path| {
        let of =
            |who: &Identity| proof.cell(path.id, mode, *who).filter(|cell| cell.verdict == Verdict::Leak);
        Identity::JUDGED.iter().filter_map(of).collect::<Vec<_>>()
    };
    let mut text = String::new();
    for mode in Mode::ALL {
        for path in PATHS {
            let cells = leaked(mode, path);
            let Some(first) = cells.first() else { continue };
            let packet = first.evidence.packets.first();
            let packet = packet.map_or("a socket no hook sees", String::as_str);
            let who: Vec<_> = cells.iter().map(|cell| cell.identity.title()).collect();
            let leak = paint.text(Tone::Bad, "LEAK", 0);
            let _ = writeln!(text, "{leak} {}: {}: {packet} ({})", mode.title(), path.title, who.join("; "));
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn sums(proof: &Proof, paint: Paint) -> String {
    let mut text = String::new();
    for mode in Mode::ALL {
        let counts = Counts::of(proof.cells.iter().filter(|cell| cell.mode == mode));
        let leaks = paint.text(
            if counts.leaks == 0 { Tone::Good } else { Tone::Bad },
            plural(counts.leaks, "leak"),
            0,
        );
        let _ = writeln!(
            text,
            "{}{} cells: {} blocked, {} redirected, {} not promised, {} not tried, {leaks}{}",
            paint.text(Tone::Head, mode.title(), 21),
            counts.cells,
            counts.blocked,
            counts.redirected,
            counts.not_promised,
            counts.not_tried,
            if counts.unexplained == 0 {
                String::new()
            } else {
                format!(", {} unexplained", counts.unexplained)
            },
        );
    }
    let shown = proof.cells.iter().filter(|cell| cell.evidence.control.is_some()).count();
    let _ = writeln!(
        text,
        "Linux {}, {:.1} s. {shown} attempts were seen to get out where the gate does not stand; only those count.",
        proof.kernel, proof.seconds
    );
    text
}

fn plural(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
