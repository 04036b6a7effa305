//! Fresh golden vectors every time: Kafka's own classes draw values from a seed that nobody has tried.
//!
//! The seed is random unless the environment variable `MILENA_GOLDEN_SEED` names it. It needs Java and Kafka's jars, not
//! the brokers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{env, fs, path::Path, process::Command};

use protocol_tests::{buffer::Buffer, golden, refusal::Refusal, vector::Vector};

#[test]
#[ignore = "needs the cluster"]
fn fresh_vectors_of_java_are_read_and_written_as_java_does() {
    let seed = match env::var("MILENA_GOLDEN_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::i64(1..i64::MAX),
    };
    let context = format!("MILENA_GOLDEN_SEED={seed}");
    let folder = env::temp_dir().join(format!("milena-golden-{}", std::process::id()));
    let xtask = env::var_os("MILENA_XTASK").unwrap_or_else(|| panic!("`cargo xtask test` sets MILENA_XTASK"));
    let status = Command::new(xtask)
        .args(["golden", "--seed", &seed.to_string(), "--out"])
        .arg(&folder)
        .status()
        .unwrap();
    assert!(status.success(), "xtask golden: {status}, {context}");
    let counts = check(&folder.join(format!("vectors-seed{seed}.jsonl.gz")), &context);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(counts, [2500, 2481, 218], "messages, refusals and buffers of {context}");
}

/// How many messages, refusals and buffers of batches there are.
fn check(file: &Path, context: &str) -> [usize; 3] {
    let [mut vectors, mut refusals, mut buffers] = [0; 3];
    for line in golden::lines_of(vec![file.to_owned()]) {
        let mismatch = if let Some(refusal) = Refusal::new(line.clone()) {
            refusals += 1;
            refusal.mismatch()
        } else if let Some(buffer) = Buffer::new(line.clone()) {
            buffers += 1;
            buffer.mismatch()
        } else {
            vectors += 1;
            Vector::new(line.clone()).unwrap().mismatch()
        };
        if let Some(mismatch) = mismatch {
            panic!("{context}: {mismatch} in {line}");
        }
    }
    [vectors, refusals, buffers]
}
