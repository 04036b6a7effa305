//! Every command that connects, with TLS and logins, against brokers in this process.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    fs,
    process::{Command, Output, Stdio},
    time::Duration,
};

use milena::{Client, Record};
use milena_embedded_broker::{EmbeddedBroker, core::SaslConfig};
use protocol_tests::tls;

const PASSWORD: &str = "sec:ret, and long";
const WRONG: &str = "canary-4711";
/// All commands that connect.
const COMMANDS: [&str; 10] = [
    "topics list",
    "topics describe orders",
    "groups list",
    "lag readers",
    "offsets reset readers --topic orders --to latest",
    "groups describe readers",
    "consume orders --exit",
    "produce --topic orders",
    "produce --topic orders --transactional-id payments",
    "demo --orders 30 --json",
];

/// Who connects: whether somebody logs in, how, and over what.
async fn broker(has_users: bool, is_encrypted: bool, is_mutual: bool) -> EmbeddedBroker {
    let mut builder = EmbeddedBroker::builder().brokers(2).topic("orders", 2).configure(|config| {
        config.sasl = has_users.then(|| SaslConfig::new([("alice", PASSWORD)]));
    });
    if is_encrypted {
        builder = builder.tls(tls::server_with("server", is_mutual));
    }
    builder.start().await.unwrap()
}

fn milena(words: &str, broker: &EmbeddedBroker, options: &str, password: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
    command
        .args(words.split(' '))
        .args(["--bootstrap", &broker.bootstrap()])
        .args(options.split_whitespace());
    command.env_remove("MILENA_PASSWORD").stdin(Stdio::null());
    if let Some(password) = password {
        command.env("MILENA_PASSWORD", password);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command says that is not let in.
fn refused(words: &str, broker: &EmbeddedBroker, options: &str, password: Option<&str>) -> String {
    let output = milena(words, broker, options, password);
    let said = text(&output.stderr);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(2), ""),
        "{words} {options}: {said}"
    );
    said
}

fn ca() -> String {
    format!("--tls-ca {}", tls::authority())
}

fn login(mechanism: &str) -> String {
    format!("--sasl-mechanism {mechanism} --user alice")
}

