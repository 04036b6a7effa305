use super::*;

const JAAS: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"secret\";";

fn take(flavor: Flavor, pairs: &[(&str, &str)]) -> Result<ClientProperties, PropertiesError> {
    ClientProperties::from_pairs(flavor, pairs.iter().copied())
}

/// What is wrong with them, a problem a line.
#[track_caller]
fn problems(flavor: Flavor, pairs: &[(&str, &str)]) -> String {
    let error = match take(flavor, pairs) {
        Ok(properties) => Client::from_properties(&properties).err().unwrap(),
        Err(error) => error,
    };
    error.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn connections_are_made_as_the_properties_say() {
    let properties = [
        ("bootstrap.servers", "a:1,b:2"),
        ("client.id", "orders"),
        ("socket.connection.setup.timeout.ms", "4000"),
        ("socket.connection.setup.timeout.max.ms", "20000"),
        ("reconnect.backoff.ms", "100"),
        ("reconnect.backoff.max.ms", "2000"),
        ("connections.max.idle.ms", "60000"),
        ("metadata.recovery.rebootstrap.trigger.ms", "90000"),
        ("client.dns.lookup", "use_all_dns_ips"),
        ("security.protocol", "plaintext"),
    ];
    let properties = take(Flavor::Java, &properties).unwrap();
    let shown = format!("{:?}", Client::from_properties(&properties).unwrap());
    for expected in [
        "bootstrap: \"a:1,b:2\"",
        "\"orders\"",
        "setup_timeout: 4s",
        "max_setup_timeout: Some(20s)",
        "initial: 100ms, max: 2s",
        "max_idle: 60s",
        "rebootstrap_after: 90s",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    let properties = [
        ("metadata.broker.list", "a:1"),
        ("socket.connection.setup.timeout.ms", "4000"),
        ("reconnect.backoff.max.ms", "20"),
        ("connections.max.idle.ms", "0"),
        ("metadata.recovery.strategy", "none"),
        ("receive.message.max.bytes", "1000000"),
        ("socket.keepalive.enable", "false"),
        ("socket.nagle.disable", "true"),
    ];
    let properties = take(Flavor::Librdkafka, &properties).unwrap();
    assert_eq!(properties.bootstrap_servers(), Some("a:1"));
    let shown = format!("{:?}", Client::from_properties(&properties).unwrap());
    let forever = Duration::MAX;
    for expected in [
        "max_setup_timeout: None",
        "initial: 20ms, max: 20ms",
        &format!("max_idle: {forever:?}"),
        &format!("rebootstrap_after: {forever:?}"),
        "max_frame_len: 1000000",
        "keepalive: None",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
}

#[test]
fn what_is_not_named_stays() {
    let properties = take(Flavor::Java, &[("bootstrap.servers", "a:1")]).unwrap();
    let without_seed = |builder: ClientBuilder| format!("{:?}", builder.seed(1));
    assert_eq!(
        without_seed(Client::from_properties(&properties).unwrap()),
        without_seed(Client::builder("a:1"))
    );
}

#[test]
fn what_cannot_be_is_named_with_what_to_do() {
    use Flavor::{Java, Librdkafka};
    for (flavor, pairs, said) in [
        (
            Java,
            &[("client.id", "x")][..],
            "bootstrap.servers is missing: it says where the cluster is: HOST:PORT, several with commas between",
        ),
        (Java, &[("bootstrap.servers", "")], "bootstrap.servers is \"\"; it has at least a letter"),
        (
            Java,
            &[("client.dns.lookup", "resolve_canonical_bootstrap_servers_only")],
            "client.dns.lookup has no effect: every address of a name is tried, and a connection looks the name up anew; \
             remove it",
        ),
        (
            Java,
            &[("reconnect.backoff.ms", "100"), ("reconnect.backoff.max.ms", "50")],
            "reconnect.backoff.max.ms is \"50\"; it is at least reconnect.backoff.ms",
        ),
        (
            Librdkafka,
            &[("metadata.recovery.strategy", "none"), ("metadata.recovery.rebootstrap.trigger.ms", "1")],
            "metadata.recovery.rebootstrap.trigger.ms has no effect: metadata.recovery.strategy is none; remove it",
        ),
        (
            Java,
            &[("connections.max.idle.ms", "0")],
            "connections.max.idle.ms is \"0\"; it is a number of milliseconds from 1 on, without a unit",
        ),
        (
            Librdkafka,
            &[("socket.nagle.disable", "false")],
            "socket.nagle.disable has no effect: requests are written whole, and nothing waits for more; remove it",
        ),
        (
            Java,
            &[("securtiy.protocol", "SSL")],
            "securtiy.protocol is no setting of Java's client; did you mean security.protocol? Correct or remove it",
        ),
        (
            Java,
            &[("ssl.ca.location", "ca.pem")],
            "ssl.ca.location is no setting of Java's client, but one of librdkafka's; correct or remove it",
        ),
        (
            Librdkafka,
            &[("bootstrap.servers", "a:1"), ("metadata.broker.list", "b:1")],
            "bootstrap.servers and metadata.broker.list have different values: keep one",
        ),
        (
            Java,
            &[("config.providers", "file"), ("security.providers", "com.example.Own")],
            "security.providers has no effect: Milena runs no Java class; remove it",
        ),
    ] {
        assert_eq!(problems(flavor, pairs), said);
    }
}

#[test]
fn security_is_asked_for_by_its_name() {
    use Flavor::{Java, Librdkafka};
    for (flavor, pairs, said) in [
        (
            Java,
            &[("sasl.mechanism", "PLAIN")][..],
            "security.protocol is missing: without it sasl.mechanism has no effect; set it to SASL_SSL",
        ),
        (
            Librdkafka,
            &[("ssl.ca.location", "ca.pem")],
            "security.protocol is missing: without it ssl.ca.location has no effect; set it to SSL, or to SASL_SSL with a \
             login",
        ),
        (
            Librdkafka,
            &[("security.protocol", "plaintext"), ("ssl.ca.location", "ca.pem"), ("sasl.password", "x")],
            "ssl.ca.location has no effect: security.protocol has no TLS; set it to SSL or SASL_SSL, or remove this\n\
             sasl.password has no effect: security.protocol has no login; set it to SASL_SSL, or remove this",
        ),
        (
            Java,
            &[("security.protocol", "TLS")],
            "security.protocol is \"TLS\"; it is one of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL",
        ),
        (
            Java,
            &[("security.protocol", "SASL_PLAINTEXT")],
            "sasl.mechanism is missing: security.protocol asks for a login; it is one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 \
             and OAUTHBEARER",
        ),
        (
            Java,
            &[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "GSSAPI")],
            "sasl.mechanism is refused: Milena has no Kerberos; take SCRAM-SHA-512 or OAUTHBEARER",
        ),
        (
            Java,
            &[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "AWS_MSK_IAM")],
            "sasl.mechanism is refused: Amazon's login is MskIam, by ClientBuilder::sasl and the feature `msk-iam`; set \
             security.protocol to SSL, and remove what is of the login",
        ),
        (
            Java,
            &[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "DIGEST-MD5")],
            "sasl.mechanism is \"DIGEST-MD5\"; it is one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER",
        ),
        (
            Java,
            &[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")],
            "sasl.jaas.config is missing: sasl.mechanism is PLAIN, which needs it",
        ),
        (
            Java,
            &[
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", "PLAIN"),
                ("sasl.jaas.config", JAAS),
            ],
            "sasl.jaas.config is refused: its login module is another mechanism's than sasl.mechanism",
        ),
        (
            Librdkafka,
            &[
                ("security.protocol", "sasl_plaintext"),
                ("sasl.mechanisms", "SCRAM-SHA-512"),
                ("sasl.username", "alice"),
                ("sasl.oauthbearer.scope", "kafka"),
            ],
            "sasl.oauthbearer.scope has no effect: sasl.mechanism is not OAUTHBEARER; remove it\n\
             sasl.password is missing: sasl.mechanisms is SCRAM-SHA-512, which needs it",
        ),
        (
            Librdkafka,
            &[
                ("security.protocol", "sasl_plaintext"),
                ("sasl.mechanism", "SCRAM-SHA-512"),
                ("sasl.username", "alice"),
                ("sasl.password", ""),
            ],
            "sasl.password is refused: it is empty",
        ),
        (
            Librdkafka,
            &[
                ("bootstrap.servers", "a:1"),
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", "PLAIN"),
                ("sasl.username", "alice"),
                ("sasl.password", "secret"),
            ],
            "security.protocol is refused: PLAIN without TLS shows the password or token to everybody in between; set it to \
             SASL_SSL, take SCRAM, or say that it is meant with ClientProperties::allow_login_in_the_clear",
        ),
    ] {
        assert_eq!(problems(flavor, pairs), said);
    }
}

#[test]
fn a_login_in_the_clear_has_to_be_meant() {
    let pairs = [
        ("bootstrap.servers", "a:1"),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "alice"),
        ("sasl.password", "secret"),
    ];
    let properties = take(Flavor::Librdkafka, &pairs).unwrap();
    assert!(Client::from_properties(&properties).is_err());
    let builder = Client::from_properties(&properties.allow_login_in_the_clear()).unwrap();
    assert!(builder.network().is_ok());
    let scram = [("sasl.mechanism", "SCRAM-SHA-256"), ("sasl.jaas.config", JAAS)];
    let properties = take(Flavor::Java, &[&pairs[..2], &scram].concat()).unwrap();
    assert!(Client::from_properties(&properties).unwrap().network().is_ok());
}

