//! Where transactions go wrong in other clients, on the real cluster: answers that are lost, a coordinator that aborts while
//! a commit is on its way, records that come late, and somebody else of the same name. A proxy between our client and the
//! brokers sees to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

use std::time::Duration;

use milena::{
    Certainty, FatalCause, Record, Remedy, TransactionError, TransactionalProducer,
    TransactionalProducerBuilder,
};
use milena_protocol::ApiKey;
use protocol_tests::{
    cluster::{Cluster, VersionOne},
    proxy::Act,
    stage::{Stage, within},
};
use tokio::time::{sleep, timeout};

/// For what takes tens of thousands of requests.
const MINUTES: Duration = Duration::from_secs(600);

/// T4: the answer to a commit is lost, once by the end of its connection and once in silence. The same is asked again, of the
/// same epoch, and done once.
async fn a_lost_answer(cluster: &Cluster, name: &str, version_of_end: i16) {
    let stage = Stage::set(cluster, name).await;
    let mut producer = stage.producer().await;
    stage.commit(&mut producer, "before").await;
    for (act, value) in [(Act::CutReply, "cut"), (Act::MuteReply, "muted"), (Act::CutRequest, "not sent")] {
        let before = stage.ends().len();
        stage.proxy.rule(ApiKey::EndTxn, act, 1);
        stage.commit(&mut producer, value).await;
        let asked = stage.ends().split_off(before);
        let [first @ (true, ..), rest @ ..] = asked.as_slice() else { panic!("{value}: {asked:?}") };
        assert!(!rest.is_empty() && rest.iter().all(|again| again == first), "{value}: {asked:?}");
        assert_eq!(first.2, version_of_end);
    }
    // An abort whose answer is lost, too.
    stage.proxy.rule(ApiKey::EndTxn, Act::CutReply, 1);
    let before = stage.ends().len();
    let transaction = producer.begin().unwrap();
    stage.write(&transaction, "aborted").await;
    within(transaction.abort()).await.unwrap();
    let asked = stage.ends().split_off(before);
    assert!(asked.len() >= 2 && asked.iter().all(|end| *end == asked[0] && !end.0), "{asked:?}");
    stage.commit(&mut producer, "after").await;
    stage.expect(&["before", "cut", "muted", "not sent", "after"]).await;
    stage.strike().await;
}

/// T4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn an_end_whose_answer_is_lost_is_asked_for_again() {
    a_lost_answer(&Cluster::from_env().unwrap(), "lost-answer", 5).await;
}

/// T4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn an_end_whose_answer_is_lost_is_asked_for_again_in_version_1() {
    let one = VersionOne::of(Cluster::from_env().unwrap()).unwrap();
    a_lost_answer(one.cluster(), "lost-answer-v1", 4).await;
}

/// A commit of which nothing is heard: the outcome is not known. `act` says whether the coordinator hears of it.
async fn unknown_commit(stage: &Stage, producer: &mut TransactionalProducer, value: &str, act: Act) {
    let transaction = producer.begin().unwrap();
    stage.write(&transaction, value).await;
    stage.proxy.rule(ApiKey::EndTxn, act, usize::MAX);
    let error = within(transaction.commit()).await.unwrap_err();
    assert!(matches!(error, TransactionError::CommitUnknown(_)), "{error}");
    assert_eq!((error.remedy(), error.certainty()), (Remedy::CommitAgain, Certainty::MaybeWritten));
    // Nothing else may be done: no transaction begins, and so nothing can be aborted.
    let refused = producer.begin().unwrap_err();
    assert!(matches!(refused, TransactionError::CommitUnknown(_)), "{refused}");
}

/// T4: what may be committed is never aborted: only the same commit again, or a new epoch, is allowed.
async fn an_unknown_commit(cluster: &Cluster, name: &str) {
    let stage = Stage::set(cluster, name).await;
    let mut producer = stage.producer().await;

    unknown_commit(&stage, &mut producer, "done and asked again", Act::CutReply).await;
    // Asked again in vain.
    let error = within(producer.commit_again()).await.unwrap_err();
    assert!(matches!(error, TransactionError::CommitUnknown(_)), "{error}");
    stage.proxy.pass_all();
    within(producer.commit_again()).await.unwrap();
    assert!(matches!(producer.commit_again().await, Err(TransactionError::NoTransaction)));

    unknown_commit(&stage, &mut producer, "not heard and asked again", Act::CutRequest).await;
    stage.proxy.pass_all();
    within(producer.commit_again()).await.unwrap();

    unknown_commit(&stage, &mut producer, "done and left behind", Act::CutReply).await;
    stage.proxy.pass_all();
    within(producer.reinitialize()).await.unwrap();

    // Nothing of it has reached the coordinator: the new epoch aborts it.
    unknown_commit(&stage, &mut producer, "not heard and left behind", Act::CutRequest).await;
    stage.proxy.pass_all();
    within(producer.reinitialize()).await.unwrap();
    assert!(stage.ends().iter().all(|(committed, ..)| *committed), "{:?}", stage.ends());

    stage.commit(&mut producer, "after").await;
    stage
        .expect(&["done and asked again", "not heard and asked again", "done and left behind", "after"])
        .await;
    stage.strike().await;
}

