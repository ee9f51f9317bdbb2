//! What was measured, in a table: the median of each server's rounds, and how they stand to each other.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use crate::cost;
use crate::load::Figure;
use crate::rows::{Goal, Row, Run};
use crate::server::Kind;

/// The figures so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: HashMap<(&'static str, Kind), Vec<Figure>>,
    starts: HashMap<Kind, Vec<Duration>>,
    /// Resident memory in kB: idle, after the load, and the most that it was.
    memory: HashMap<Kind, [u64; 3]>,
    /// Rows that cost more than they may.
    missed: Vec<&'static str>,
}

impl Report {
    /// Prints the head of the table.
    pub(crate) fn start() -> Self {
        println!(
            "{:<36} {:>10} {:>10} {:>6} {:>5}  {:>13} {:>15} {:>17}",
            "CPU of the server an operation, us",
            "headwater",
            "reference",
            "times",
            "goal",
            "a second",
            "p50 us",
            "p99 us"
        );
        Self::default()
    }

    pub(crate) fn add(&mut self, row: &'static str, kind: Kind, figure: Figure) {
        self.figures.entry((row, kind)).or_default().push(figure);
    }

    pub(crate) fn add_start(&mut self, kind: Kind, took: Duration) {
        self.starts.entry(kind).or_default().push(took);
    }

    pub(crate) fn add_memory(&mut self, kind: Kind, idle: u64, loaded: u64, most: u64) {
        self.memory.insert(kind, [idle, loaded, most]);
    }

    /// Prints a row; rates and times are those of this server and, behind a bar, of the reference.
    pub(crate) fn print(&mut self, row: &Row) {
        let (Some(ours), reference) = (self.median(row.name, Kind::Ours), self.median(row.name, Kind::Reference))
        else {
            return;
        };
        let times = reference.as_ref().map(|reference| reference.cpu / ours.cpu);
        let goal = match row.goal {
            Goal::Times(goal) => {
                if times.is_some_and(|times| times < goal) {
                    self.missed.push(row.name);
                }
                format!("{goal:.0}")
            }
            Goal::BesideScrypt(_) => "-".to_owned(),
        };
        let pair = |of: &dyn Fn(&Figure) -> f64| match &reference {
            Some(other) => format!("{:.0}|{:.0}", of(&ours), of(other)),
            None => format!("{:.0}", of(&ours)),
        };
        println!(
            "{:<36} {:>10.1} {:>10} {:>6} {goal:>5}  {:>13} {:>15} {:>17}",
            row.name,
            ours.cpu,
            or_dash(reference.as_ref().map(|reference| reference.cpu)),
            or_dash(times),
            pair(&|figure| figure.rate),
            pair(&|figure| figure.quantile(0.5)),
            pair(&|figure| figure.quantile(0.99)),
        );
        if let Goal::BesideScrypt(most) = row.goal {
            self.print_beside_scrypt(row, most, ours.cpu);
        }
    }

    fn print_beside_scrypt(&mut self, row: &Row, most: f64, cpu: f64) {
        let at_once = if let Run::Each { at_once, .. } = row.run { at_once } else { 1 };
        let Ok(scrypt) = cost::scrypt(at_once) else { return };
        let beside = cpu - scrypt;
        println!(
            "{:<36} {beside:>10.1}   of {scrypt:.0} us that scrypt takes, {at_once} at once; goal {most:.0}",
            "  beside scrypt itself"
        );
        if beside > most {
            self.missed.push(row.name);
        }
    }

    /// Prints how long the servers took to their first answers.
    pub(crate) fn print_start(&self) {
        let median = |kind| {
            let mut starts = self.starts.get(&kind)?.clone();
            starts.sort_unstable();
            starts.get(starts.len() / 2).map(|took| took.as_secs_f64() * 1000.0)
        };
        self.print_pair("start to first answer, ms", median(Kind::Ours), median(Kind::Reference));
    }

    /// Prints how much memory the servers had.
    pub(crate) fn print_memory(&self) {
        for (name, at) in ["idle", "after the load", "at most"].into_iter().zip(0..) {
            let of = |kind| self.memory.get(&kind).and_then(|memory| memory.get(at)).map(|kb| *kb as f64 / 1024.0);
            self.print_pair(&format!("resident {name}, MiB"), of(Kind::Ours), of(Kind::Reference));
        }
    }

    fn print_pair(&self, name: &str, ours: Option<f64>, reference: Option<f64>) {
        let times = ours.zip(reference).map(|(ours, reference)| reference / ours);
        println!("{name:<36} {:>10} {:>10} {:>6}", or_dash(ours), or_dash(reference), or_dash(times));
    }

    /// Fails if a row cost more than it may.
    pub(crate) fn verdict(&self) -> Result<(), Box<dyn Error>> {
        match self.missed.as_slice() {
            [] => Ok(()),
            missed => Err(format!("more than the goal: {}", missed.join(", ")).into()),
        }
    }

    /// The round whose CPU is in the middle.
    fn median(&self, row: &'static str, kind: Kind) -> Option<Figure> {
        let mut figures = self.figures.get(&(row, kind))?.clone();
        figures.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
        figures.get(figures.len() / 2).cloned()
    }
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

impl Figure {
    /// The time that this share of the operations took at most; 0 where it is not for one to wait.
    fn quantile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().map_or(0.0, f64::from)
    }
}
