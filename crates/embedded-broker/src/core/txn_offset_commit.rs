//! TxnOffsetCommit: offsets that become the group's when the transaction commits.
//!
//! Imitates Kafka 4.3.1: version 5 makes the group part of the transaction, the versions before ask whether it is
//! (TRANSACTION_ABORTABLE in version 4, INVALID_TXN_STATE before); who says which member it is, is held to it (KIP-447:
//! ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID), and who does not, may commit. A rebalance is no obstacle.
//!
//! Leaves out: the older epochs that KIP-1251 lets a KIP-848 member commit with.

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{
        TxnOffsetCommitRequest, TxnOffsetCommitResponse,
        txn_offset_commit::{
            TxnOffsetCommitRequestPartition, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
        },
    },
    wire::ByteString,
};

use super::{
    Cluster,
    coordinators::Kind as Coordinating,
    detach::Detach,
    dispatch::{Answer, Context},
    groups::{CommittedOffset, Kind},
    offset_commit::MAX_METADATA,
    pending_offsets::Place,
    transaction::Producer,
    transactions::{Asks, offsets_participant},
};

/// What becomes of one partition's offset before the group is asked.
type Checked = (ByteString, i32, Result<CommittedOffset, ErrorCode>);

impl Cluster {
    pub(super) fn txn_offset_commit(&mut self, cx: &Context, request: TxnOffsetCommitRequest) -> Answer {
        let checked = self.check_offsets(&request);
        let group_id = request.group_id.detached();
        let known =
            checked.iter().filter(|(.., offset)| *offset != Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        let allowed = if known.count() == 0 { Ok(()) } else { self.check_transaction(cx, &request) };
        let kept = allowed.and_then(|()| {
            let good = checked.iter().filter_map(|(topic, index, offset)| {
                let place: Place = (group_id.clone(), topic.clone(), *index);
                Some((place, offset.clone().ok()?))
            });
            let good: Vec<(Place, CommittedOffset)> = good.collect();
            if good.is_empty() {
                return Ok(());
            }
            self.pending_offsets.partition_mut(&group_id).keep(cx.unix_ms, producer(&request), good)
        });
        let error_of = |offset: &Result<CommittedOffset, ErrorCode>| match (offset, kept) {
            (Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), _) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            // Clients of before 2.3 could not bear to hear of loading.
            (_, Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)) if cx.version < 2 => {
                ErrorCode::COORDINATOR_NOT_AVAILABLE
            }
            (_, Err(error)) => error,
            (offset, Ok(())) => offset.as_ref().err().copied().unwrap_or(ErrorCode::NONE),
        };
        let mut topics: Vec<TxnOffsetCommitResponseTopic> = Vec::new();
        for (name, partition_index, offset) in &checked {
            let error_code = error_of(offset).0;
            let answer = TxnOffsetCommitResponsePartition {
                partition_index: *partition_index,
                error_code,
                ..TxnOffsetCommitResponsePartition::default()
            };
            match topics.last_mut() {
                Some(last) if last.name == *name => last.partitions.push(answer),
                _ => topics.push(TxnOffsetCommitResponseTopic {
                    name: name.clone(),
                    partitions: vec![answer],
                    ..TxnOffsetCommitResponseTopic::default()
                }),
            }
        }
        TxnOffsetCommitResponse { topics, ..TxnOffsetCommitResponse::default() }.into()
    }

    fn check_offsets(&self, request: &TxnOffsetCommitRequest) -> Vec<Checked> {
        let each = request.topics.iter().flat_map(|data| {
            let topic = self.topics.named(&data.name);
            data.partitions.iter().map(move |partition| {
                let exists = topic.is_some_and(|topic| topic.partition(partition.partition_index).is_ok());
                let offset =
                    if exists { committed(partition) } else { Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) };
                (data.name.detached(), partition.partition_index, offset)
            })
        });
        each.collect()
    }

    /// Whether the producer may commit offsets of the group in its transaction, which they become part of.
    fn check_transaction(&mut self, cx: &Context, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
        let group = &request.group_id;
        if group.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        // Kafka finds out that it is loading last, but no client can tell.
        self.check_coordinator(cx.broker, Coordinating::Group, group)?;
        let asks = match cx.version {
            5.. => Asks::Add,
            4 => Asks::Verify,
            _ => Asks::VerifyForOld,
        };
        let producer = producer(request);
        let (check_ms, expiration_ms) = self.producer_expiry();
        let producers = &mut self.pending_offsets.partition_mut(group).producers;
        producers.expire(check_ms, expiration_ms);
        if producers.verify(cx.unix_ms, (producer.id, producer.epoch), -1, asks == Asks::Add)? {
            let participant = BTreeSet::from([offsets_participant(group)]);
            let errors = self.join_transaction(&request.transactional_id, producer, participant, asks);
            if let Some(error) = errors.into_values().next() {
                return Err(error);
            }
        }
        self.check_member(cx, request)
    }

    fn check_member(&mut self, cx: &Context, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
        let TxnOffsetCommitRequest { group_id, member_id, generation_id, group_instance_id, .. } = request;
        if self.groups.named(group_id).is_none() {
            if *generation_id < 0 {
                return self.groups.entry(group_id, Kind::new_classic).map(|_| ());
            }
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let group = self.groups.entry(group_id, Kind::new_classic)?;
        let anonymous = *generation_id < 0 && member_id.is_empty() && group_instance_id.is_none();
        if anonymous {
            return Ok(());
        }
        match &mut group.kind {
            Kind::Classic(group) => {
                let instance_id = group_instance_id.as_ref();
                match group.check_commit(cx.now, member_id, instance_id, *generation_id) {
                    Err(ErrorCode::REBALANCE_IN_PROGRESS) => Ok(()),
                    checked => checked,
                }
            }
            Kind::Consumer(group) if *generation_id < 0 && group.is_empty() => Ok(()),
            Kind::Consumer(group) => match group.check_epoch(member_id, *generation_id) {
                Err(ErrorCode::STALE_MEMBER_EPOCH) => Err(ErrorCode::ILLEGAL_GENERATION),
                checked => checked,
            },
        }
    }
}

fn producer(request: &TxnOffsetCommitRequest) -> Producer {
    Producer { id: request.producer_id, epoch: request.producer_epoch }
}

fn committed(data: &TxnOffsetCommitRequestPartition) -> Result<CommittedOffset, ErrorCode> {
    let metadata = data.committed_metadata.detached().unwrap_or_default();
    if metadata.len() > MAX_METADATA {
        return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
    }
    Ok(CommittedOffset { offset: data.committed_offset, leader_epoch: data.committed_leader_epoch, metadata })
}
