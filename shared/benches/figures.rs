//! Contenders measured in turn, and their figures side by side.
//!
//! What the benchmarks state are ratios, and a machine does other things meanwhile. So whenever criterion takes a sample
//! of one contender of a [`Group`], the others are run right after it for about as long: whatever slows one slows all. Criterion gets the sample it asked for; the table at the end is made from all samples.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};

/// Contenders that do comparable work.
pub(crate) struct Group<'a> {
    name: &'static str,
    contenders: Vec<Contender<'a>>,
}

struct Contender<'a> {
    name: &'static str,
    /// How much of `unit` one iteration does.
    work: usize,
    unit: &'static str,
    note: Box<dyn Fn() -> String + 'a>,
    run: RefCell<Box<dyn FnMut() + 'a>>,
    samples: RefCell<Vec<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    taken: Duration,
    iterations: u64,
}

impl Sample {
    fn seconds(self) -> f64 {
        self.taken.as_secs_f64() / self.iterations as f64
    }
}

impl<'a> Group<'a> {
    /// A group without contenders.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, contenders: Vec::new() }
    }

    /// Adds a contender that goes through so many bytes; the first is what the others are compared with.
    pub(crate) fn bytes<T>(self, name: &'static str, bytes: usize, run: impl FnMut() -> T + 'a) -> Self {
        self.add(name, bytes, "B/s", run)
    }

    /// Adds a contender that does one thing.
    pub(crate) fn once<T>(self, name: &'static str, run: impl FnMut() -> T + 'a) -> Self {
        self.add(name, 1, "/s", run)
    }

    /// Adds a contender that does so many things.
    pub(crate) fn times<T>(self, name: &'static str, count: usize, run: impl FnMut() -> T + 'a) -> Self {
        self.add(name, count, "/s", run)
    }

    fn add<T>(mut self, name: &'static str, work: usize, unit: &'static str, mut run: impl FnMut() -> T + 'a) -> Self {
        self.contenders.push(Contender {
            name,
            work,
            unit,
            note: Box::new(String::new),
            run: RefCell::new(Box::new(move || drop(black_box(run())))),
            samples: RefCell::default(),
        });
        self
    }

    /// Says something about the contender added last, at the end of its line.
    pub(crate) fn note(mut self, note: impl Fn() -> String + 'a) -> Self {
        if let Some(last) = self.contenders.last_mut() {
            last.note = Box::new(note);
        }
        self
    }

    /// Measures all contenders and prints the table.
    pub(crate) fn run(self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group(self.name);
        group.sampling_mode(SamplingMode::Flat);
        for (at, contender) in self.contenders.iter().enumerate() {
            group.bench_function(contender.name, |bencher| {
                bencher.iter_custom(|iterations| self.round(at, iterations));
            });
        }
        group.finish();
        self.print();
    }

    /// Runs the contender in question so often, and all others for about as long; returns what the one took.
    fn round(&self, asked: usize, iterations: u64) -> Duration {
        let Some(contender) = self.contenders.get(asked) else { return Duration::ZERO };
        let taken = contender.run(iterations);
        for (_, other) in self.contenders.iter().enumerate().filter(|(at, _)| *at != asked) {
            let each = other.samples.borrow().last().map_or(f64::INFINITY, |sample| sample.seconds());
            other.run((taken.as_secs_f64() / each) as u64 + 1);
        }
        taken
    }

    fn print(&self) {
        let Some(first) = self.contenders.first().and_then(Contender::seconds) else { return };
        println!("\n{:<46} {:>10} {:>14} {:>8}", self.name, "time", "rate", "x time");
        for contender in &self.contenders {
            let Some(seconds) = contender.seconds() else { continue };
            let rate = scaled(contender.work as f64 / seconds) + contender.unit;
            let (name, note) = (contender.name, (contender.note)());
            println!("  {name:<44} {:>10} {rate:>14} {:>8.2}  {note}", time(seconds), seconds / first);
        }
        println!();
    }
}

impl Contender<'_> {
    /// Takes a sample.
    fn run(&self, iterations: u64) -> Duration {
        let mut run = self.run.borrow_mut();
        let start = Instant::now();
        for _ in 0..iterations {
            run();
        }
        let taken = start.elapsed();
        self.samples.borrow_mut().push(Sample { taken, iterations });
        taken
    }

    /// What an iteration takes in seconds, at the lower quartile over all: what disturbs a run only ever slows it. `None`
    /// when nothing was measured.
    fn seconds(&self) -> Option<f64> {
        let mut samples = self.samples.borrow().clone();
        samples.sort_by(|one, other| one.seconds().total_cmp(&other.seconds()));
        let quarter = samples.iter().map(|sample| sample.iterations).sum::<u64>() / 4;
        let mut passed = 0;
        let fast = samples.into_iter().find(|sample| {
            passed += sample.iterations;
            passed > quarter
        });
        fast.map(Sample::seconds)
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.2} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn scaled(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.1} M", r / 1e6),
        r if r >= 1e4 => format!("{:.1} k", r / 1e3),
        r => format!("{r:.0} "),
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(self.0 >> 32)
    }
}
