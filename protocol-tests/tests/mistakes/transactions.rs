//! Transactional producers that can't begin, or go on.

use std::time::Duration;

use milena::{ErrorCode, Record};
use milena_protocol::ApiKey;

use super::{PATIENCE, always, assert_told, broker, client};

#[tokio::test]
async fn a_timeout_that_is_too_long() {
    let broker = broker().start().await.unwrap();
    let builder = client(&broker).await.transactional_producer("payments");
    let error = builder.transaction_timeout(Duration::from_hours(24)).build().await.unwrap_err();
    assert_told("transaction timeout that is too long", &error);
}

#[tokio::test]
async fn an_id_that_two_have() {
    let broker = broker().start().await.unwrap();
    let client = client(&broker).await;
    let mut first = client.transactional_producer("payments").build().await.unwrap();
    let transaction = first.begin().unwrap();
    transaction.send(Record::new("orders").value("an order")).await.unwrap();
    let _second = client.transactional_producer("payments").build().await.unwrap();
    assert_told("transactional id that two have", &transaction.commit().await.unwrap_err());
    assert_told("transactional id that two have, at the next transaction", &first.begin().unwrap_err());
}

#[tokio::test]
async fn a_coordinator_that_is_not_there() {
    let broker = broker().start().await.unwrap();
    always(&broker, ApiKey::FindCoordinator, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let builder = client(&broker).await.transactional_producer("payments");
    let error = builder.configure(|producer| producer.max_block(PATIENCE)).build().await.unwrap_err();
    assert_told("transaction coordinator that is not there", &error);
}
