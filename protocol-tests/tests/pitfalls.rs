//! Every corner case that is known to break clients has a test: each row of the table is named in the description of one,
//! and those that have to be seen on real brokers in that of one that runs on the cluster.

#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Chapters of the table and how many rows each has: producers, transactions, fetching, groups, the new group protocol.
const ROWS: [(char, u32); 5] = [('P', 19), ('T', 17), ('F', 14), ('G', 11), ('N', 8)];

/// The rows that are tested on the real cluster, too.
const ON_THE_CLUSTER: [&str; 32] = [
    "P1", "P2", "P3", "P6", "P9", "P10", "P12", "P13", "T1", "T3", "T4", "T5", "T7", "T9", "T13", "T14",
    "T15", "F1", "F5", "F6", "F8", "F11", "G2", "G3", "G6", "G7", "G8", "G10", "N2", "N3", "N5", "N6",
];

#[test]
fn every_row_of_the_table_of_pitfalls_is_named_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    collect(&root.join("crates"), &mut files);
    collect(&root.join("protocol-tests/tests"), &mut files);
    let named = named_in(&files);
    let all = ROWS.iter().flat_map(|(chapter, count)| (1..=*count).map(move |row| format!("{chapter}{row}")));
    let missing: Vec<String> = all.filter(|row| !named.contains(row)).collect();
    assert!(missing.is_empty(), "rows that no test is described as being of: {missing:?}");
}

#[test]
fn rows_that_real_brokers_have_to_show_are_named_by_a_test_on_the_cluster() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = Vec::new();
    collect(&tests, &mut files);
    let needs_the_cluster = |file: &Path| {
        let place = file.strip_prefix(&tests).unwrap().to_str().unwrap();
        place.starts_with("cluster_") || place.starts_with("faults_")
    };
    files.retain(|file| needs_the_cluster(file));
    let named = named_in(&files);
    let missing: Vec<_> = ON_THE_CLUSTER.into_iter().filter(|row| !named.contains(*row)).collect();
    assert_eq!(missing, [] as [&str; 0], "rows that no test on the cluster is described as being of");
}

fn named_in(files: &[PathBuf]) -> BTreeSet<String> {
    files.iter().flat_map(|file| rows_of(&fs::read_to_string(file).unwrap())).collect()
}

/// Source files, but for what Cargo has built.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The rows in the descriptions of the tests of a file.
fn rows_of(source: &str) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    let mut description = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            let words =
                words.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| is_row(word));
            description.extend(words.map(str::to_owned));
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            if is_test {
                rows.append(&mut description);
            }
            description.clear();
            is_test = false;
        }
    }
    rows
}

fn is_row(word: &str) -> bool {
    ROWS.iter().any(|(chapter, count)| {
        let row = word.strip_prefix(*chapter).and_then(|row| row.parse::<u32>().ok());
        row.is_some_and(|row| (1..=*count).contains(&row))
    })
}

#[test]
fn only_the_descriptions_of_tests_count() {
    let source = "/// P1, P12: one.\n#[test]\nfn one() {}\n\n/// P2.\nfn two() {}\n\n// P3.\n#[test]\nfn three() {}\n\n\
                  /// P4\n/// and T17; not P20 nor XP5.\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn four() {}\n";
    let rows: Vec<_> = rows_of(source).into_iter().collect();
    assert_eq!(rows, ["P1", "P12", "P4", "T17"]);
}
