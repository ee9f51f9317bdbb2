//! What a process has cost so far, and what scrypt costs by itself.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::sync::{Arc, Barrier};
use std::thread;

/// The CPU time that each of a process's threads has used, in nanoseconds.
///
/// A thread that ended in between is not in the difference. The servers' threads end after seconds without work, so none
/// has cost anything in a round in which it ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu(HashMap<u32, u64>);

impl Cpu {
    /// Of the process `id`, until now.
    pub(crate) fn of(id: u32) -> Result<Self, Box<dyn Error>> {
        let mut threads = HashMap::new();
        for task in fs::read_dir(format!("/proc/{id}/task"))? {
            let name = task?.file_name();
            let thread: u32 = name.to_string_lossy().parse()?;
            // One that ended meanwhile has no file.
            let Ok(text) = fs::read_to_string(format!("/proc/{id}/task/{thread}/schedstat")) else { continue };
            threads.insert(thread, nanoseconds(&text)?);
        }
        Ok(Self(threads))
    }

    /// What was used since `before`, in microseconds.
    pub(crate) fn since(&self, before: &Self) -> f64 {
        let used = self.0.iter().map(|(thread, now)| now - before.0.get(thread).unwrap_or(&0).min(now));
        used.sum::<u64>() as f64 / 1000.0
    }
}

fn nanoseconds(schedstat: &str) -> Result<u64, Box<dyn Error>> {
    Ok(schedstat.split_whitespace().next().ok_or("a thread without times")?.parse()?)
}

/// How many hashes each thread makes, of which the median is taken.
const HASHES: usize = 9;

/// The CPU time of one hash with the parameters of stored passwords while `at_once` are made side by side, in
/// microseconds: the median of several. Cores that share a cache or their execution units make each one slower, as they
/// do in a server that is asked so many at once.
pub(crate) fn scrypt(at_once: usize) -> Result<f64, Box<dyn Error>> {
    let together = Arc::new(Barrier::new(at_once));
    let threads: Vec<_> = (0..at_once)
        .map(|_| {
            let together = Arc::clone(&together);
            thread::spawn(move || {
                together.wait();
                (0..HASHES).map(|_| hash()).collect::<Result<Vec<_>, _>>()
            })
        })
        .collect();
    let mut hashes = Vec::new();
    for thread in threads {
        hashes.extend(thread.join().unwrap_or_else(|_| Err("scrypt panicked".to_owned()))?);
    }
    hashes.sort_unstable();
    Ok(hashes.get(hashes.len() / 2).copied().unwrap_or_default() as f64 / 1000.0)
}

/// The CPU time of a hash, in nanoseconds.
fn hash() -> Result<u64, String> {
    let spent = || {
        let text = fs::read_to_string("/proc/thread-self/schedstat").map_err(|error| error.to_string())?;
        nanoseconds(&text).map_err(|error| error.to_string())
    };
    let parameters = scrypt::Params::new(14, 8, 1, 64).map_err(|error| error.to_string())?;
    let (before, mut out) = (spent()?, [0; 64]);
    scrypt::scrypt(b"correct horse", b"salt", &parameters, &mut out).map_err(|error| error.to_string())?;
    std::hint::black_box(out);
    Ok(spent()? - before)
}
