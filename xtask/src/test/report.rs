//! Reads what `cargo test` prints and counts what ran.
//!
//! A test binary counts by the numbers of its `test result:` line. A binary that began and printed none has crashed:
//! it counts as one failure. What failed tests printed cannot pass for a result: the numbers of a result must add up
//! to the number of tests the binary announced.

use std::collections::BTreeMap;
use std::fmt;

/// The counts of one test binary, as libtest prints them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

/// One run of `cargo test`.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// By test binary or documentation, e.g. `tests/golden.rs (golden)`.
    binaries: BTreeMap<String, Counts>,
    /// Whether the command itself succeeded.
    pub(crate) succeeded: bool,
}

/// The sum over all parts. Nothing counts as passed that did not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// Takes the output of one `cargo test` as it comes.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    part: Part,
    line: Vec<u8>,
    binary: String,
    /// The number of tests that a binary announced, until its result is read.
    announced: Option<u64>,
}

impl Parser {
    /// Takes the next bytes, which may end anywhere.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, rest) = bytes.split_at(end);
            self.line.extend_from_slice(head);
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            self.read_line(line.trim_end());
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.line.extend_from_slice(bytes);
    }

    /// Ends the part; `succeeded` is what the command's exit code says.
    pub(crate) fn finish(mut self, succeeded: bool) -> Part {
        self.read(b"\n");
        self.close();
        self.part.succeeded = succeeded;
        self.part
    }

    fn read_line(&mut self, line: &str) {
        if let Some(binary) = heading(line) {
            self.close();
            self.binary = binary;
        } else if let Some(announced) = self.announced {
            if let Some(counts) = result(line)
                && counts.passed + counts.failed + counts.ignored == announced
            {
                self.announced = None;
                self.add(counts);
            }
        } else {
            self.announced = announcement(line);
        }
    }

    /// A binary that announced tests and printed no result has crashed.
    fn close(&mut self) {
        if self.announced.take().is_some() {
            self.add(Counts { failed: 1, ..Counts::default() });
        }
    }

    fn add(&mut self, counts: Counts) {
        let binary = self.part.binaries.entry(self.binary.clone()).or_default();
        binary.passed += counts.passed;
        binary.failed += counts.failed;
        binary.ignored += counts.ignored;
    }
}

impl Total {
    /// Sums up `parts` in the order they ran. An ignored test that a later part ran is not skipped.
    pub(crate) fn of(parts: &[Part]) -> Self {
        let mut total = Self::default();
        let mut ignored: BTreeMap<&str, u64> = BTreeMap::new();
        for part in parts {
            let mut failed = 0;
            for (binary, counts) in &part.binaries {
                total.passed += counts.passed;
                failed += counts.failed;
                let left = ignored.entry(binary).or_default();
                *left = left.saturating_sub(counts.passed + counts.failed).max(counts.ignored);
            }
            // A command that failed without a failed test did not compile, or did not get that far.
            total.failed += if part.succeeded { failed } else { failed.max(1) };
        }
        total.skipped = ignored.values().sum();
        total
    }
}