/// T4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_commit_of_unknown_outcome_is_committed_again_or_left_behind() {
    an_unknown_commit(&Cluster::from_env().unwrap(), "unknown").await;
}

/// T4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_commit_of_unknown_outcome_is_committed_again_or_left_behind_in_version_1() {
    let one = VersionOne::of(Cluster::from_env().unwrap()).unwrap();
    an_unknown_commit(one.cluster(), "unknown-v1").await;
}

/// T5: the commit is on its way while the coordinator aborts because of the timeout. Returns what the commit says.
async fn late_commit(stage: &Stage, producer: &mut TransactionalProducer) -> TransactionError {
    let transaction = producer.begin().unwrap();
    stage.write(&transaction, "too late").await;
    stage.proxy.rule(ApiKey::EndTxn, Act::HoldRequest, 1);
    let (error, ()) = tokio::join!(within(transaction.commit()), async {
        within(stage.proxy.until_met(1)).await;
        // The transaction timeout is 3 s, and the coordinator looks every second.
        sleep(Duration::from_secs(8)).await;
        stage.proxy.release();
    });
    error.unwrap_err()
}

fn patient(stage: &Stage) -> TransactionalProducerBuilder {
    let builder = stage.builder(&stage.proxied).transaction_timeout(Duration::from_secs(3));
    let patient = |builder: milena::ProducerBuilder| builder.request_timeout(Duration::from_secs(30));
    builder.end_timeout(Duration::from_secs(60)).configure(patient)
}

/// T5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_commit_behind_the_coordinators_abort_ends_the_transaction_and_the_producer_goes_on() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "late").await;
    let mut producer = within(patient(&stage).build()).await.unwrap();
    let error = late_commit(&stage, &mut producer).await;
    assert!(matches!(error, TransactionError::AbortedByCoordinator), "{error}");
    assert_eq!((error.remedy(), error.certainty()), (Remedy::Begin, Certainty::NotWritten));
    assert!(stage.ends().iter().all(|(committed, ..)| *committed), "{:?}", stage.ends());
    stage.commit(&mut producer, "after").await;
    stage.expect(&["after"]).await;
    stage.strike().await;
}

/// T5: before version 2 the coordinator that aborts fences the producer as well, for all it can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_commit_behind_the_coordinators_abort_is_the_producers_end_in_version_1() {
    let one = VersionOne::of(Cluster::from_env().unwrap()).unwrap();
    let stage = Stage::set(one.cluster(), "late-v1").await;
    let mut producer = within(patient(&stage).build()).await.unwrap();
    let error = late_commit(&stage, &mut producer).await;
    let TransactionError::Fatal(fatal) = &error else { panic!("{error}") };
    assert!(matches!(fatal.cause, FatalCause::Fenced { .. }), "{error}");
    assert_eq!((error.remedy(), error.certainty()), (Remedy::NewProducer, Certainty::NotWritten));
    let mut newer = stage.producer().await;
    stage.commit(&mut newer, "after").await;
    stage.expect(&["after"]).await;
    stage.strike().await;
}

/// T9: records are on their way while their transaction is aborted. Held in front of the broker, they are waited for; of a
/// connection that has ended, they come to their leader after the abort. Neither makes readers hang, and nothing of them is
/// seen.
async fn aborted_with_records_on_their_way(cluster: &Cluster, name: &str) {
    let stage = Stage::set(cluster, name).await;
    let mut producer = stage.producer().await;
    stage.commit(&mut producer, "before").await;

    stage.proxy.rule(ApiKey::Produce, Act::HoldRequest, 1);
    let transaction = producer.begin().unwrap();
    stage.enqueue(&transaction, "held").await;
    within(stage.proxy.until_met(1)).await;
    let ends = stage.ends().len();
    let ((), aborted) = tokio::join!(
        async {
            sleep(Duration::from_secs(1)).await;
            // Nobody has asked for the end of a transaction with records on their way.
            assert_eq!(stage.ends().len(), ends);
            stage.proxy.release();
        },
        within(transaction.abort())
    );
    aborted.unwrap();
    stage.commit(&mut producer, "between").await;

    // As many as there are brokers: each has a connection of its own.
    stage.proxy.rule(ApiKey::Produce, Act::StrandRequest, 1);
    let transaction = producer.begin().unwrap();
    stage.enqueue(&transaction, "stranded").await;
    within(stage.proxy.until_met(2)).await;
    within(transaction.abort()).await.unwrap();
    stage.proxy.release();
    within(stage.proxy.until_late(1)).await;
    stage.expect(&["before", "between"]).await;
    stage.commit(&mut producer, "after").await;

    // And while the next transaction is open.
    stage.proxy.rule(ApiKey::Produce, Act::StrandRequest, 1);
    let transaction = producer.begin().unwrap();
    stage.enqueue(&transaction, "stranded, too").await;
    within(stage.proxy.until_met(3)).await;
    within(transaction.abort()).await.unwrap();
    let transaction = producer.begin().unwrap();
    stage.write(&transaction, "next").await;
    stage.proxy.release();
    within(stage.proxy.until_late(2)).await;
    within(transaction.commit()).await.unwrap();
    stage.expect(&["before", "between", "after", "next"]).await;
    stage.strike().await;
}

