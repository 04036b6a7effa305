//! What a real broker that asks who you are does not let in, and what our client says of it. A client that is refused
//! again and again must not be felt on the machine: the whole suite has a second of CPU.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]
#![allow(clippy::print_stdout, reason = "what the refusals cost is of interest")]

use std::time::Duration;

use milena::{ConnectError, Sasl, Tls};
use protocol_tests::{
    secured::{
        Connections, EXPIRED, FEW, LOGIN, MTLS, PLAIN, SecuredBroker, TLS, TLS_LOGIN, authority, builder,
        certified,
    },
    tls,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::timeout;

/// What all refusals together may cost this process. Most of it is signatures and the salting of passwords.
const CPU_LIMIT: Duration = Duration::from_secs(1);

/// The broker keeps a refused login waiting for a moment (`connection.failed.authentication.delay.ms`).
const SOON: Duration = Duration::from_secs(5);

/// What the process has used of all processors.
fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

struct Refused {
    case: &'static str,
    address: &'static str,
    tls: Option<Tls>,
    sasl: Option<Sasl>,
    /// What the error says, among other things.
    expected: &'static str,
}

fn case(
    case: &'static str,
    address: &'static str,
    tls: Option<Tls>,
    sasl: impl Into<Option<Sasl>>,
    expected: &'static str,
) -> Refused {
    Refused { case, address, tls, sasl: sasl.into(), expected }
}

fn plain(user: &str, password: &str) -> Sasl {
    Sasl::plain(user, password).allow_in_the_clear()
}

/// A login that would be let in where it is asked for.
fn alice() -> Sasl {
    Sasl::scram_sha_256("alice", "alice-scram")
}

fn ca() -> Option<Tls> {
    Some(authority())
}

fn other_authority() -> Option<Tls> {
    Some(Tls::ca_file(tls::certificate("untrusted").0))
}

/// Whom we do not believe, and who does not believe us.
fn certificates() -> Vec<Refused> {
    const UNKNOWN: &str = "that this client trusts (UnknownIssuer)";
    const EXPIRED_ONE: &str = "the peer's certificate is out of date (Expired)";
    let elsewhere = Some(authority().server_name("elsewhere.example"));
    vec![
        case("wrong authority", TLS, other_authority(), None, UNKNOWN),
        case("wrong authority, with a login", TLS_LOGIN, other_authority(), alice(), UNKNOWN),
        case("the system's authorities", TLS, Some(Tls::system_roots()), None, UNKNOWN),
        case("wrong host name", TLS, elsewhere, None, "certificate is not valid for name elsewhere.example"),
        case("expired certificate", EXPIRED, ca(), None, EXPIRED_ONE),
        case("expired certificate, with a login", EXPIRED, ca(), alice(), EXPIRED_ONE),
        case("untrusted client", MTLS, Some(certified("untrusted")), None, "(alert CertificateUnknown)"),
        case("no client certificate", MTLS, ca(), None, "none is set (alert BadCertificate)"),
    ]
}

fn ports() -> Vec<Refused> {
    const IS_PLAINTEXT: &str =
        "the TLS handshake failed: the peer hung up in the middle of it; is this a plaintext port?";
    const IS_TLS: &str = "the peer speaks TLS; this connection is in plaintext";
    const WANTS_NO_LOGIN: &str = "the broker does not take logins; is this the port for SASL?";
    const WANTS_LOGIN: &str =
        "the broker closed the connection at the first request; does it want a login (SASL)?";
    vec![
        case("TLS to plaintext", PLAIN, ca(), None, IS_PLAINTEXT),
        case("TLS to a login in plaintext", LOGIN, ca(), alice(), IS_PLAINTEXT),
        case("plaintext to TLS", TLS, None, None, IS_TLS),
        case("plaintext to a login over TLS", TLS_LOGIN, None, alice(), IS_TLS),
        case("a login where nobody asks", PLAIN, None, alice(), WANTS_NO_LOGIN),
        case("a login over TLS where nobody asks", TLS, ca(), alice(), WANTS_NO_LOGIN),
        case("no login", LOGIN, None, None, WANTS_LOGIN),
        case("no login over TLS", TLS_LOGIN, ca(), None, WANTS_LOGIN),
    ]
}

fn mechanisms(broker: &SecuredBroker) -> Vec<Refused> {
    let scram_512 = Sasl::scram_sha_512("alice", "alice-scram");
    let token = Sasl::oauth_bearer(broker.token("good")).allow_in_the_clear();
    vec![
        case("no SCRAM-SHA-512", FEW, None, scram_512, "does not offer SCRAM-SHA-512, but SCRAM-SHA-256"),
        case("no PLAIN", FEW, None, plain("alice", "alice-plain"), "does not offer PLAIN, but SCRAM-SHA-256"),
        case("no OAUTHBEARER", FEW, None, token, "does not offer OAUTHBEARER, but SCRAM-SHA-256"),
    ]
}

/// All that the broker says of a token is that it does not like it.
fn tokens(broker: &SecuredBroker) -> Vec<Refused> {
    const REFUSED: &str = "the broker refused the login by OAUTHBEARER: {\"status\":\"invalid_token\"}";
    let token = |name: &str| Sasl::oauth_bearer(broker.token(name)).allow_in_the_clear();
    vec![
        case("expired token", TLS_LOGIN, ca(), token("expired"), REFUSED),
        case("expired token, unsigned is enough", LOGIN, None, token("expired"), REFUSED),
        case("token for another audience", TLS_LOGIN, ca(), token("wrong-audience"), REFUSED),
        case("unsigned token", TLS_LOGIN, ca(), token("unsigned"), REFUSED),
    ]
}

fn passwords() -> Vec<Refused> {
    const BY_PLAIN: &str =
        "the broker refused the login by PLAIN: Authentication failed: Invalid username or password";
    const BY_SCRAM_256: &str = "the broker refused the login by SCRAM-SHA-256: Authentication failed";
    const BY_SCRAM_512: &str = "the broker refused the login by SCRAM-SHA-512: Authentication failed";
    let mut cases = Vec::new();
    for (address, tls) in [(LOGIN, None), (TLS_LOGIN, ca())] {
        for (name, user) in [("wrong password", "alice"), ("unknown user", "mallory")] {
            for (sasl, expected) in [
                (plain(user, "guess"), BY_PLAIN),
                (Sasl::scram_sha_256(user, "guess"), BY_SCRAM_256),
                (Sasl::scram_sha_512(user, "guess"), BY_SCRAM_512),
            ] {
                cases.push(case(name, address, tls.clone(), sasl, expected));
            }
        }
    }
    cases
}

#[tokio::test]
#[ignore = "needs the secure cluster"]
async fn every_refusal_is_named_at_once_and_costs_next_to_nothing() {
    let broker = SecuredBroker::from_env().unwrap();
    let cases = [certificates(), ports(), mechanisms(&broker), tokens(&broker), passwords()];
    let before = cpu();
    for Refused { case, address, tls, sasl, expected } in cases.into_iter().flatten() {
        let mechanism = sasl.as_ref().map_or("none", Sasl::mechanism);
        let case = format!("{case} ({address}, {mechanism})");
        let connections = Connections::default();
        let connect = connections.counted(builder(address, tls, sasl)).connect();
        let result = timeout(SOON, connect).await.unwrap_or_else(|_| panic!("{case}: it hangs"));
        let error = result.err().unwrap_or_else(|| panic!("{case}: it connects")).to_string();
        assert!(error.contains(&format!("{address}: ")) && error.contains(expected), "{case}: {error}");
        assert!(!error.contains("guess"), "{case}: {error}");
        // Trying a wrong password again gets users locked out.
        assert_eq!(connections.count(), 1, "{case}: connections");
    }
    let used = cpu() - before;
    println!("{used:?} of CPU");
    assert!(used < CPU_LIMIT, "{used:?} of CPU");
}

#[tokio::test]
#[ignore = "needs the secure cluster"]
async fn a_password_is_not_sent_in_the_clear() {
    let broker = SecuredBroker::from_env().unwrap();
    for sasl in [Sasl::plain("alice", "alice-plain"), Sasl::oauth_bearer(broker.token("good"))] {
        let mechanism = sasl.mechanism();
        let connections = Connections::default();
        let error = connections.counted(builder(LOGIN, None, Some(sasl))).connect().await.unwrap_err();
        assert!(matches!(error, ConnectError::Unsafe(_)), "{error}");
        let expected = format!("{mechanism} without TLS shows the password or token");
        assert!(error.to_string().contains(&expected), "{error}");
        assert_eq!(connections.count(), 0, "{mechanism}");
    }
}
