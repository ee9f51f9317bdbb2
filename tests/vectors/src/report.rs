//! What came of the cases: counted by group, failures in full.

use std::fmt;

/// What became of one case: `Err` says what is wrong with the product's answer.
pub(crate) type Verdict = Result<(), String>;

/// `Ok` when both are equal.
pub(crate) fn same<T: PartialEq + fmt::Debug>(found: &T, expected: &T) -> Verdict {
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
}

/// Everything that ran.
#[derive(Debug)]
pub struct Report {
    /// In the order in which they ran.
    pub groups: Vec<Group>,
}

/// The cases of one file or table.
#[derive(Debug)]
pub struct Group {
    /// The file's path in the collection, or the table's name.
    pub name: String,
    /// How many cases there must be.
    pub expected: usize,
    /// How many there were.
    pub ran: usize,
    /// Those that went wrong.
    pub failures: Vec<Failure>,
    /// Why none was run, where that is so.
    pub skipped: Option<&'static str>,
}

/// One case that went wrong.
#[derive(Debug)]
pub struct Failure {
    /// Which one.
    pub case: String,
    /// What is wrong.
    pub detail: String,
}

impl Group {
    pub(crate) fn new(name: impl Into<String>, expected: usize) -> Self {
        Self { name: name.into(), expected, ran: 0, failures: Vec::new(), skipped: None }
    }

    /// Counts one case.
    pub(crate) fn case(&mut self, case: impl fmt::Debug, verdict: Verdict) {
        self.ran += 1;
        if let Err(detail) = verdict {
            self.failures.push(Failure { case: format!("{case:?}"), detail });
        }
    }

    /// Notes something wrong with the group as a whole.
    pub(crate) fn fail(&mut self, detail: String) {
        self.failures.push(Failure { case: "the whole".to_owned(), detail });
    }

    /// How many things went wrong; cases missing or in excess are one.
    #[must_use]
    pub fn failed(&self) -> usize {
        let miscounted = self.skipped.is_none() && self.ran != self.expected;
        self.failures.len() + usize::from(miscounted)
    }
}

impl Report {
    /// How many cases ran.
    #[must_use]
    pub fn ran(&self) -> usize {
        self.groups.iter().map(|group| group.ran).sum()
    }

    /// How many cases ran and went right.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.groups.iter().map(|group| group.ran.saturating_sub(group.failures.len())).sum()
    }

    /// How many things went wrong.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.groups.iter().map(Group::failed).sum()
    }

    /// What was not run, and why.
    pub fn skipped(&self) -> impl Iterator<Item = (&str, &str)> {
        self.groups.iter().filter_map(|group| Some((group.name.as_str(), group.skipped?)))
    }
}

/// A line for each group, one for each failure below it, and the sum.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            if let Some(reason) = group.skipped {
                writeln!(f, "SKIPPED {}: {reason}", group.name)?;
                continue;
            }
            let verdict = if group.failed() == 0 { "ok" } else { "FAILED" };
            writeln!(f, "{verdict:<6} {:>3} of {:>3}  {}", group.ran, group.expected, group.name)?;
            for Failure { case, detail } in &group.failures {
                writeln!(f, "         {case}: {detail}")?;
            }
        }
        writeln!(f, "vectors: {} ran, {} failed", self.ran(), self.failed())
    }
}