impl fmt::Display for Total {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Cargo's line before a binary runs: `Running tests/golden.rs (target/debug/deps/golden-0123456789abcdef)`.
/// The hash is cut off: it may differ between two commands that build the same tests.
fn heading(line: &str) -> Option<String> {
    let line = line.strip_prefix("   ")?.trim_start();
    if line.starts_with("Doc-tests ") {
        return Some(line.to_owned());
    }
    let (source, binary) = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?;
    let name = binary.rsplit('/').next()?;
    let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
    Some(format!("{} ({name})", source.strip_prefix("unittests ").unwrap_or(source)))
}

/// libtest's first line: `running 12 tests`.
fn announcement(line: &str) -> Option<u64> {
    let number = line.strip_prefix("running ")?;
    number.strip_suffix(" tests").or_else(|| number.strip_suffix(" test"))?.parse().ok()
}

/// libtest's last line: `test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0s`.
fn result(line: &str) -> Option<Counts> {
    let (verdict, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    if !["ok", "FAILED"].contains(&verdict) {
        return None;
    }
    let mut numbers = numbers.split("; ");
    let mut number = |unit: &str| numbers.next()?.strip_suffix(unit)?.trim_end().parse().ok();
    Some(Counts { passed: number("passed")?, failed: number("failed")?, ignored: number("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "   Compiling a v0.1.0
     Running unittests src/lib.rs (target/debug/deps/a-00ff)

running 3 tests
test x ... ok
test y ... ok
test z ... ignored, slow

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/cluster_a.rs (target/debug/deps/cluster_a-11ee)

running 2 tests
test p ... ignored, needs the cluster
test q ... ignored, needs the cluster

test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests a

running 1 test
test a/src/lib.rs - f (line 1) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s

running 1 test
test a/src/lib.rs - g (line 9) - compile fail ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";

    const SECOND: &str = "     Running tests/cluster_a.rs (target/debug/deps/cluster_a-22dd)

running 2 tests
test p ... ok
test q ... FAILED

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn part(text: &str, succeeded: bool) -> Part {
        let mut parser = Parser::default();
        parser.read(text.as_bytes());
        parser.finish(succeeded)
    }

    fn total(parts: &[Part]) -> (u64, u64, u64) {
        let Total { passed, failed, skipped } = Total::of(parts);
        (passed, failed, skipped)
    }

    #[test]
    fn results_are_summed_over_binaries_and_documentation() {
        let part = part(FIRST, true);
        assert_eq!(part.binaries["src/lib.rs (a)"], Counts { passed: 2, failed: 0, ignored: 1 });
        assert_eq!(part.binaries["Doc-tests a"], Counts { passed: 2, failed: 0, ignored: 0 });
        assert_eq!(total(&[part]), (4, 0, 3));
    }

    #[test]
    fn an_ignored_test_that_a_later_part_ran_is_not_skipped() {
        assert_eq!(total(&[part(FIRST, true), part(SECOND, false)]), (5, 1, 1));
        // Nor does it matter where the chunks of the output end.
        let mut parser = Parser::default();
        for byte in SECOND.as_bytes() {
            parser.read(std::slice::from_ref(byte));
        }
        assert_eq!(total(&[part(FIRST, true), parser.finish(false)]), (5, 1, 1));
    }

    #[test]
    fn a_test_that_every_part_ignored_is_skipped_once() {
        assert_eq!(total(&[part(FIRST, true), part(FIRST, true)]).2, 3);
    }

    #[test]
    fn a_command_that_failed_without_a_result_is_a_failure() {
        assert_eq!(total(&[part("error[E0425]: cannot find value `x`\n", false)]), (0, 1, 0));
        assert_eq!(total(&[part(FIRST, false)]), (4, 1, 3));
        assert_eq!(total(&[part(FIRST, true), part("", false)]), (4, 1, 3));
    }

    #[test]
    fn a_binary_that_crashed_is_a_failure_and_what_it_did_not_run_is_not_passed() {
        let crash = SECOND.split("test q").next().unwrap();
        assert_eq!(total(&[part(crash, false)]), (0, 1, 0));
        // Of two ignored tests one crashed the binary; the other one did not run.
        assert_eq!(total(&[part(FIRST, true), part(crash, false)]), (4, 1, 2));
        assert_eq!(total(&[part(&format!("{crash}\n{FIRST}"), false)]).1, 1);
    }

    #[test]
    fn what_a_failed_test_printed_is_not_a_result() {
        let text = "     Running unittests src/main.rs (target/debug/deps/b-1)
running 2 tests
test x ... FAILED
---- x stdout ----
running 7 tests
test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: excellent. 2 passed; 0 failed; 0 ignored
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        assert_eq!(total(&[part(text, false)]), (1, 1, 0));
    }

    #[test]
    fn the_last_line_says_it_all() {
        let total = Total { passed: 12, failed: 0, skipped: 3 };
        assert_eq!(total.to_string(), "12 passed, 0 failed, 3 skipped");
    }
}
