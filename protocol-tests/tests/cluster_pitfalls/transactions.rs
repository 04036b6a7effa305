//! Whose a transaction is, and whose the next one.

use std::time::Duration;

use milena_protocol::{ApiKey, ErrorCode, messages::Response};
use protocol_tests::{
    cluster::{Cluster, VersionOne},
    stage::{Sent, Stage, within},
};
use tokio::time::Instant;

use crate::{one_producer, sequences};

/// T3: the answer to the end of a transaction says whose the next one is. Its records are numbered from zero again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn the_next_transaction_is_of_the_epoch_that_the_end_of_the_last_one_was_answered_with() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "next-epoch").await;
    let mut producer = stage.producer().await;
    let mut expected = None;
    let mut values = Vec::new();
    for (value, commits) in [("one", true), ("two", false), ("three", true), ("four", true)] {
        let before = stage.sent().len();
        let transaction = producer.begin().unwrap();
        for part in ["a", "b"] {
            stage.write(&transaction, &format!("{value} {part}")).await;
        }
        if commits {
            within(transaction.commit()).await.unwrap();
            values.extend(["a", "b"].map(|part| format!("{value} {part}")));
        } else {
            within(transaction.abort()).await.unwrap();
        }
        let sent = taken(stage.sent().split_off(before));
        assert_eq!(sequences(&sent), [0, 0, 1, 1], "{value}");
        let of = one_producer(&sent);
        assert_eq!(of, expected.unwrap_or(of), "{value}");
        let next = stage.next_producer();
        assert_eq!((next.0, next.1), (of.0, of.1 + 1), "{value}");
        assert_eq!(stage.ends().last(), Some(&(commits, of, 5)));
        expected = Some(next);
    }
    stage.expect_each(&[&values, &values]).await;
    stage.strike().await;
}

/// Without those that had to be sent again: the transaction before was not quite over.
fn taken(sent: Vec<Sent>) -> Vec<Sent> {
    sent.into_iter().filter(|batch| batch.code() == Some(ErrorCode::NONE)).collect()
}

/// How the requests of an API were answered, and when they came.
fn answers(stage: &Stage, api: ApiKey) -> Vec<(Instant, ErrorCode)> {
    let asked = stage.proxy.asked(api).into_iter();
    asked.filter_map(|asked| Some((asked.at, code(&asked.answer?.1)?))).collect()
}

fn code(answer: &Response) -> Option<ErrorCode> {
    match answer {
        Response::InitProducerId(answer) => Some(ErrorCode(answer.error_code)),
        Response::AddPartitionsToTxn(answer) => {
            let mut partitions =
                answer.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
            partitions.next().map(|said| ErrorCode(said.partition_error_code))
        }
        _ => None,
    }
}

/// T7: a producer takes over while a transaction of the older one is open. The coordinator has to end that first, and is
/// asked again soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_takeover_of_an_open_transaction_is_asked_for_again_soon() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "takeover").await;
    for round in 0..3 {
        let mut older = within(stage.builder(&stage.direct).build()).await.unwrap();
        let transaction = older.begin().unwrap();
        stage.write(&transaction, "open").await;
        let before = answers(&stage, ApiKey::InitProducerId).len();
        let mut newer = stage.producer().await;
        let answers = answers(&stage, ApiKey::InitProducerId).split_off(before);
        let (last, waits) = answers.split_last().unwrap();
        assert_eq!(last.1, ErrorCode::NONE);
        let wait = ErrorCode::CONCURRENT_TRANSACTIONS;
        assert!(!waits.is_empty() && waits.iter().all(|(_, code)| *code == wait), "{answers:?}");
        for pair in answers.windows(2) {
            let pause = pair[1].0 - pair[0].0;
            assert!((Duration::from_millis(10)..Duration::from_millis(500)).contains(&pause), "{answers:?}");
        }
        stage.commit(&mut newer, &format!("newer {round}")).await;
        within(transaction.commit()).await.unwrap_err();
    }
    stage.expect(&["newer 0", "newer 1", "newer 2"]).await;
    stage.strike().await;
}

/// T7: the next transaction begins while the coordinator still writes the markers of the one before. It says so, and is
/// asked again soon. (In version 2 the brokers that are sent records do so by themselves for a while.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn what_comes_right_behind_a_commit_is_asked_for_again_soon() {
    const MOST: usize = 200;
    let one = VersionOne::of(Cluster::from_env().unwrap()).unwrap();
    let stage = Stage::set(one.cluster(), "right-behind").await;
    let mut producer = stage.producer().await;
    let mut values = Vec::new();
    let refused = |answers: &[(Instant, ErrorCode)]| {
        answers.iter().filter(|(_, code)| *code == ErrorCode::CONCURRENT_TRANSACTIONS).count()
    };
    while refused(&answers(&stage, ApiKey::AddPartitionsToTxn)) < 5 {
        assert!(values.len() < MOST, "the coordinator has always been done");
        let value = values.len().to_string();
        stage.commit(&mut producer, &value).await;
        values.push(value);
    }
    let answers = answers(&stage, ApiKey::AddPartitionsToTxn);
    for pair in answers.windows(2).filter(|pair| pair[0].1 != ErrorCode::NONE) {
        assert_eq!(pair[0].1, ErrorCode::CONCURRENT_TRANSACTIONS);
        let pause = pair[1].0 - pair[0].0;
        assert!((Duration::from_millis(10)..Duration::from_millis(500)).contains(&pause), "{pause:?}");
    }
    stage.expect_each(&[&values, &values]).await;
    stage.strike().await;
}
