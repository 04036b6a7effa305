//! The requests of a transactional producer, and what is answered in short.

use milena_embedded_broker::core::ClusterConfig;
use milena_protocol::{
    ErrorCode,
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest,
        FetchRequest, FindCoordinatorRequest, InitProducerIdRequest, OffsetFetchRequest,
        TxnOffsetCommitRequest,
        add_partitions_to_txn::AddPartitionsToTxnTopic,
        describe_transactions::TransactionState,
        fetch::{FetchPartition, FetchTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
    records::{Batches, ControlKind, ControlRecord, ProducerStamp, ReadOptions},
    wire::Uuid,
};

use crate::script::{Peer, Script, Sent, produce_request, stamped};

/// A producer id and its epoch.
pub(crate) type Producer = (i64, i16);

pub(crate) type Answered<T> = Result<T, ErrorCode>;

/// Longer than the markers of a transaction take.
pub(crate) const MARKED: u64 = 5;

/// A broker that leads `orders`, of two partitions, and coordinates everything.
pub(crate) struct Client {
    pub(crate) script: Script,
    pub(crate) peer: Peer,
}

fn answered<T>(code: i16, value: T) -> Answered<T> {
    if code == 0 { Ok(value) } else { Err(ErrorCode(code)) }
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with(ClusterConfig::default())
    }

    pub(crate) fn with(config: ClusterConfig) -> Self {
        let mut script = Script::with(config);
        script.topic("orders", 2);
        let peer = script.connect(1);
        Self { script, peer }
    }

    /// The broker that coordinates the transactional id.
    pub(crate) fn coordinator(&mut self, id: &str) -> Peer {
        let request =
            FindCoordinatorRequest { coordinator_keys: vec![id.into()], key_type: 1, ..Default::default() };
        let found = self.script.ask(self.peer, 6, request);
        self.script.connect(found.coordinators[0].node_id)
    }

    pub(crate) fn init(&mut self, id: &str) -> Answered<Producer> {
        self.init_as(id, 60_000, (-1, -1))
    }

    pub(crate) fn init_as(&mut self, id: &str, timeout_ms: i32, producer: Producer) -> Answered<Producer> {
        let peer = self.coordinator(id);
        self.init_at(peer, id, timeout_ms, producer)
    }

    pub(crate) fn init_at(
        &mut self,
        peer: Peer,
        id: &str,
        timeout_ms: i32,
        producer: Producer,
    ) -> Answered<Producer> {
        let request = InitProducerIdRequest {
            transactional_id: Some(id.into()),
            transaction_timeout_ms: timeout_ms,
            producer_id: producer.0,
            producer_epoch: producer.1,
            ..Default::default()
        };
        let response = self.script.ask(peer, 5, request);
        answered(response.error_code, (response.producer_id, response.producer_epoch))
    }

    /// Adds partitions of `orders` in version 3.
    pub(crate) fn add(&mut self, id: &str, producer: Producer, partitions: &[i32]) -> Answered<()> {
        let topic = AddPartitionsToTxnTopic {
            name: "orders".into(),
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        };
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.into(),
            v3_and_below_producer_id: producer.0,
            v3_and_below_producer_epoch: producer.1,
            v3_and_below_topics: vec![topic],
            ..Default::default()
        };
        let peer = self.coordinator(id);
        let response = self.script.ask(peer, 3, request);
        let code = response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
        answered(code, ())
    }

    pub(crate) fn send_batch(
        &mut self,
        version: i16,
        id: Option<&str>,
        partition: i32,
        values: &[&str],
        stamp: ProducerStamp,
    ) -> Sent {
        let mut request = produce_request("orders", Uuid::ZERO, partition, stamped(values, stamp));
        request.transactional_id = id.map(Into::into);
        let (leader, _) = self.script.cluster.leader("orders", partition).unwrap();
        let peer = self.script.connect(leader.0);
        self.script.send(peer, version, request)
    }

    pub(crate) fn written(&mut self, sent: Sent) -> Answered<i64> {
        let response = self.script.take::<milena_protocol::messages::ProduceResponse>(sent);
        let partition = &response.responses[0].partition_responses[0];
        answered(partition.error_code, partition.base_offset)
    }

    /// Writes a batch of a transaction with this version of Produce, and waits while it is tried again.
    pub(crate) fn write(
        &mut self,
        version: i16,
        id: &str,
        producer: Producer,
        partition: i32,
        sequence: i32,
    ) -> Answered<i64> {
        let sent = self.send_batch(version, Some(id), partition, &["v"], stamp(producer, sequence));
        self.written(sent)
    }

    pub(crate) fn end(
        &mut self,
        version: i16,
        id: &str,
        producer: Producer,
        committed: bool,
    ) -> Answered<Producer> {
        let peer = self.coordinator(id);
        self.end_at(peer, version, id, producer, committed)
    }

    pub(crate) fn end_at(
        &mut self,
        peer: Peer,
        version: i16,
        id: &str,
        producer: Producer,
        committed: bool,
    ) -> Answered<Producer> {
        let request = EndTxnRequest {
            transactional_id: id.into(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            committed,
            ..Default::default()
        };
        let response = self.script.ask(peer, version, request);
        answered(response.error_code, (response.producer_id, response.producer_epoch))
    }

    /// Ends a transaction and waits for its markers.
    pub(crate) fn finish(&mut self, id: &str, producer: Producer, committed: bool) -> Producer {
        let next = self.end(5, id, producer, committed).unwrap();
        self.script.advance_ms(MARKED);
        next
    }

    pub(crate) fn describe(&mut self, id: &str) -> TransactionState {
        let peer = self.coordinator(id);
        let request =
            DescribeTransactionsRequest { transactional_ids: vec![id.into()], ..Default::default() };
        self.script.ask(peer, 0, request).transaction_states.remove(0)
    }

    pub(crate) fn state(&self, id: &str) -> &'static str {
        self.script.cluster.transaction_state(id).unwrap()
    }

    pub(crate) fn add_group(&mut self, id: &str, producer: Producer, group: &str) -> Answered<()> {
        let request = AddOffsetsToTxnRequest {
            transactional_id: id.into(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            group_id: group.into(),
            ..Default::default()
        };
        let peer = self.coordinator(id);
        answered(self.script.ask(peer, 3, request).error_code, ())
    }

    pub(crate) fn commit_offset(
        &mut self,
        version: i16,
        id: &str,
        producer: Producer,
        group: &str,
        offset: i64,
    ) -> Answered<()> {
        let topic = TxnOffsetCommitRequestTopic {
            name: "orders".into(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                committed_offset: offset,
                ..Default::default()
            }],
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: id.into(),
            group_id: group.into(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            generation_id: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let peer = self.script.coordinator(group);
        let response = self.script.ask(peer, version, request);
        answered(response.topics[0].partitions[0].error_code, ())
    }

    /// The group's offset, if there has to be one that nothing can change any more.
    pub(crate) fn stable_offset(&mut self, group: &str) -> Answered<i64> {
        let topic = OffsetFetchRequestTopics {
            name: "orders".into(),
            partition_indexes: [0].into(),
            ..Default::default()
        };
        let group_id = group.into();
        let wanted = OffsetFetchRequestGroup { group_id, topics: Some(vec![topic]), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![wanted], require_stable: true, ..Default::default() };
        let peer = self.script.coordinator(group);
        let response = self.script.ask(peer, 9, request);
        let partition = &response.groups[0].topics[0].partitions[0];
        answered(partition.error_code, partition.committed_offset)
    }

    /// What a reader of committed records gets of partition 0: its end, the aborted transactions, and each batch's base
    /// offset and marker.
    pub(crate) fn read(&mut self, isolation_level: i8) -> Read {
        let wanted = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
        let topic = FetchTopic { topic: "orders".into(), partitions: vec![wanted], ..Default::default() };
        let request = FetchRequest { isolation_level, topics: vec![topic], ..Default::default() };
        let (leader, _) = self.script.cluster.leader("orders", 0).unwrap();
        let peer = self.script.connect(leader.0);
        let response = self.script.ask(peer, 12, request);
        let data = response.responses.get(0).unwrap().partitions.get(0).unwrap();
        assert_eq!(data.error_code, 0);
        let batches = Batches::new(data.records.unwrap_or_default()).map(|batch| {
            let batch = batch.unwrap();
            let header = *batch.header();
            let decoded = batch.decode(&ReadOptions::default()).unwrap();
            let record = decoded.records().next().unwrap().unwrap();
            let is_control = header.attributes.is_control();
            (header.base_offset, is_control.then(|| ControlRecord::parse(&record).unwrap().kind))
        });
        let aborted = data.aborted_transactions.map(|aborted| {
            aborted.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect()
        });
        Read {
            stable: data.last_stable_offset,
            end: data.high_watermark,
            aborted,
            batches: batches.collect(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) stable: i64,
    pub(crate) end: i64,
    /// Producer and first offset; `None` where nobody asked.
    pub(crate) aborted: Option<Vec<(i64, i64)>>,
    pub(crate) batches: Vec<(i64, Option<ControlKind>)>,
}

pub(crate) fn stamp((producer_id, producer_epoch): Producer, base_sequence: i32) -> ProducerStamp {
    ProducerStamp { producer_id, producer_epoch, base_sequence, transactional: true }
}
