//! The checks as people read them: what was found, and below what is not well, what it costs and what to do.

use std::fmt::Write as _;

use crate::cli::paint::{Paint, Tone, wrapped};
use crate::health::{Area, Check, Status};

/// Columns before a finding: two blanks, the status, the id.
const STATUS: usize = 9;
const ID: usize = 18;
const FINDING: usize = 2 + STATUS + ID;

/// Every check, by area, and their sum.
pub(super) fn list(checks: &[Check], paint: Paint, width: usize) -> String {
    let width = width.min(110);
    let mut text = String::new();
    for area in [Area::Kernel, Area::Layers, Area::Install, Area::Running] {
        let mut of_area = checks.iter().filter(|check| check.area == area).peekable();
        if of_area.peek().is_some() {
            text += &(paint.text(Tone::Head, title(area), 0) + "\n");
            of_area.for_each(|check| text += &entry(check, paint, width));
        }
    }
    text + &sum(checks, paint)
}

fn title(area: Area) -> &'static str {
    match area {
        Area::Kernel => "Kernel: no gate without these",
        Area::Layers => "Beside the hooks",
        Area::Install => "Install",
        Area::Running => "Running",
    }
}

fn entry(check: &Check, paint: Paint, width: usize) -> String {
    let (word, tone) = status(check.status);
    let finding = wrapped(&check.finding, FINDING, width);
    let mut text = format!("  {}{:<ID$}{}", paint.text(tone, word, STATUS), check.id, finding.trim_start());
    let notes = [("", &check.weaker), ("\u{2192} ", &check.remedy)];
    for (mark, note) in notes.iter().filter_map(|(mark, note)| Some((mark, note.as_ref()?))) {
        for line in wrapped(&format!("{mark}{note}"), FINDING, width).lines() {
            text += &(paint.text(tone, line, 0) + "\n");
        }
    }
    text
}

fn status(status: Status) -> (&'static str, Tone) {
    match status {
        Status::Ok => ("ok", Tone::Good),
        Status::Weaker => ("weaker", Tone::Weak),
        Status::Missing => ("missing", Tone::Bad),
    }
}

fn sum(checks: &[Check], paint: Paint) -> String {
    let mut text = format!("\n{} checks:", checks.len());
    for of in [Status::Ok, Status::Weaker, Status::Missing] {
        let count = checks.iter().filter(|check| check.status == of).count();
        let (word, tone) = status(of);
        let tone = if count == 0 { Tone::Faint } else { tone };
        let end = if of == Status::Missing { "" } else { "," };
        let _ = write!(text, " {}{end}", paint.text(tone, format!("{count} {word}"), 0));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_well_says_what_it_costs_and_what_to_do() {
        let check = Check {
            id: "landlock",
            area: Area::Layers,
            status: Status::Weaker,
            finding: "not there".into(),
            weaker: Some("neighbours stay in reach".into()),
            remedy: Some("boot with lsm=landlock".into()),
        };
        let text = list(&[check], Paint(false), 80);
        let blanks = " ".repeat(FINDING);
        let expected = format!("{blanks}neighbours stay in reach\n{blanks}→ boot with lsm=landlock\n");
        assert!(text.contains(&expected), "{text}");
        assert!(text.contains("weaker   landlock          not there"), "{text}");
        assert!(text.ends_with("1 checks: 0 ok, 1 weaker, 0 missing\n"), "{text}");
    }
}
