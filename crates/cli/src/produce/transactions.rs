//! The input in transactions: one for all of it, or one after the other.

use std::time::Duration;

use milena::{Certainty, Remedy, Transaction, TransactionError, TransactionalProducer};

use super::{
    pump::{GRACE, Pump},
    report::{End, TransactionEnd},
};

/// How often a coordinator that did not say how a commit ended is asked again.
const ASKED_AGAIN: u32 = 3;

/// How a transaction ended, and why if it was not committed.
type Ended = (TransactionEnd, Option<String>);

/// Sends everything in transactions of `each` records.
pub(super) async fn send(pump: &mut Pump, producer: &mut TransactionalProducer, each: u64) -> End {
    loop {
        // A transaction begins with its first record: while there is none, none times out.
        match pump.next().await {
            Ok(first) => pump.put_back(first),
            Err(end) => return end,
        }
        let transaction = match producer.begin() {
            Ok(transaction) => transaction,
            Err(error) => {
                pump.books.failed(&error.to_string());
                return End::Error;
            }
        };
        pump.books.begin();
        let mut end = pump.send(&transaction, each).await;
        if matches!(end, None | Some(End::Input | End::Count)) {
            end = pump.settle(&transaction).await.or(end);
        }
        let (outcome, error) = match end {
            None | Some(End::Input | End::Count) => match told_to_hurry(pump, transaction.commit()).await {
                Ok(()) => (TransactionEnd::Committed, None),
                Err(error) => not_committed(pump, producer, error).await,
            },
            Some(End::Error | End::Interrupt) => abort(pump, transaction, end).await,
        };
        pump.books.end(outcome, error.as_deref());
        match (outcome, end) {
            (TransactionEnd::Committed, None) => {}
            (TransactionEnd::Committed, Some(end)) => return end,
            (_, Some(End::Interrupt)) => return End::Interrupt,
            (TransactionEnd::Aborted | TransactionEnd::Unknown, _) => return End::Error,
        }
    }
}

/// Waits for a commit, until the second interrupt at most.
async fn told_to_hurry(
    pump: &Pump,
    commit: impl Future<Output = Result<(), TransactionError>>,
) -> Result<(), TransactionError> {
    tokio::select! {
        biased;
        committed = commit => committed,
        () = pump.stop.more_than(1) => Err(TransactionError::CommitUnknown("interrupted".into())),
    }
}

/// What became of a transaction whose commit failed.
async fn not_committed(
    pump: &Pump,
    producer: &mut TransactionalProducer,
    mut error: TransactionError,
) -> Ended {
    for _ in 0..ASKED_AGAIN {
        if error.remedy() != Remedy::CommitAgain || pump.stop.times() > 1 {
            break;
        }
        match told_to_hurry(pump, producer.commit_again()).await {
            Ok(()) => return (TransactionEnd::Committed, None),
            Err(again) => error = again,
        }
    }
    let outcome = match error.certainty() {
        Certainty::MaybeWritten => TransactionEnd::Unknown,
        Certainty::NotWritten => TransactionEnd::Aborted,
    };
    (outcome, Some(error.to_string()))
}

async fn abort(pump: &mut Pump, transaction: Transaction<'_>, end: Option<End>) -> Ended {
    let why = if end == Some(End::Interrupt) { "an interrupt" } else { "a record that failed" };
    let aborted = tokio::select! {
        biased;
        aborted = tokio::time::timeout(GRACE, transaction.abort()) => aborted,
        () = pump.stop.more_than(1) => Ok(Err(TransactionError::Ending)),
    };
    // The records tell what they ran into.
    let settled = async {
        while pump.books.has_open() {
            pump.books.settle_next().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), settled).await;
    let unconfirmed = match aborted {
        Ok(Ok(())) => String::new(),
        Ok(Err(error)) => format!("; the coordinator has not confirmed it: {error}"),
        Err(_) => format!("; the coordinator has not confirmed it within {GRACE:?}"),
    };
    (TransactionEnd::Aborted, Some(format!("aborted after {why}{unconfirmed}")))
}