/// T9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn records_that_come_behind_their_abort_are_not_seen_and_hold_nobody_up() {
    aborted_with_records_on_their_way(&Cluster::from_env().unwrap(), "late-records").await;
}

/// T9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn records_that_come_behind_their_abort_are_not_seen_and_hold_nobody_up_in_version_1() {
    let one = VersionOne::of(Cluster::from_env().unwrap()).unwrap();
    aborted_with_records_on_their_way(one.cluster(), "late-records-v1").await;
}

/// T17: a second producer of the same id takes over while the first has records on their way. The first is told, whatever
/// it does next, and for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_producer_that_was_taken_over_is_told_so() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "taken-over").await;
    let mut older = stage.producer().await;
    stage.commit(&mut older, "of the older").await;
    let transaction = older.begin().unwrap();
    stage.write(&transaction, "open").await;
    stage.proxy.rule(ApiKey::Produce, Act::HoldRequest, 1);
    let held = stage.enqueue(&transaction, "on its way").await;
    within(stage.proxy.until_met(1)).await;
    let mut newer = within(stage.builder(&stage.direct).build()).await.unwrap();
    stage.commit(&mut newer, "of the newer").await;
    stage.proxy.release();
    // One broker's request was held; another one's may have been there before the takeover.
    let mut refused = 0;
    for delivery in held {
        refused += usize::from(within(delivery).await.is_err());
    }
    assert!(refused > 0);
    let error = within(transaction.commit()).await.unwrap_err();
    assert_eq!(error.certainty(), Certainty::NotWritten, "{error}");
    // The broker that refused the records could not say why; the coordinator can.
    let fatal = match error {
        TransactionError::Fatal(fatal) => fatal,
        TransactionError::MustAbort(_) => {
            let mut found = None;
            for _ in 0..20 {
                let begun = older.begin();
                let Err(error) = (match begun {
                    Ok(transaction) => {
                        let record = Record::new(stage.name.as_str()).partition(0).value("never");
                        within(transaction.send(record)).await.map(drop).map_err(|error| error.to_string())
                    }
                    Err(TransactionError::Fatal(fatal)) => {
                        found = Some(fatal);
                        break;
                    }
                    Err(error) => Err(error.to_string()),
                }) else {
                    panic!("the older one goes on");
                };
                assert!(!error.is_empty());
            }
            found.expect("the older one is never told that it was taken over")
        }
        error => panic!("{error}"),
    };
    assert!(matches!(fatal.cause, FatalCause::Fenced { .. }), "{fatal}");
    for _ in 0..2 {
        let error = older.begin().map(drop).unwrap_err();
        assert_eq!(error.remedy(), Remedy::NewProducer, "{error}");
    }
    stage.commit(&mut newer, "of the newer again").await;
    stage.expect(&["of the older", "of the newer", "of the newer again"]).await;
    stage.strike().await;
}

/// P6: a producer comes to the last epoch of its id. What it does in that is committed, and the next transaction is of
/// another id, whose epochs and numbers begin at zero.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn behind_the_last_epoch_of_an_id_the_producer_goes_on_under_another() {
    /// The largest number is not used for records.
    const LAST: i16 = i16::MAX - 1;
    let stage = Stage::set(&Cluster::from_env().unwrap(), "last-epoch").await;
    let (id, epoch) = timeout(MINUTES, stage.observer().renew_until(&stage.name, LAST - 3)).await.unwrap();
    assert_eq!(epoch, LAST - 3);
    let mut producer = stage.producer().await;
    let mut expected = Some((id, LAST - 2));
    let values = ["last but two", "last but one", "last", "first", "second"];
    for (value, epoch) in values.into_iter().zip([LAST - 2, LAST - 1, LAST, 0, 1]) {
        let before = stage.sent().len();
        stage.commit(&mut producer, value).await;
        for sent in stage.sent().split_off(before) {
            assert_eq!((Some(sent.producer), sent.base_sequence), (expected, 0), "{value}");
            assert_eq!((sent.producer.0 == id, sent.producer.1), (epoch > 1, epoch), "{value}");
        }
        expected = Some(stage.next_producer());
    }
    // It was not asked for: the ends were answered with it.
    assert_eq!(stage.proxy.asked(ApiKey::InitProducerId).len(), 1);
    stage.expect(&values).await;
    stage.strike().await;
}
