//! What a producer must not do whatever comes of it: brokers and luck can hide these from the logs.
//!
//! - P1: a batch keeps its bytes while a try of it may still arrive.
//! - P2: a batch that failed goes out again before any behind it, and alone, unless it has been given up.
//! - P10: a batch whose owner has been told that it is given up is not sent again.
//! - P13: nothing goes to another leader while a request to the old one is open.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::Bytes;
use milena_cluster::{Failure, FailureKind, RequestId, Target};
use milena_protocol::{
    ErrorCode,
    messages::{ProduceResponse, Request, Response},
    records::{Batch, Batches, ReadOptions},
    wire::{ByteString, Uuid},
};

use super::history::Violation;

/// What one producer has sent and heard.
#[derive(Debug, Default)]
pub(super) struct Rules {
    partitions: BTreeMap<Partition, Sent>,
    open: BTreeMap<RequestId, Vec<(Partition, u64)>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Partition {
    topic: ByteString,
    topic_id: Uuid,
    index: i32,
}

/// Producer id and base sequence.
type Numbers = (i64, i32);

/// Batches by the number of their first record: the order in which they were filled.
#[derive(Debug, Default)]
struct Sent {
    in_flight: BTreeMap<u64, Try>,
    /// Batches whose last try failed.
    waiting: BTreeSet<u64>,
    /// What the tries said that were not answered.
    may_arrive: BTreeMap<Numbers, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Try {
    target: Target,
    numbers: Numbers,
    /// Of the bytes.
    hash: u64,
}

impl Rules {
    /// A request goes out: the rules that it breaks. `number_of` reads a record's number from its value,
    /// `is_settled` tells whether the owner of the record with a number knows how it ended.
    pub(super) fn sends(
        &mut self,
        id: RequestId,
        target: Target,
        request: &Request,
        number_of: impl Fn(&[u8]) -> Option<u64>,
        is_settled: impl Fn(u64) -> bool,
    ) -> Vec<Violation> {
        let Request::Produce(produce) = request else { return Vec::new() };
        let mut violations = Vec::new();
        let mut open = Vec::new();
        for topic in &produce.topic_data {
            for data in &topic.partition_data {
                let bytes = data.records.clone().unwrap_or_default();
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                let Some(Ok(batch)) = Batches::new(bytes).next() else { continue };
                let numbers = (batch.header().producer_id, batch.header().base_sequence);
                let Some(first) = first_value(&batch).and_then(|value| number_of(&value)) else { continue };
                let partition =
                    Partition { topic: topic.name.clone(), topic_id: topic.topic_id, index: data.index };
                let sent = self.partitions.entry(partition.clone()).or_default();
                sent.waiting.retain(|batch| !is_settled(*batch));
                let this = Try { target, numbers, hash: hasher.finish() };
                let given_up = is_settled(first).then_some("sends a batch that has been given up");
                if let Some(rule) = sent.send(first, this).or(given_up) {
                    let (name, index) = (&partition.topic, partition.index);
                    violations.push(Violation::Misbehaved(format!("{rule}: {numbers:?} of {name}-{index}")));
                }
                open.push((partition, first));
            }
        }
        self.open.insert(id, open);
        violations
    }

    /// The answer to a request is told, or the lack of one.
    pub(super) fn hears(&mut self, id: RequestId, result: &Result<Response, Failure>) {
        for (partition, first) in self.open.remove(&id).unwrap_or_default() {
            let code = match result {
                Ok(Response::Produce(response)) => code_of(response, &partition),
                _ => None,
            };
            let was_sent =
                result.as_ref().map_or_else(|failure| failure.kind == FailureKind::Unanswered, |_| true);
            let Some(sent) = self.partitions.get_mut(&partition) else { continue };
            let Some(Try { numbers, hash, .. }) = sent.in_flight.remove(&first) else { continue };
            match code {
                Some(ErrorCode::NONE | ErrorCode::DUPLICATE_SEQUENCE_NUMBER) => {
                    sent.may_arrive.remove(&numbers);
                    continue;
                }
                None if was_sent => {
                    sent.may_arrive.insert(numbers, hash);
                }
                _ => {}
            }
            sent.waiting.insert(first);
        }
    }
}

impl Sent {
    /// Notes that a batch goes out; the rule that it breaks.
    fn send(&mut self, first: u64, this: Try) -> Option<&'static str> {
        let failed = self.waiting.remove(&first);
        let broken = if failed && !self.in_flight.is_empty() {
            Some("sends a batch that failed while others are in flight")
        } else if self.waiting.range(..first).next().is_some() {
            Some("sends a batch before one that failed")
        } else if self.in_flight.values().any(|open| open.target != this.target) {
            Some("sends to a leader while a request to another one is open")
        } else if self.may_arrive.get(&this.numbers).is_some_and(|before| *before != this.hash) {
            Some("sends other bytes than those of a try that may still arrive")
        } else {
            None
        };
        self.in_flight.insert(first, this);
        broken
    }
}

fn first_value(batch: &Batch) -> Option<Bytes> {
    let decoded = batch.decode(&ReadOptions::default()).ok()?;
    let first = decoded.records().next()?.ok()?;
    first.value().map(Bytes::copy_from_slice)
}

fn code_of(response: &ProduceResponse, partition: &Partition) -> Option<ErrorCode> {
    let topic = response.responses.iter().find(|topic| {
        if topic.topic_id.is_zero() {
            topic.name == partition.topic
        } else {
            topic.topic_id == partition.topic_id
        }
    })?;
    let answer = topic.partition_responses.iter().find(|answer| answer.index == partition.index)?;
    Some(ErrorCode(answer.error_code))
}

#[cfg(test)]
mod tests {
    use milena_cluster::{BrokerId, RequestIds};
    use milena_protocol::{
        messages::{
            ProduceRequest,
            produce::{
                PartitionProduceData, PartitionProduceResponse, TopicProduceData, TopicProduceResponse,
            },
        },
        records::{BatchBuilder, Compression, ProducerStamp},
    };