#[cfg(not(feature = "_tls"))]
#[test]
fn tls_that_is_not_there_is_refused() {
    let said = problems(Flavor::Java, &[("security.protocol", "SSL")]);
    assert_eq!(
        said,
        "security.protocol is refused: this program has no TLS; build milena with its feature `tls`"
    );
}

#[cfg(not(feature = "oidc"))]
#[test]
fn tokens_of_a_provider_need_their_feature() {
    let pairs = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "OAUTHBEARER")];
    assert_eq!(
        problems(Flavor::Java, &pairs),
        "sasl.mechanism is refused: tokens from an OpenID Connect provider need milena's feature `oidc`; other ones come from a \
         TokenProvider, by ClientBuilder::sasl"
    );
}

#[cfg(feature = "_tls")]
mod encrypted {
    use super::*;

    const TRUSTSTORE: &str = "Milena reads PEM: keytool -list -rfc -keystore STORE > ca.pem writes it";
    const KEYSTORE: &str = "Milena reads PEM: openssl pkcs12 -in STORE -nodes -out client.pem writes it, of JKS after keytool \
                            -importkeystore -srckeystore STORE -destkeystore STORE.p12 -deststoretype PKCS12";
    const DANGEROUS: &str = "who wants to believe any broker says so in the program, by ClientBuilder::tls with \
                             Tls::dangerous().without_verification(); remove it";
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----AAAA-----END PRIVATE KEY-----";

