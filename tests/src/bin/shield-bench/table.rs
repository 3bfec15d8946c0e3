//! One table: medians of all rounds, and how far rounds lay apart.

use super::contestants::Lineup;

pub(super) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Vec<f64>>)>,
}

impl Table {
    pub(super) fn new(lineup: &Lineup) -> Self {
        Self { columns: lineup.all().iter().map(|contestant| contestant.name).collect(), rows: vec![] }
    }

    pub(super) fn add(&mut self, row: &str, column: &str, value: f64) {
        let at = self.rows.iter().position(|(name, _)| name == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), vec![vec![]; self.columns.len()]));
            self.rows.len() - 1
        });
        if let Some(column) = self.columns.iter().position(|name| *name == column) {
            self.rows[at].1[column].push(value);
        }
    }

    pub(super) fn print(&self, rounds: usize) {
        println!("Medians of {rounds} interleaved rounds, and half the distance between the extremes.");
        println!(
            "HTTPS both ways, answers of 1 KiB unless said otherwise; the gate with 100 rules and its journal."
        );
        print!("{:<34}", "");
        self.columns.iter().for_each(|column| print!(" {column:>16}"));
        println!();
        for (name, values) in &self.rows {
            print!("{name:<34}");
            values.iter().for_each(|values| print!(" {:>16}", cell(values)));
            println!();
        }
    }
}

fn cell(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return "–".into() };
    let (median, spread) = (sorted[sorted.len() / 2], (last - first) / 2.0);
    if median < 20.0 { format!("{median:.2} ±{spread:.2}") } else { format!("{median:.0} ±{spread:.0}") }
}
