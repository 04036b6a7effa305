//! AddPartitionsToTxn: partitions become part of a transaction before they are written to.
//!
//! Imitates Kafka 4.3.1: clients send versions 0 to 3, with one transaction; brokers send 4 and 5, with many, to add
//! partitions for clients that leave it to Produce (version 2 of transactions), or only to ask. A partition that does not
//! exist fails its transaction's others with OPERATION_NOT_ATTEMPTED.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{
        AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
        add_partitions_to_txn::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopic,
            AddPartitionsToTxnTopicResult, AddPartitionsToTxnTransaction,
        },
    },
};

use super::{
    Cluster,
    coordinators::PARTITIONS,
    detach::Detach,
    dispatch::{Answer, Context},
    transaction::{Participant, Producer},
    transactions::{OFFSETS_TOPIC, for_version},
};

impl Cluster {
    pub(super) fn add_partitions_to_txn(
        &mut self,
        cx: &Context,
        request: AddPartitionsToTxnRequest,
    ) -> Answer {
        if cx.version >= 4 {
            let results = request.transactions.into_iter().map(|transaction| AddPartitionsToTxnResult {
                topic_results: self.add_to_transaction(cx, &transaction),
                transactional_id: transaction.transactional_id,
                ..AddPartitionsToTxnResult::default()
            });
            let results_by_transaction = results.collect();
            return AddPartitionsToTxnResponse {
                results_by_transaction,
                ..AddPartitionsToTxnResponse::default()
            }
            .into();
        }
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            topics: request.v3_and_below_topics,
            ..AddPartitionsToTxnTransaction::default()
        };
        AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: self.add_to_transaction(cx, &transaction),
            ..AddPartitionsToTxnResponse::default()
        }
        .into()
    }

    fn add_to_transaction(
        &mut self,
        cx: &Context,
        request: &AddPartitionsToTxnTransaction,
    ) -> Vec<AddPartitionsToTxnTopicResult> {
        let participants = request.topics.iter().flat_map(participants);
        let participants: BTreeSet<Participant> = participants.collect();
        if !participants.iter().all(|participant| self.has_participant(participant)) {
            return results(&request.topics, |participant| {
                if self.has_participant(participant) {
                    ErrorCode::OPERATION_NOT_ATTEMPTED
                } else {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                }
            });
        }
        let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
        let at = self.transition();
        let coordinated = self.coordinated(cx.broker, &request.transactional_id);
        match coordinated {
            Ok(transaction) if request.verify_only => results(&request.topics, |participant| {
                transaction.verify(producer, participant).err().unwrap_or(ErrorCode::NONE)
            }),
            Ok(transaction) => {
                let error = transaction.add(at, producer, &participants).err().unwrap_or(ErrorCode::NONE);
                results(&request.topics, |_| for_version(error, cx.version >= 2))
            }
            Err(error) => results(&request.topics, |_| error),
        }
    }

    fn has_participant(&self, (topic, index): &Participant) -> bool {
        if &**topic == OFFSETS_TOPIC {
            return (0..i32::from(PARTITIONS)).contains(index);
        }
        self.topics.named(topic).is_some_and(|topic| topic.partition(*index).is_ok())
    }
}

fn participants(topic: &AddPartitionsToTxnTopic) -> impl Iterator<Item = Participant> {
    let name = topic.name.detached();
    topic.partitions.iter().map(move |index| (name.clone(), index))
}

fn results(
    topics: &[AddPartitionsToTxnTopic],
    mut error: impl FnMut(&Participant) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = topics.iter().map(|topic| {
        let partitions = participants(topic).map(|participant| AddPartitionsToTxnPartitionResult {
            partition_index: participant.1,
            partition_error_code: error(&participant).0,
            ..AddPartitionsToTxnPartitionResult::default()
        });
        AddPartitionsToTxnTopicResult {
            results_by_partition: partitions.collect(),
            name: topic.name.clone(),
            ..AddPartitionsToTxnTopicResult::default()
        }
    });
    topics.collect()
}
