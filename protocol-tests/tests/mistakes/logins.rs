//! Logins that let nobody in.

use milena::{Sasl, Token};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{SaslConfig, SaslMechanism},
};

use super::{assert_told, refusal};

async fn broker(turn: impl FnOnce(&mut SaslConfig)) -> EmbeddedBroker {
    let mut sasl = SaslConfig::new([("alice", "secret")]);
    turn(&mut sasl);
    EmbeddedBroker::builder().configure(|config| config.sasl = Some(sasl)).start().await.unwrap()
}

#[tokio::test]
async fn a_wrong_password_or_user() {
    let broker = broker(|_| {}).await;
    let plain = |user: &str| Sasl::plain(user, "guess").allow_in_the_clear();
    for (name, sasl) in [
        ("wrong password by PLAIN", plain("alice")),
        ("unknown user by PLAIN", plain("mallory")),
        ("wrong password by SCRAM-SHA-256", Sasl::scram_sha_256("alice", "guess")),
        ("unknown user by SCRAM-SHA-256", Sasl::scram_sha_256("mallory", "guess")),
        ("wrong password by SCRAM-SHA-512", Sasl::scram_sha_512("alice", "guess")),
    ] {
        assert_told(name, &refusal(broker.bootstrap(), None, Some(sasl)).await);
    }
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered() {
    let broker = broker(|sasl| sasl.mechanisms = vec![SaslMechanism::ScramSha256]).await;
    let sasl = Sasl::scram_sha_512("alice", "secret");
    assert_told("mechanism that is not offered", &refusal(broker.bootstrap(), None, Some(sasl)).await);
    let token = Sasl::oauth_bearer(Token::new("a.b.c").unwrap()).allow_in_the_clear();
    assert_told("token where none is taken", &refusal(broker.bootstrap(), None, Some(token)).await);
}

#[tokio::test]
async fn a_login_where_nobody_asks() {
    let open = EmbeddedBroker::start().await.unwrap();
    let sasl = Sasl::scram_sha_256("alice", "secret");
    assert_told("a login where nobody asks", &refusal(open.bootstrap(), None, Some(sasl)).await);
}

#[tokio::test]
async fn a_secret_that_others_could_read() {
    let broker = broker(|_| {}).await;
    let sasl = Sasl::plain("alice", "secret");
    assert_told("PLAIN without TLS", &refusal(broker.bootstrap(), None, Some(sasl)).await);
    let token = Sasl::oauth_bearer(Token::new("a.b.c").unwrap());
    assert_told("OAUTHBEARER without TLS", &refusal(broker.bootstrap(), None, Some(token)).await);
}
