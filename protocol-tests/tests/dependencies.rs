//! Promises about dependencies that Cargo keeps and this file asks about.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::process::Command;

/// The names of the packages in `package`'s tree, without what only its tests need.
fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn decisions_have_no_runtime_and_no_sockets() {
    for package in ["milena-protocol", "milena-cluster", "milena-producer", "milena-consumer-group"] {
        let names = tree(package);
        assert!(names.iter().any(|name| name == "bytes"), "{package}: {names:?}");
        for banned in ["tokio", "mio", "socket2", "async-std", "smol", "futures-util"] {
            assert!(!names.iter().any(|name| name == banned), "{package} depends on {banned}");
        }
    }
    // The check can find what it looks for.
    assert!(tree("milena-connection").iter().any(|name| name == "tokio"));
}

#[test]
fn lower_crates_know_no_higher_ones() {
    for (package, above) in [
        ("milena-protocol", &["milena-cluster", "milena-embedded-broker"][..]),
        ("milena-cluster", &["milena-producer", "milena-consumer-group", "milena-connection"]),
        ("milena-producer", &["milena-consumer-group", "milena-connection", "milena"]),
        ("milena-consumer-group", &["milena-producer", "milena-connection", "milena"]),
        ("milena-embedded-broker", &["milena-cluster", "milena-connection", "milena"]),
        (
            "milena-conformance",
            &["milena-cluster", "milena-connection", "milena-embedded-broker", "milena", "milena-producer"],
        ),
        ("milena-connection", &["milena-producer", "milena-consumer-group", "milena"]),
        ("milena-transport", &["milena-protocol", "milena-connection", "milena-schema-registry"]),
        ("milena-schema-registry", &["milena-protocol", "milena-connection", "milena"]),
    ] {
        let names = tree(package);
        for name in above {
            assert!(!names.iter().skip(1).any(|known| known == name), "{package} depends on {name}");
        }
    }
}