    #[track_caller]
    fn of_ssl(flavor: Flavor, pairs: &[(&str, &str)]) -> String {
        problems(flavor, &[&[("bootstrap.servers", "a:1"), ("security.protocol", "SSL")], pairs].concat())
    }

    #[test]
    fn stores_of_java_are_in_pem() {
        let then = "then name that file, and set this to PEM";
        for (pairs, said) in [
            (
                &[("ssl.truststore.location", "t.jks"), ("ssl.truststore.password", "secret")][..],
                format!(
                    "ssl.truststore.password has no effect: PEM has no password; remove it\nssl.truststore.type is missing: \
                     without it ssl.truststore.location is JKS to Java. {TRUSTSTORE}; {then}"
                ),
            ),
            (
                &[("ssl.truststore.location", "t.p12"), ("ssl.truststore.type", "PKCS12")],
                format!("ssl.truststore.type is refused: {TRUSTSTORE}; {then}"),
            ),
            (
                &[("ssl.truststore.type", "PEM")],
                "ssl.truststore.type has no effect: there is no store of that type; remove it".to_owned(),
            ),
            (
                &[("ssl.keystore.location", "k.jks"), ("ssl.keystore.type", "JKS")],
                format!("ssl.keystore.type is refused: {KEYSTORE}; {then}"),
            ),
            (
                &[("ssl.keystore.location", "k.pem"), ("ssl.keystore.type", "PEM"), ("ssl.keystore.password", "x")],
                "ssl.keystore.password has no effect: PEM has no password; remove it".to_owned(),
            ),
            (
                &[("ssl.keystore.location", "k.pem"), ("ssl.keystore.type", "PEM"), ("ssl.keystore.key", KEY)],
                "ssl.keystore.location is refused: ssl.keystore.key or ssl.keystore.certificate.chain is there, too; keep one"
                    .to_owned(),
            ),
            (
                &[("ssl.keystore.key", KEY), ("ssl.keystore.type", "PEM")],
                "ssl.keystore.certificate.chain is missing: ssl.keystore.key is there, and one is of no use without the other"
                    .to_owned(),
            ),
            (
                &[("ssl.key.password", "secret")],
                "ssl.key.password is refused: Milena takes a key without a password: openssl pkey -in KEY -out PLAIN-KEY takes \
                 it off; then remove this"
                    .to_owned(),
            ),
            (
                &[("ssl.truststore.certificates", "nothing"), ("ssl.truststore.type", "PEM")],
                "ssl.truststore.certificates is refused: it has no certificate in PEM".to_owned(),
            ),
        ] {
            assert_eq!(of_ssl(Flavor::Java, pairs), said);
        }
    }

