//! Random values of every message in every version, with the bytes that the schemas make of them.
//!
//! `PROPTEST_CASES` sets how many values are tried for each message and version, `PROPTEST_RNG_SEED` repeats a run.
#![expect(clippy::panic, clippy::expect_used, reason = "what can't be tried fails the test")]

use std::env;

use bytes::Bytes;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use crate::{
    schema::{self, Schema, Structure},
    subject::{Message, Subject},
};

/// Values for each message and version; there are 625 of these pairs.
const CASES: u32 = 32;

/// A message in a version, and values that it can carry.
#[derive(Debug)]
pub struct Case<'c> {
    /// The message.
    pub subject: Subject,
    /// Its schema.
    pub schema: &'c Schema,
    /// The version.
    pub version: i16,
    /// The values.
    pub tree: Structure,
    /// What the schema makes of the values.
    pub bytes: Bytes,
}

impl Case<'_> {
    /// What our crate reads from the bytes.
    ///
    /// # Errors
    /// When it refuses them, which fails the case.
    pub fn decode(&self) -> Result<Box<dyn Message>, TestCaseError> {
        let decoded = self.subject.decode(&self.bytes, self.version);
        decoded
            .map_err(|error| TestCaseError::fail(format!("not decoded: {error}: {:02x?}", &self.bytes[..])))
    }
}

/// Every message with its schema.
pub fn subjects() -> impl Iterator<Item = (Subject, Schema)> {
    Subject::all().map(|subject| (subject, Schema::named(&subject.name())))
}

/// Tries values of every message in every version, and gives the number of versions there were.
///
/// # Panics
/// When a check fails, with the smallest values for which it does and the seed of the run.
pub fn for_all(check: impl Fn(&Case<'_>) -> Result<(), TestCaseError>) -> usize {
    let seed = number("PROPTEST_RNG_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cases = number("PROPTEST_CASES").and_then(|cases| cases.try_into().ok()).unwrap_or(CASES);
    let config =
        Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Default::default() };
    let mut pairs = 0;
    for (subject, schema) in subjects() {
        for version in schema.valid.first..=schema.valid.last {
            let values = schema::strategy(&schema, version);
            let outcome = TestRunner::new(config.clone()).run(&values, |tree| {
                let bytes = schema::write(&schema, &tree, version).expect("the version carries its values");
                check(&Case { subject, schema: &schema, version, tree, bytes: bytes.into() })
            });
            if let Err(error) = outcome {
                panic!("{} version {version}: {error}\nPROPTEST_RNG_SEED={seed}", schema.name);
            }
            pairs += 1;
        }
    }
    pairs
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}
