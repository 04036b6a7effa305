//! Of the faults of a run that fails, those that matter (delta debugging).
//!
//! Faults are left out, half of them at first, then ever fewer, as long as the run without them still fails. A run is
//! cheap and there are few faults, but a fault that is left out changes what the others hit: so the number of runs has a
//! bound, and what is left is small, not the smallest there is.

use std::collections::BTreeSet;

use super::{Options, Report, run};

/// Faults that make a run fail, and how it fails then.
#[derive(Debug)]
pub struct Shrunk {
    /// The numbers of the faults.
    pub faults: BTreeSet<usize>,
    /// The run with these faults only.
    pub report: Report,
    /// How many runs it took.
    pub runs: u32,
}

/// Finds few faults with which the run still fails, in at most `runs` runs. `None` when it does not fail.
#[must_use]
pub fn shrink(seed: u64, options: &Options, runs: u32) -> Option<Shrunk> {
    let report = run(seed, options);
    if report.violations.is_empty() {
        return None;
    }
    let all = report.faults.iter().map(|fault| fault.number);
    let all = all.filter(|number| options.only_faults.as_ref().is_none_or(|only| only.contains(number)));
    let mut shrunk = Shrunk { faults: all.collect(), report, runs: 1 };
    let mut parts = 2;
    while shrunk.runs < runs && !shrunk.faults.is_empty() {
        let kept: Vec<usize> = shrunk.faults.iter().copied().collect();
        let len = kept.len().div_ceil(parts);
        let found = kept.chunks(len).any(|left_out| shrunk.tries(seed, options, left_out, runs));
        if found {
            parts = (parts - 1).max(2);
        } else if len == 1 {
            break;
        } else {
            parts = (parts * 2).min(kept.len());
        }
    }
    Some(shrunk)
}

impl Shrunk {
    /// Leaves some faults out, if the run still fails without them.
    fn tries(&mut self, seed: u64, options: &Options, left_out: &[usize], runs: u32) -> bool {
        if self.runs >= runs {
            return false;
        }
        self.runs += 1;
        let fewer: BTreeSet<_> =
            self.faults.iter().copied().filter(|number| !left_out.contains(number)).collect();
        let report = run(seed, &Options { only_faults: Some(fewer.clone()), ..options.clone() });
        if report.violations.is_empty() {
            return false;
        }
        (self.faults, self.report) = (fewer, report);
        true
    }
}
