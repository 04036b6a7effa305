//! Clients that have to say who they are. SCRAM is proven by other people's clients in `protocol-tests`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use std::time::Duration;

use bytes::Bytes;
use milena_embedded_broker::core::{ClusterConfig, SaslConfig, SaslMechanism};
use milena_protocol::{
    ErrorCode,
    messages::{
        ApiVersionsRequest, MetadataRequest, SaslAuthenticateRequest, SaslAuthenticateResponse,
        SaslHandshakeRequest, SaslHandshakeResponse,
    },
};
use script::{Peer, Script};

fn guarded(turn: impl FnOnce(&mut SaslConfig)) -> Script {
    let mut sasl = SaslConfig::new([("alice", "secret"), ("bob", "hidden")]);
    turn(&mut sasl);
    Script::with(ClusterConfig { sasl: Some(sasl), ..ClusterConfig::default() })
}

fn handshake(script: &mut Script, peer: Peer, mechanism: &str) -> SaslHandshakeResponse {
    script.ask(peer, 1, SaslHandshakeRequest { mechanism: mechanism.to_owned().into() })
}

fn authenticate(script: &mut Script, peer: Peer, bytes: &'static [u8]) -> SaslAuthenticateResponse {
    script.ask(
        peer,
        2,
        SaslAuthenticateRequest { auth_bytes: Bytes::from_static(bytes), ..Default::default() },
    )
}

/// A connection of alice's.
fn alice(script: &mut Script) -> Peer {
    let peer = script.connect(1);
    assert_eq!(handshake(script, peer, "PLAIN").error_code, 0);
    assert_eq!(authenticate(script, peer, b"\0alice\0secret").error_code, 0);
    peer
}

#[test]
fn nothing_goes_before_a_client_is_known() {
    let mut script = guarded(|_| {});
    let peer = script.connect(1);
    script.ask(peer, 3, ApiVersionsRequest::default());
    script.send(peer, 12, MetadataRequest::default());
    assert!(script.is_closed(peer));
    let peer = script.connect(1);
    script.send(peer, 2, SaslAuthenticateRequest::default());
    assert!(script.is_closed(peer), "no mechanism is chosen");
    let peer = alice(&mut script);
    assert_eq!(script.cluster.authenticated_user(peer.connection), Some("alice"));
    assert_eq!(script.ask(peer, 12, MetadataRequest::default()).brokers.len(), 1);
}

#[test]
fn a_wrong_password_is_answered_and_ends_the_connection() {
    let wrong: [&[u8]; 6] =
        [b"\0alice\0hidden", b"\0carol\0secret", b"bob\0alice\0secret", b"alice\0secret", b"", b"\xff\0a\0b"];
    for message in wrong {
        let mut script = guarded(|_| {});
        let peer = script.connect(1);
        handshake(&mut script, peer, "PLAIN");
        let sent = SaslAuthenticateRequest { auth_bytes: Bytes::from_static(message), ..Default::default() };
        let refused = script.ask(peer, 2, sent);
        assert_eq!(refused.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED.0);
        assert!(refused.error_message.unwrap().contains("Invalid username or password"));
        assert!(script.is_closed(peer));
    }
}

#[test]
fn a_mechanism_that_is_not_offered_is_refused_with_those_that_are() {
    let mut script = guarded(|sasl| sasl.mechanisms = vec![SaslMechanism::ScramSha512]);
    let peer = script.connect(1);
    let refused = handshake(&mut script, peer, "PLAIN");
    assert_eq!(refused.error_code, ErrorCode::UNSUPPORTED_SASL_MECHANISM.0);
    assert_eq!(refused.mechanisms, ["SCRAM-SHA-512"]);
    assert!(script.is_closed(peer));
}

#[test]
fn scram_with_a_wrong_proof_or_an_unknown_user_is_refused() {
    for first in [&b"n,,n=carol,r=abc"[..], b"n,,n=alice"] {
        let mut script = guarded(|_| {});
        let peer = script.connect(1);
        handshake(&mut script, peer, "SCRAM-SHA-256");
        let refused = authenticate(&mut script, peer, Box::leak(first.to_vec().into_boxed_slice()));
        assert_eq!(refused.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED.0);
        assert!(script.is_closed(peer));
    }
    let mut script = guarded(|_| {});
    let peer = script.connect(1);
    handshake(&mut script, peer, "SCRAM-SHA-512");
    let challenge = authenticate(&mut script, peer, b"n,,n=alice,r=abc");
    assert_eq!(challenge.error_code, 0);
    let text = String::from_utf8(challenge.auth_bytes.to_vec()).unwrap();
    assert!(text.starts_with("r=abc") && text.ends_with(",i=4096"), "{text}");
    let refused = authenticate(&mut script, peer, b"c=biws,r=abc,p=AAAA");
    assert_eq!(refused.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED.0);
}

#[test]
fn a_session_ends_unless_the_client_authenticates_again() {
    let mut script = guarded(|sasl| sasl.session_lifetime = Some(Duration::from_secs(60)));
    let (renewing, forgetful, other) = (alice(&mut script), alice(&mut script), alice(&mut script));
    script.advance_ms(59_999);
    for peer in [renewing, forgetful, other] {
        script.ask(peer, 12, MetadataRequest::default());
    }
    handshake(&mut script, renewing, "PLAIN");
    let again = authenticate(&mut script, renewing, b"\0alice\0secret");
    assert_eq!((again.error_code, again.session_lifetime_ms), (0, 60_000));
    script.advance_ms(2);
    script.ask(renewing, 12, MetadataRequest::default());
    script.send(forgetful, 12, MetadataRequest::default());
    assert!(script.is_closed(forgetful));

    handshake(&mut script, other, "PLAIN");
    let changed = authenticate(&mut script, other, b"\0bob\0hidden");
    assert_eq!(changed.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED.0);
    assert!(script.is_closed(other), "nobody becomes somebody else");
}

#[test]
fn tokens_without_a_header_follow_the_oldest_handshake() {
    let mut script = guarded(|_| {});
    let oldest = |script: &mut Script, peer| {
        let request = SaslHandshakeRequest { mechanism: "PLAIN".into() };
        assert_eq!(script.ask(peer, 0, request).error_code, 0);
    };
    let peer = script.connect(1);
    oldest(&mut script, peer);
    script.send_bytes(peer, Bytes::from_static(b"\0alice\0secret"));
    assert_eq!(script.raw(peer), Some(Bytes::new()));
    script.ask(peer, 12, MetadataRequest::default());

    let wrong = script.connect(1);
    oldest(&mut script, wrong);
    script.send_bytes(wrong, Bytes::from_static(b"\0alice\0guess"));
    assert!(script.is_closed(wrong));
}

#[test]
fn brokers_that_ask_nobody_say_so() {
    let mut script = Script::new(1);
    let peer = script.connect(1);
    assert_eq!(handshake(&mut script, peer, "PLAIN").error_code, ErrorCode::ILLEGAL_SASL_STATE.0);
    assert_eq!(authenticate(&mut script, peer, b"").error_code, ErrorCode::ILLEGAL_SASL_STATE.0);
}

#[test]
fn passwords_do_not_show() {
    let shown = format!("{:?}", guarded(|_| {}).cluster);
    assert!(shown.contains("alice") && !shown.contains("secret"), "{shown}");
}
