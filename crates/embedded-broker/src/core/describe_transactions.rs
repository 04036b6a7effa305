//! DescribeTransactions: the state of transactional ids, at their coordinator.
//!
//! Imitates Kafka 4.3.1.

use milena_protocol::{
    ErrorCode,
    messages::{
        DescribeTransactionsRequest, DescribeTransactionsResponse,
        describe_transactions::{TopicData, TransactionState},
    },
    wire::ByteString,
};

use super::{
    Cluster,
    dispatch::{Answer, Context},
    transaction::Transaction,
};

impl Cluster {
    pub(super) fn describe_transactions(
        &mut self,
        cx: &Context,
        request: DescribeTransactionsRequest,
    ) -> Answer {
        let described = request.transactional_ids.into_iter().map(|id| {
            let state = match self.coordinated(cx.broker, &id) {
                Ok(transaction) => describe(transaction),
                Err(error) => TransactionState { error_code: absent(error).0, ..TransactionState::default() },
            };
            TransactionState { transactional_id: id, ..state }
        });
        let transaction_states = described.collect();
        DescribeTransactionsResponse { transaction_states, ..DescribeTransactionsResponse::default() }.into()
    }
}

/// The error of one that asks, where others are told of the producer that they are not.
fn absent(error: ErrorCode) -> ErrorCode {
    if error == ErrorCode::INVALID_PRODUCER_ID_MAPPING {
        ErrorCode::TRANSACTIONAL_ID_NOT_FOUND
    } else {
        error
    }
}

fn describe(transaction: &Transaction) -> TransactionState {
    let mut topics: Vec<(ByteString, Vec<i32>)> = Vec::new();
    for (topic, index) in transaction.partitions() {
        match topics.last_mut() {
            Some((name, indexes)) if name == topic => indexes.push(*index),
            _ => topics.push((topic.clone(), vec![*index])),
        }
    }
    let topics = topics.into_iter().map(|(topic, partitions)| TopicData {
        topic,
        partitions: partitions.into_iter().collect(),
        ..TopicData::default()
    });
    TransactionState {
        transaction_state: ByteString::from_static(transaction.state_name()),
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_start_time_ms: transaction.since_ms(),
        producer_id: transaction.producer.id,
        producer_epoch: transaction.producer.epoch,
        topics: topics.collect(),
        ..TransactionState::default()
    }
}