    #[test]
    fn files_of_librdkafka_go_together() {
        for (pairs, said) in [
            (
                &[("ssl.ca.location", "ca.pem"), ("ssl.ca.pem", CERTIFICATE)][..],
                "ssl.ca.pem is refused: ssl.ca.location is there, too; keep one".to_owned(),
            ),
            (
                &[("ssl.key.location", "k.pem")],
                "ssl.certificate.location is missing: the client's key is there, and one is of no use without the other"
                    .to_owned(),
            ),
            (
                &[("ssl.key.location", "k.pem"), ("ssl.certificate.pem", CERTIFICATE)],
                "ssl.key.location is refused: certificate and key are both named by location, or both there as PEM"
                    .to_owned(),
            ),
            (
                &[("ssl.keystore.location", "k.p12")],
                format!(
                    "ssl.keystore.location is refused: {KEYSTORE}; name it in ssl.certificate.location and ssl.key.location"
                ),
            ),
            (
                &[
                    ("ssl.certificate.pem", CERTIFICATE),
                    ("ssl.key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----AAAA-----END ENCRYPTED PRIVATE KEY-----"),
                ],
                "ssl.key.pem is refused: Milena takes a key without a password: openssl pkey -in KEY -out PLAIN-KEY takes it off"
                    .to_owned(),
            ),
            (
                &[("ssl.crl.location", "crl.pem")],
                "ssl.crl.location has no effect: Milena reads no lists of revoked certificates; remove it, and have brokers with \
                 short-lived ones"
                    .to_owned(),
            ),
        ] {
            assert_eq!(of_ssl(Flavor::Librdkafka, pairs), said);
        }
    }

    #[test]
    fn brokers_prove_who_they_are() {
        use Flavor::{Java, Librdkafka};
        for (flavor, name, value) in [
            (Java, "ssl.endpoint.identification.algorithm", ""),
            (Librdkafka, "ssl.endpoint.identification.algorithm", "none"),
            (Librdkafka, "enable.ssl.certificate.verification", "false"),
        ] {
            assert_eq!(of_ssl(flavor, &[(name, value)]), format!("{name} is refused: {DANGEROUS}"));
        }
        for (flavor, name, value, rule) in [
            (Java, "ssl.endpoint.identification.algorithm", "ldaps", "it is https"),
            (
                Java,
                "ssl.enabled.protocols",
                "TLSv1.1,TLSv1.2",
                "Milena has TLSv1.2,TLSv1.3, and both of them; set that, or remove it",
            ),
            (Librdkafka, "enable.ssl.certificate.verification", "no", "it is true or false"),
        ] {
            assert_eq!(of_ssl(flavor, &[(name, value)]), format!("{name} is {value:?}; {rule}"));
        }
        assert_eq!(
            of_ssl(Java, &[("ssl.protocol", "TLSv1.1")]),
            "ssl.protocol has no effect: TLSv1.3 is taken with brokers that have it, and TLSv1.2 with others; remove it"
        );
        let usual = [
            ("security.protocol", "SSL"),
            ("ssl.endpoint.identification.algorithm", "HTTPS"),
            ("ssl.enabled.protocols", "TLSv1.3, TLSv1.2"),
            ("ssl.protocol", "TLSv1.3"),
        ];
        take(Java, &usual).unwrap();
    }

