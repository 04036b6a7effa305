//! Java's tool at the same broker: it is let in and refused as our client is, so that it is the broker's doing.
#![allow(clippy::unwrap_used, reason = "tests state their expectations by unwrapping")]

use std::fs;

use protocol_tests::{
    external::{finish, java},
    secured::{MTLS, SecuredBroker, TLS_LOGIN},
    tls,
};

/// What Java's tool says when it lists the topics with these settings.
async fn topics(name: &str, address: &str, settings: &[&str]) -> (bool, String) {
    let path = format!("{}/{name}.properties", env!("CARGO_TARGET_TMPDIR"));
    let authority = format!("ssl.truststore.location={}", tls::authority());
    let settings = [&["ssl.truststore.type=PEM", authority.as_str()], settings].concat();
    fs::write(&path, settings.join("\n")).unwrap();
    let mut tool = java("TopicCommand");
    tool.args(["--list", "--bootstrap-server", address, "--command-config", &path]);
    let output = finish(&mut tool, "").await;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

fn scram(password: &str) -> String {
    format!(
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
         username=\"alice\" password=\"{password}\";"
    )
}

#[tokio::test]
#[ignore = "needs the secure cluster"]
async fn java_is_let_in_and_refused_alike() {
    SecuredBroker::from_env().unwrap().grant().await;
    let login = ["security.protocol=SASL_SSL", "sasl.mechanism=SCRAM-SHA-512"];
    let right = scram("alice-scram");
    let (is_in, said) = topics("right", TLS_LOGIN, &[&login[..], &[&right]].concat()).await;
    assert!(is_in, "{said}");
    let wrong = scram("guess");
    let (is_in, said) = topics("wrong", TLS_LOGIN, &[&login[..], &[&wrong]].concat()).await;
    // The broker's words, which our client passes on.
    assert!(
        !is_in && said.contains("due to invalid credentials with SASL mechanism SCRAM-SHA-512"),
        "{said}"
    );
    let (is_in, said) = topics("nobody", MTLS, &["security.protocol=SSL"]).await;
    // In TLS 1.3 the server looks at the certificate when the client is through with its part.
    assert!(!is_in && said.contains("Failed to process post-handshake messages"), "{said}");
}