    use super::*;

    #[derive(Default)]
    struct Wire {
        rules: Rules,
        settled: BTreeSet<u64>,
        ids: RequestIds,
    }

    impl Wire {
        /// A batch of one record, of which the value is its number.
        fn send(&mut self, broker: i32, base_sequence: i32, value: &str) -> (RequestId, Option<String>) {
            let mut builder = BatchBuilder::new(1024);
            builder.append(5, None, Some(value.as_bytes()), []).unwrap();
            let stamp =
                ProducerStamp { producer_id: 1, producer_epoch: 0, base_sequence, transactional: false };
            let records = builder.compress(Compression::None).unwrap().stamp(stamp);
            let data = PartitionProduceData { index: 0, records: Some(records), ..Default::default() };
            let topic = TopicProduceData {
                name: "letters".into(),
                partition_data: vec![data].into(),
                ..Default::default()
            };
            let request = ProduceRequest { topic_data: vec![topic].into(), ..Default::default() };
            let id = self.ids.allocate();
            let violations = self.rules.sends(
                id,
                Target::Broker(BrokerId(broker)),
                &request.into(),
                |value| std::str::from_utf8(value).ok()?.parse().ok(),
                |number| self.settled.contains(&number),
            );
            (id, violations.first().map(ToString::to_string))
        }

        fn hear(&mut self, id: RequestId, code: ErrorCode) {
            let answer = PartitionProduceResponse { error_code: code.0, ..Default::default() };
            let topic = TopicProduceResponse {
                name: "letters".into(),
                partition_responses: vec![answer],
                ..Default::default()
            };
            let response = ProduceResponse { responses: vec![topic], ..Default::default() };
            self.rules.hears(id, &Ok(response.into()));
        }

        fn fail(&mut self, id: RequestId, kind: FailureKind) {
            self.rules.hears(id, &Err(Failure::new(kind, "gone")));
        }
    }

    #[test]
    fn a_pipeline_and_a_retry_in_order_break_nothing() {
        let mut wire = Wire::default();
        let sent = ["0", "1", "2"].map(|value| wire.send(1, value.parse().unwrap(), value));
        assert!(sent.iter().all(|(_, broken)| broken.is_none()));
        wire.fail(sent[0].0, FailureKind::Unanswered);
        wire.hear(sent[1].0, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        wire.hear(sent[2].0, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        for value in ["0", "1", "2"] {
            let (id, broken) = wire.send(2, value.parse().unwrap(), value);
            assert_eq!(broken, None);
            wire.hear(id, ErrorCode::NONE);
        }
    }

    #[test]
    fn every_rule_is_seen_broken() {
        let mut wire = Wire { settled: BTreeSet::from([0]), ..Wire::default() };
        assert!(wire.send(1, 0, "0").1.unwrap().contains("has been given up"));
        let mut wire = Wire::default();
        let [(first, _), ..] = ["0", "1", "2"].map(|value| wire.send(1, value.parse().unwrap(), value));
        assert!(wire.send(2, 3, "3").1.unwrap().contains("while a request to another one is open"));
        wire.fail(first, FailureKind::Unanswered);
        assert!(wire.send(1, 0, "0").1.unwrap().contains("while others are in flight"));

        for settled in [false, true] {
            let mut wire = Wire::default();
            let (first, _) = wire.send(1, 0, "0");
            wire.fail(first, FailureKind::NotSent);
            wire.settled.extend(settled.then_some(0));
            let broken = wire.send(1, 1, "1").1;
            assert_eq!(broken.is_some_and(|broken| broken.contains("before one that failed")), !settled);
        }
        for (kind, is_broken) in [(FailureKind::Unanswered, true), (FailureKind::NotSent, false)] {
            let mut wire = Wire::default();
            let (first, _) = wire.send(1, 0, "0");
            wire.fail(first, kind);
            wire.settled.insert(0);
            let broken = wire.send(1, 0, "1").1;
            assert_eq!(broken.is_some_and(|broken| broken.contains("other bytes")), is_broken, "{kind:?}");
        }
    }
}