    #[test]
    fn files_are_not_read_for_strangers() {
        let untrusted = "has the client read a file or call an address: if whoever wrote the properties may have it do so, say \
                         so with ClientProperties::trust_files_and_urls";
        let said = of_ssl(
            Flavor::Librdkafka,
            &[("ssl.ca.location", "/a"), ("ssl.certificate.location", "/b"), ("ssl.key.location", "/c")],
        );
        assert_eq!(
            said,
            format!(
                "ssl.ca.location {untrusted}\nssl.certificate.location {untrusted}\nssl.key.location {untrusted}"
            )
        );
        let pairs = [
            ("bootstrap.servers", "a:1"),
            ("security.protocol", "SSL"),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", "/etc/ca.pem"),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", "/etc/client.pem"),
        ];
        let properties = take(Flavor::Java, &pairs).unwrap();
        assert_eq!(Client::from_properties(&properties).unwrap_err().problems().len(), 2);
        let shown = format!("{:?}", Client::from_properties(&properties.trust_files_and_urls()).unwrap());
        assert!(
            shown.contains("File(\"/etc/ca.pem\")") && shown.contains("File(\"/etc/client.pem\")"),
            "{shown}"
        );
        // What is there in full reads nothing.
        let inline = [
            ("bootstrap.servers", "a:1"),
            ("security.protocol", "SSL"),
            ("ssl.ca.pem", CERTIFICATE),
            ("ssl.certificate.pem", CERTIFICATE),
            ("ssl.key.pem", KEY),
        ];
        let properties = take(Flavor::Librdkafka, &inline).unwrap();
        let shown = format!("{:?}", Client::from_properties(&properties).unwrap());
        assert!(!shown.contains("AAAA"), "{shown}");
        let probe =
            [("bootstrap.servers", "a:1"), ("security.protocol", "SSL"), ("ssl.ca.location", "probe")];
        let shown =
            format!("{:?}", Client::from_properties(&take(Flavor::Librdkafka, &probe).unwrap()).unwrap());
        assert!(shown.contains("roots: System"), "{shown}");
    }
}

#[cfg(feature = "oidc")]
mod tokens {
    use super::*;

    const MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";
    const URL: (&str, &str) = ("sasl.oauthbearer.token.endpoint.url", "https://login.example/token");
    const BASIS: [(&str, &str); 3] =
        [("bootstrap.servers", "a:1"), ("security.protocol", "SASL_SSL"), ("sasl.mechanism", "OAUTHBEARER")];

