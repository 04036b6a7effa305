//! Produce, before anything is appended: whether batches of a transaction may be.
//!
//! Imitates Kafka 4.3.1: the first batch of a transaction in a partition makes its leader ask the transaction's
//! coordinator. From version 12 on that adds the partition (version 2 of transactions); before, it has to be there:
//! TRANSACTION_ABORTABLE in version 11, INVALID_TXN_STATE before. While an earlier transaction is being ended, version 12
//! asks again every 20 ms for 100 ms, and only then answers CONCURRENT_TRANSACTIONS; older clients are told of too few
//! replicas, which they retry, and so is everybody whose coordinator is moving. An old epoch is INVALID_PRODUCER_EPOCH.
//!
//! Transactional batches in a request that names no transaction, or of two producers, fail the whole request.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use milena_protocol::{
    ErrorCode,
    messages::{ProduceRequest, Request},
    records::{BatchHeader, Batches},
};

use super::{
    Cluster, ConnectionId, Deadline,
    dispatch::{Answer, Context},
    error_reply::error_reply,
    produce::only_batch,
    transaction::{Participant, Producer},
    transactions::{Asks, millis},
};

/// `add.partitions.to.txn.retry.backoff.ms`.
const RETRY: Duration = Duration::from_millis(20);

/// `add.partitions.to.txn.retry.backoff.max.ms`.
const RETRY_FOR: Duration = Duration::from_millis(100);

/// How often Kafka looks for idle producers.
const EXPIRATION_CHECK: Duration = Duration::from_mins(10);

/// A request that waits for its producer's last transaction to be ended everywhere.
#[derive(Debug)]
pub(super) struct ParkedProduce {
    cx: Context,
    request: ProduceRequest,
    retry: Instant,
    give_up: Instant,
}

/// A batch that belongs to a transaction.
struct Transactional {
    participant: Participant,
    producer: Producer,
    base_sequence: i32,
}

impl Cluster {
    pub(super) fn produce(&mut self, cx: &Context, request: ProduceRequest) -> Answer {
        self.try_produce(cx, request, cx.now + RETRY_FOR)
    }

    /// Asks again for the requests whose time has come.
    pub(super) fn retry_produces(&mut self, now: Instant) {
        let due = self.parked_produces.iter().filter(|(_, parked)| parked.retry <= now);
        let due: Vec<ConnectionId> = due.map(|(id, _)| *id).collect();
        for id in due {
            if let Some(ParkedProduce { mut cx, request, give_up, .. }) = self.parked_produces.remove(&id) {
                (cx.now, cx.unix_ms) = (now, self.clock.unix_ms(now));
                let answer = self.try_produce(&cx, request, give_up);
                self.answer(now, id, answer);
            }
        }
    }

    pub(super) fn produces_deadline(&self) -> Option<Deadline> {
        let at = self.parked_produces.values().map(|parked| parked.retry).min()?;
        Some(Deadline { at, why: "a transaction's batch is tried again" })
    }

    /// When idle producers were last looked for, and how long they may be idle, both in milliseconds.
    pub(super) fn producer_expiry(&self) -> (i64, i64) {
        let check_ms = self.clock.last_tick_ms(self.now, EXPIRATION_CHECK);
        (check_ms, millis(self.config.producer_id_expiration))
    }

    fn try_produce(&mut self, cx: &Context, request: ProduceRequest, give_up: Instant) -> Answer {
        let Some(id) = request.transactional_id.clone() else {
            return if has_transactional(&request) {
                refuse(cx, request, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
            } else {
                self.append_batches(cx, &request, &BTreeMap::new())
            };
        };
        let batches = self.transactional_batches(cx, &request);
        let Some(first) = batches.first() else {
            return self.append_batches(cx, &request, &BTreeMap::new());
        };
        let producer = first.producer;
        if batches.iter().any(|batch| batch.producer != producer) {
            return refuse(cx, request, ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        let refused = self.verify_batches(cx, &id, producer, &batches);
        let concurrent = refused.values().any(|error| *error == ErrorCode::CONCURRENT_TRANSACTIONS);
        if concurrent && cx.version >= 12 && cx.now < give_up {
            let parked = ParkedProduce { cx: cx.clone(), request, retry: cx.now + RETRY, give_up };
            self.parked_produces.insert(cx.connection, parked);
            return Answer::Parked;
        }
        let refused = refused.into_iter().map(|(participant, error)| (participant, for_producer(cx, error)));
        self.append_batches(cx, &request, &refused.collect())
    }

    /// The partitions that the producer must not write to, and why.
    fn verify_batches(
        &mut self,
        cx: &Context,
        id: &str,
        producer: Producer,
        batches: &[Transactional],
    ) -> BTreeMap<Participant, ErrorCode> {
        let asks = match cx.version {
            12.. => Asks::Add,
            11 => Asks::Verify,
            _ => Asks::VerifyForOld,
        };
        let mut refused = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for batch in batches {
            match self.begin_verification(cx, batch, asks == Asks::Add) {
                Ok(true) => {
                    unknown.insert(batch.participant.clone());
                }
                Ok(false) => {}
                Err(error) => {
                    refused.insert(batch.participant.clone(), error);
                }
            }
        }
        if !unknown.is_empty() {
            refused.extend(self.join_transaction(id, producer, unknown, asks));
        }
        refused
    }

    fn begin_verification(
        &mut self,
        cx: &Context,
        batch: &Transactional,
        bumps_epoch: bool,
    ) -> Result<bool, ErrorCode> {
        let (check_ms, expiration_ms) = self.producer_expiry();
        let (topic, index) = &batch.participant;
        let topic = self.topics.named_mut(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let partition = topic.partition_mut(*index)?;
        partition.check_leader(cx.broker, -1)?;
        partition.producers.expire(check_ms, expiration_ms);
        let producer = (batch.producer.id, batch.producer.epoch);
        partition.producers.verify(cx.unix_ms, producer, batch.base_sequence, bumps_epoch)
    }

    /// The batches of a transaction that go to partitions which exist.
    fn transactional_batches(&self, cx: &Context, request: &ProduceRequest) -> Vec<Transactional> {
        let mut found = Vec::new();
        for data in &request.topic_data {
            let Ok(topic) = self.topics.find(cx.version >= 13, &data.name, data.topic_id) else { continue };
            for partition in &data.partition_data {
                if topic.partition(partition.index).is_err() {
                    continue;
                }
                let Ok(batch) = only_batch(partition.records) else { continue };
                let header: &BatchHeader = batch.header();
                if header.producer_id >= 0 && header.attributes.is_transactional() {
                    found.push(Transactional {
                        participant: (topic.name.clone(), partition.index),
                        producer: Producer { id: header.producer_id, epoch: header.producer_epoch },
                        base_sequence: header.base_sequence,
                    });
                }
            }
        }
        found
    }
}

fn has_transactional(request: &ProduceRequest) -> bool {
    request.topic_data.iter().any(|topic| {
        topic.partition_data.iter().any(|partition| {
            let mut batches = Batches::new(partition.records.unwrap_or_default()).map_while(Result::ok);
            batches.any(|batch| batch.header().attributes.is_transactional())
        })
    })
}

fn refuse(cx: &Context, request: ProduceRequest, error: ErrorCode) -> Answer {
    error_reply(&Request::Produce(request), cx.version, error)
}

/// What a producer is told of an error of the coordinator's.
const fn for_producer(cx: &Context, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR => ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::CONCURRENT_TRANSACTIONS if cx.version < 12 => ErrorCode::NOT_ENOUGH_REPLICAS,
        error => error,
    }
}