/// Lets a group commit something, so that there is one to tell of.
async fn commit(broker: &EmbeddedBroker) {
    let client = Client::builder(broker.bootstrap())
        .tls(milena::Tls::ca_file(tls::authority()))
        .sasl(milena::Sasl::scram_sha_256("alice", PASSWORD));
    let client = client.connect().await.unwrap();
    let partition = milena::TopicPartition::new("orders", 0);
    client.producer().build().unwrap().send(Record::new("orders").value("v")).await.unwrap();
    let start = milena::Position { offset: 0, leader_epoch: None };
    client.admin().alter_group_offsets("readers", [(partition, start.into())]).await.unwrap();
    client.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_logs_in_over_tls() {
    let broker = broker(true, true, false).await;
    commit(&broker).await;
    for words in COMMANDS {
        let options = format!("{} {}", ca(), login("scram-sha-512"));
        let output = milena(words, &broker, &options, Some(PASSWORD));
        assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
        let said = refused(words, &broker, &ca(), None);
        assert!(said.contains("\ntry: log in with --sasl-mechanism and --user\n"), "{words}: {said}");
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mechanism_lets_in_by_the_environment_and_by_a_file() {
    let folder = std::env::temp_dir().join(format!("milena-security-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    for (is_encrypted, mechanism) in [
        (true, "plain"),
        (true, "scram-sha-256"),
        (true, "scram-sha-512"),
        (false, "scram-sha-256"),
        (false, "scram-sha-512"),
    ] {
        let broker = broker(true, is_encrypted, false).await;
        let options = format!("{} {}", if is_encrypted { ca() } else { String::new() }, login(mechanism));
        let by_file = format!("{options} --password-file {}", file.display());
        // The file goes before what is in the environment.
        for (options, password) in [(&options, Some(PASSWORD)), (&by_file, None), (&by_file, Some(WRONG))] {
            let output = milena("topics list", &broker, options, password);
            assert_eq!(output.status.code(), Some(0), "{options}: {}", text(&output.stderr));
            assert!(text(&output.stdout).contains("orders"), "{options}");
        }
        broker.shutdown().await;
    }
    fs::remove_dir_all(folder).unwrap();
}

/// Two lines: what is wrong, and what to do. Neither tells the password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_fails_says_what_to_do() {
    let broker = broker(true, true, false).await;
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        for words in COMMANDS {
            let said = refused(words, &broker, &format!("{} {}", ca(), login(mechanism)), Some(WRONG));
            let [error, advice] = said.lines().collect::<Vec<_>>()[..] else { unreachable!("{said}") };
            assert!(error.contains(&format!("refused the login by {}", mechanism.to_uppercase())), "{said}");
            assert!(advice.starts_with("try: check --user, the password in MILENA_PASSWORD"), "{said}");
            assert!(!said.contains(WRONG), "{said}");
        }
    }
    let missing = format!("{} {}", ca(), login("plain"));
    let said = refused("topics list", &broker, &missing, None);
    assert_eq!(
        said,
        "milena: the password of alice is not given\n\
         try: set MILENA_PASSWORD in the environment, or name a file with --password-file\n"
    );
    let said = refused("topics list", &broker, &missing, Some(""));
    assert_eq!(said, "milena: the password of alice in MILENA_PASSWORD is empty\n");
    let nowhere = format!("{missing} --password-file /nowhere/password");
    let said = refused("topics list", &broker, &nowhere, None);
    assert!(
        said.starts_with("milena: reading the password of alice in /nowhere/password: No such file"),
        "{said}"
    );
    let said = refused("topics list", &broker, "--user alice", None);
    assert!(said.contains("--sasl-mechanism <MECHANISM>"), "{said}");
    for (options, expected) in [
        ("--sasl-mechanism plain", "the user who logs in is not given\ntry: name the user with --user\n"),
        (
            "--sasl-mechanism oauthbearer",
            "the token is not given\ntry: set MILENA_TOKEN in the environment, or name a file with --token-file\n",
        ),
        (
            "--sasl-mechanism oauthbearer --user alice",
            "the token says who logs in, not --user alice\ntry: leave --user out, or take another --sasl-mechanism\n",
        ),
    ] {
        let said = refused("topics list", &broker, options, None);
        assert_eq!(said, format!("milena: {expected}"));
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encryption_that_does_not_fit_says_what_to_do() {
    let [encrypted, plain, mutual, users] = [
        broker(false, true, false).await,
        broker(false, false, false).await,
        broker(false, true, true).await,
        broker(true, false, false).await,
    ];
    let half = format!("--tls-certificate {}", tls::certificate("client").0);
    for (broker, options, error, advice) in [
        (
            &encrypted,
            "--tls",
            "the TLS handshake failed: ",
            "name the certificate of the brokers' authority with --tls-ca FILE",
        ),
        (&encrypted, "", "the peer speaks TLS", "encrypt with --tls or --tls-ca FILE, or name the port"),
        (
            &encrypted,
            "--tls-ca /nowhere/ca.pem",
            "/nowhere/ca.pem holds no certificate in PEM",
            "check --tls-ca, ",
        ),
        (&encrypted, &half, "--tls-key <FILE>", ""),
        (
            &plain,
            "--socks5 127.0.0.1:1",
            "the proxy at 127.0.0.1:1 does not connect to it: ",
            "check --socks5, ",
        ),
        (
            &plain,
            &ca(),
            "is this a plaintext port?",
            "leave the options of TLS out, or name the port for TLS",
        ),
        (
            &plain,
            &login("scram-sha-256"),
            "is this the port for SASL?",
            "leave --user and --sasl-mechanism out",
        ),
        (&mutual, &ca(), "ertificate", "name a certificate of your own with --tls-certificate and --tls-key"),
        (
            &users,
            &login("plain"),
            "without TLS shows the password",
            "encrypt with --tls or --tls-ca FILE, or take scram-sha-512",
        ),
    ] {
        let said = refused("topics list", broker, options, Some(PASSWORD));
        assert!(said.contains(error), "{options}: {said}");
        assert!(advice.is_empty() || said.contains(&format!("\ntry: {advice}")), "{options}: {said}");
    }
    let (certificate, key) = tls::certificate("client");
    let options = format!("{} --tls-certificate {certificate} --tls-key {key}", ca());
    for words in ["topics list", "produce --topic orders"] {
        let output = milena(words, &mutual, &options, None);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    for broker in [encrypted, plain, mutual, users] {
        broker.shutdown().await;
    }
}

/// People who read the help learn where the password comes from.
#[test]
fn every_command_tells_how_to_log_in() {
    for words in ["topics list", "groups list", "lag", "offsets reset", "consume", "produce", "demo"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
        let output = command.args(words.split(' ')).arg("--help").output().unwrap();
        let help = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            help.contains("MILENA_PASSWORD or --password-file, and never from the command line"),
            "{words}"
        );
        assert!(help.contains("--tls-ca <FILE>") && !help.contains("--password "), "{words}");
        // Nothing else stands in their chapter.
        let (_, chapter) = help.split_once(" Encryption and login: --tls ").unwrap();
        let (_, last) = chapter.split_once(" --password-file <FILE> ").unwrap();
        let last = last.split(" Examples:").next().unwrap();
        assert_eq!(
            last, "The password of --user, in the first line of a file; it goes before MILENA_PASSWORD",
            "{words}"
        );
    }
}

/// Nobody has to sit out a timeout to be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_comes_at_once() {
    let broker = broker(true, true, false).await;
    let begin = std::time::Instant::now();
    refused("topics list", &broker, "", None);
    refused("topics list", &broker, &format!("{} {}", ca(), login("plain")), Some(WRONG));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    broker.shutdown().await;
}