    fn with<'p>(pairs: &[(&'p str, &'p str)]) -> Vec<(&'p str, &'p str)> {
        [&BASIS, pairs].concat()
    }

    #[test]
    fn tokens_come_from_the_endpoint_of_either_clients_words() {
        let jaas =
            format!("{MODULE} clientId=\"id\" clientSecret=\"secret\" scope=\"kafka\" extension_a=\"1\";");
        let handler = "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler";
        let bare = format!("{MODULE};");
        for (flavor, pairs) in [
            (
                Flavor::Java,
                vec![URL, ("sasl.jaas.config", &*jaas), ("sasl.login.callback.handler.class", handler)],
            ),
            (
                Flavor::Java,
                vec![
                    URL,
                    ("sasl.jaas.config", &*bare),
                    ("sasl.oauthbearer.client.credentials.client.id", "id"),
                    ("sasl.oauthbearer.client.credentials.client.secret", "secret"),
                    ("sasl.oauthbearer.scope", "kafka"),
                ],
            ),
            (
                Flavor::Librdkafka,
                vec![
                    URL,
                    ("sasl.oauthbearer.method", "oidc"),
                    ("sasl.oauthbearer.client.id", "id"),
                    ("sasl.oauthbearer.client.secret", "secret"),
                    ("sasl.oauthbearer.scope", "kafka"),
                    ("sasl.oauthbearer.extensions", "a=1, b=2"),
                    ("https.ca.location", "/etc/ca.pem"),
                ],
            ),
        ] {
            let properties = take(flavor, &with(&pairs)).unwrap();
            let said = Client::from_properties(&properties).unwrap_err().to_string();
            assert!(
                said.contains(&format!("- {} has the client read a file or call an address", URL.0)),
                "{said}"
            );
            let shown = format!("{:?}", Client::from_properties(&properties.trust_files_and_urls()).unwrap());
            assert!(shown.contains("Sasl(OAUTHBEARER)") && !shown.contains("secret\""), "{shown}");
        }
    }

    #[test]
    fn what_is_missing_or_made_elsewhere_is_named() {
        use Flavor::{Java, Librdkafka};
        let other = "Milena has tokens of an OpenID Connect provider (oidc); give others to ClientBuilder::sasl by a \
                     TokenProvider, and remove what is of the login";
        let unsecured =
            format!("{MODULE} clientId=\"a\" clientSecret=\"b\" unsecuredLoginStringClaim_sub=\"alice\";");
        let twice = format!("{MODULE} clientId=\"id\";");
        let credentials = [
            ("sasl.oauthbearer.client.credentials.client.id", "id"),
            ("sasl.oauthbearer.client.credentials.client.secret", "secret"),
        ];
        let to = |url| [&credentials[..], &[("sasl.oauthbearer.token.endpoint.url", url)]].concat();
        for (flavor, pairs, said) in [
            (
                Java,
                vec![URL],
                "sasl.oauthbearer.client.credentials.client.id is missing: sasl.mechanism is OAUTHBEARER, which needs it"
                    .to_owned(),
            ),
            (
                Java,
                credentials.to_vec(),
                "sasl.oauthbearer.token.endpoint.url is missing: sasl.mechanism is OAUTHBEARER, which needs it".to_owned(),
            ),
            (
                Java,
                vec![URL, ("sasl.jaas.config", &*unsecured)],
                "sasl.jaas.config is refused: its options are clientId, clientSecret, scope and extension_\u{2026}, and no others"
                    .to_owned(),
            ),
            (
                Java,
                vec![URL, credentials[0], credentials[1], ("sasl.jaas.config", &*twice)],
                "sasl.oauthbearer.client.credentials.client.id is refused: clientId is in sasl.jaas.config, too; keep one"
                    .to_owned(),
            ),
            (
                Java,
                vec![("sasl.login.callback.handler.class", "com.example.Own")],
                format!("sasl.login.callback.handler.class is refused: {other}"),
            ),
            (
                Java,
                to("file:///etc/passwd"),
                "sasl.oauthbearer.token.endpoint.url is refused: a token endpoint is asked over https, and over nothing else"
                    .to_owned(),
            ),
            (
                Librdkafka,
                vec![URL],
                "sasl.oauthbearer.method is missing: sasl.mechanism is OAUTHBEARER, which needs it".to_owned(),
            ),
            (
                Librdkafka,
                vec![URL, ("sasl.oauthbearer.method", "default")],
                format!("sasl.oauthbearer.method is refused: {other}"),
            ),
            (
                Librdkafka,
                vec![
                    URL,
                    ("sasl.oauthbearer.method", "oidc"),
                    credentials[0],
                    credentials[1],
                    ("sasl.oauthbearer.extensions", "a"),
                ],
                "sasl.oauthbearer.extensions is refused: it is NAME=VALUE, with commas between".to_owned(),
            ),
        ] {
            assert_eq!(problems(flavor, &with(&pairs)), said);
        }
    }
}
