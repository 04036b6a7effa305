//! A field that a version can't carry is refused or left out as Kafka's own classes do it: for every field of every
//! message, and every version that has not got it or does not let it be null.

use std::collections::BTreeMap;

use protocol_tests::{
    golden,
    refusal::{Outcome, Refusal},
};

#[test]
fn versions_refuse_what_javas_refuse() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut mismatches = Vec::new();
    for refusal in golden::lines().filter_map(Refusal::new) {
        mismatches.extend(refusal.mismatch());
        let outcome = match refusal.outcome {
            Outcome::Written(_) => "written",
            Outcome::Refused(_) => "refused",
            Outcome::Null(_) => "null",
            Outcome::Tags => "tags",
            Outcome::Otherwise(_) => "otherwise",
        };
        *seen.entry(outcome).or_default() += 1;
    }
    assert!(mismatches.is_empty(), "{} differ:\n{}", mismatches.len(), mismatches.join("\n"));
    let at_least = [("null", 36), ("refused", 900), ("tags", 100), ("written", 1300)];
    for (outcome, count) in at_least {
        assert!(seen.get(outcome).is_some_and(|&seen| seen >= count), "{outcome}: {seen:?}");
    }
}
