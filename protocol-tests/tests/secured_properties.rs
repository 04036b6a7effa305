//! Clients with settings in the names of other clients, against the embedded broker's TLS and SASL.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use std::{fs, time::Duration};

use milena::{Client, ClientProperties, ConnectError, Flavor, Record};
use milena_embedded_broker::{EmbeddedBroker, core::SaslConfig};
use protocol_tests::tls;

const PASSWORD: &str = "sec=ret,\"\\";
const FLAVORS: [Flavor; 2] = [Flavor::Java, Flavor::Librdkafka];

/// A broker that knows alice, over TLS or in the clear.
async fn broker(is_encrypted: bool) -> EmbeddedBroker {
    let sasl = SaslConfig::new([("alice", PASSWORD)]);
    let builder = EmbeddedBroker::builder().topic("orders", 1).configure(|config| config.sasl = Some(sasl));
    let builder = if is_encrypted { builder.tls(tls::server()) } else { builder };
    builder.start().await.unwrap()
}

/// The text of a file in which a user logs in.
fn login(flavor: Flavor, broker: &EmbeddedBroker, protocol: &str, mechanism: &str, password: &str) -> String {
    let common = format!(
        "bootstrap.servers={}\nsecurity.protocol={protocol}\nsasl.mechanism={mechanism}\n",
        broker.bootstrap()
    );
    match flavor {
        Flavor::Java => {
            let module = if mechanism == "PLAIN" { "plain.Plain" } else { "scram.Scram" };
            let quoted = password.replace('\\', "\\\\").replace('"', "\\\"");
            // The file has its own backslashes besides those of the quotes.
            let escaped = quoted.replace('\\', "\\\\");
            format!(
                "{common}sasl.jaas.config=org.apache.kafka.common.security.{module}LoginModule required \\\n  \
                 username=\"alice\" \\\n  password=\"{escaped}\";\n"
            )
        }
        _ => format!("{common}sasl.username=alice\nsasl.password={password}\n"),
    }
}

/// Whom to believe, by a file.
fn authority(flavor: Flavor) -> String {
    match flavor {
        Flavor::Java => format!("ssl.truststore.type=PEM\nssl.truststore.location={}\n", tls::authority()),
        _ => format!("ssl.ca.location={}\n", tls::authority()),
    }
}

fn properties(flavor: Flavor, text: &str) -> ClientProperties {
    ClientProperties::parse(flavor, text).unwrap_or_else(|error| panic!("{error}"))
}

async fn connect(properties: &ClientProperties) -> Result<Client, ConnectError> {
    Client::from_properties(properties).unwrap().setup_timeout(Duration::from_secs(5)).connect().await
}

async fn send(properties: &ClientProperties) {
    let client = connect(properties).await.unwrap();
    client.producer().build().unwrap().send(Record::new("orders").value("an order")).await.unwrap();
    client.shutdown();
}

#[tokio::test]
async fn every_mechanism_lets_in_by_either_clients_words() {
    for (is_encrypted, protocol) in [(false, "SASL_PLAINTEXT"), (true, "SASL_SSL")] {
        let broker = broker(is_encrypted).await;
        for flavor in FLAVORS {
            for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
                let mut text = login(flavor, &broker, protocol, mechanism, PASSWORD);
                if is_encrypted {
                    text += &authority(flavor);
                }
                let mut properties = properties(flavor, &text);
                if is_encrypted {
                    assert!(Client::from_properties(&properties).is_err());
                    properties = properties.trust_files_and_urls();
                } else if mechanism == "PLAIN" {
                    assert!(Client::from_properties(&properties).is_err());
                    properties = properties.allow_login_in_the_clear();
                }
                send(&properties).await;
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_not_shown() {
    let broker = broker(false).await;
    for flavor in FLAVORS {
        let text = login(flavor, &broker, "SASL_PLAINTEXT", "SCRAM-SHA-256", "guess-c4n4ry");
        let properties = properties(flavor, &text);
        let error = connect(&properties).await.unwrap_err();
        let shown = format!("{error} {error:?} {properties:?}");
        assert!(shown.contains("the broker refused the login by SCRAM-SHA-256: "), "{shown}");
        assert!(!shown.contains("c4n4ry"), "{shown}");
    }
}

/// The lines of a PEM text as the value of a property.
fn on_one_line(path: &str) -> String {
    fs::read_to_string(path).unwrap().trim_end().replace('\n', "\\n")
}

#[tokio::test]
async fn a_certificate_of_the_clients_own_is_shown_from_files_and_from_the_properties() {
    let broker = EmbeddedBroker::builder().topic("orders", 1).tls(tls::server_with("server", true));
    let broker = broker.start().await.unwrap();
    let start = format!("bootstrap.servers={}\nsecurity.protocol=SSL\n", broker.bootstrap());
    let (certificate, key) = tls::certificate("client");
    let store = std::env::temp_dir().join(format!("milena-properties-{}.pem", std::process::id()));
    fs::write(&store, [fs::read(&key).unwrap(), fs::read(&certificate).unwrap()].concat()).unwrap();
    let (authority, inline_certificate, inline_key) =
        (on_one_line(&tls::authority()), on_one_line(&certificate), on_one_line(&key));
    for (flavor, names_files, text) in [
        (
            Flavor::Java,
            true,
            format!(
                "ssl.truststore.type=PEM\nssl.truststore.location={}\nssl.keystore.type=PEM\nssl.keystore.location={}\n",
                tls::authority(),
                store.display()
            ),
        ),
        (
            Flavor::Java,
            false,
            format!(
                "ssl.truststore.type=PEM\nssl.truststore.certificates={authority}\nssl.keystore.type=PEM\n\
                 ssl.keystore.certificate.chain={inline_certificate}\nssl.keystore.key={inline_key}\n"
            ),
        ),
        (
            Flavor::Librdkafka,
            true,
            format!(
                "ssl.ca.location={}\nssl.certificate.location={certificate}\nssl.key.location={key}\n",
                tls::authority()
            ),
        ),
        (
            Flavor::Librdkafka,
            false,
            format!(
                "ssl.ca.pem={authority}\nssl.certificate.pem={inline_certificate}\nssl.key.pem={inline_key}\n"
            ),
        ),
    ] {
        let mut properties = properties(flavor, &format!("{start}{text}"));
        assert_eq!(Client::from_properties(&properties).is_err(), names_files);
        if names_files {
            properties = properties.trust_files_and_urls();
        }
        send(&properties).await;
    }
    fs::remove_file(store).unwrap();
}
