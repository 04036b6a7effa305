//! `milena broker` with the security of a real one, asked by librdkafka.
#![allow(clippy::unwrap_used, reason = "tests state their expectations by unwrapping")]

use std::process::Stdio;

use protocol_tests::{
    external::{self, run},
    tls,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The process and where it listens.
async fn broker(arguments: &[&str]) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command.args(["broker", "--port", "0", "--topic", "orders"]).args(arguments);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let bootstrap = lines.next_line().await.unwrap().unwrap();
    (child, bootstrap)
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn a_broker_lets_in_over_tls_who_logs_in() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tls");
    let (certificate, key) = (format!("{folder}/server.pem"), format!("{folder}/server.key"));
    let (_child, bootstrap) =
        broker(&["--user", "alice:sec:ret", "--tls-certificate", &certificate, "--tls-key", &key]).await;
    let kcat = |password: &str| {
        let mut kcat = external::kcat(&bootstrap);
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.username", "alice"),
            ("sasl.password", password),
            ("ssl.ca.location", &tls::authority()),
            ("message.timeout.ms", "3000"),
        ] {
            kcat.args(["-X", &format!("{name}={value}")]);
        }
        kcat
    };
    run(kcat("sec:ret").args(["-P", "-t", "orders"]), "1\n").await;
    assert_eq!(run(kcat("sec:ret").args(["-C", "-t", "orders", "-e", "-q"]), "").await, "1\n");
    let refused = external::finish(kcat("guess").args(["-P", "-t", "orders"]), "2\n").await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Authentication failed"));
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn a_broker_may_be_an_old_one() {
    let (_child, bootstrap) = broker(&["--imitate", "2.4"]).await;
    let mut kcat = external::kcat(&bootstrap);
    let seen = external::finish(kcat.args(["-L", "-X", "debug=feature"]), "").await;
    let versions = String::from_utf8_lossy(&seen.stderr);
    assert!(versions.contains("ApiKey Produce (0) Versions 3..8"), "{versions}");
}
