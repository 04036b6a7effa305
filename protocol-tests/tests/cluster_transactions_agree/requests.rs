//! The requests that the scripts are made of. Each notes what it is answered.

use milena_protocol::{
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest, EndTxnRequest,
        FetchRequest, FetchResponse, InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest,
        OffsetFetchRequest, ProduceRequest, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
        add_partitions_to_txn::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
        describe_producers::TopicRequest,
        fetch::{FetchPartition, FetchTopic},
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        produce::{PartitionProduceData, TopicProduceData},
        txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
        write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic},
    },
    records::{Batches, ControlRecord, ReadOptions},
};

use crate::side::{Producer, Side, To, batch, start_ms};

/// Who commits offsets: generation, member id, instance id.
pub(crate) type Member<'a> = (i32, &'a str, Option<&'a str>);

pub(crate) const NOBODY: Member<'static> = (-1, "", None);

impl Side {
    fn init_request(
        &self,
        timeout_ms: i32,
        (producer_id, producer_epoch): Producer,
    ) -> InitProducerIdRequest {
        InitProducerIdRequest {
            transactional_id: Some(self.id.as_str().into()),
            transaction_timeout_ms: timeout_ms,
            producer_id,
            producer_epoch,
            ..Default::default()
        }
    }

    /// InitProducerId, again while transactions are concurrent.
    pub(crate) fn init(&mut self) -> Producer {
        self.init_as(5, 60_000, (-1, -1))
    }

    pub(crate) fn init_as(&mut self, version: i16, timeout_ms: i32, producer: Producer) -> Producer {
        let request = self.init_request(timeout_ms, producer);
        let response = self.ask_until(To::Transactions, version, &request, |response| response.error_code);
        let given = (response.producer_id, response.producer_epoch);
        let name = self.name(given);
        self.note(&format!("init {version}"), response.error_code, name);
        given
    }

    /// InitProducerId, once.
    pub(crate) fn init_once(&mut self) {
        let (request, address) = (self.init_request(60_000, (-1, -1)), self.address(To::Transactions));
        let response = self.ask_at(&address, 5, request);
        self.note("init once", response.error_code, response.producer_id);
    }

    pub(crate) fn add(&mut self, version: i16, producer: Producer, partitions: &[i32]) {
        self.add_to(version, producer, &self.topic.clone(), partitions, false);
    }

    pub(crate) fn add_to(
        &mut self,
        version: i16,
        (producer_id, producer_epoch): Producer,
        topic: &str,
        partitions: &[i32],
        verify_only: bool,
    ) {
        let topics = vec![AddPartitionsToTxnTopic {
            name: topic.into(),
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        }];
        let id = self.id.as_str();
        let request = if version >= 4 {
            let transaction = AddPartitionsToTxnTransaction {
                transactional_id: id.into(),
                producer_id,
                producer_epoch,
                verify_only,
                topics,
                ..Default::default()
            };
            AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() }
        } else {
            AddPartitionsToTxnRequest {
                v3_and_below_transactional_id: id.into(),
                v3_and_below_producer_id: producer_id,
                v3_and_below_producer_epoch: producer_epoch,
                v3_and_below_topics: topics,
                ..Default::default()
            }
        };
        let results = |response: &milena_protocol::messages::AddPartitionsToTxnResponse| {
            let topics = response.results_by_transaction.iter().flat_map(|result| &result.topic_results);
            let topics = topics.chain(&response.results_by_topic_v3_and_below);
            let mut results: Vec<(i32, i16)> = topics
                .flat_map(|topic| &topic.results_by_partition)
                .map(|partition| (partition.partition_index, partition.partition_error_code))
                .collect();
            results.sort_unstable();
            results
        };
        let first = |response: &_| results(response).first().map_or(0, |(_, code)| *code);
        let response = self.ask_until(To::Transactions, version, &request, first);
        for (partition, code) in results(&response) {
            self.note(&format!("add {version}"), code, partition);
        }
    }

    /// Produce with a batch of a transaction.
    pub(crate) fn write(
        &mut self,
        version: i16,
        producer: Producer,
        partition: i32,
        sequence: i32,
        count: usize,
    ) {
        let id = Some(self.id.clone());
        self.produce(version, id, partition, batch(producer, sequence, count, true));
    }

    pub(crate) fn produce(
        &mut self,
        version: i16,
        id: Option<String>,
        partition: i32,
        records: bytes::Bytes,
    ) {
        let data = PartitionProduceData { index: partition, records: Some(records), ..Default::default() };
        let topic = TopicProduceData {
            name: self.topic.as_str().into(),
            partition_data: vec![data].into(),
            ..Default::default()
        };
        let request = ProduceRequest {
            transactional_id: id.map(Into::into),
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![topic].into(),
            ..Default::default()
        };
        let code = |response: &milena_protocol::messages::ProduceResponse| {
            response.responses[0].partition_responses[0].error_code
        };
        let response = self.ask_until(To::Leader(partition), version, &request, code);
        let answer = &response.responses[0].partition_responses[0];
        let (code, offset) = (answer.error_code, answer.base_offset);
        self.note(&format!("produce {version} to {partition}"), code, offset);
    }

    pub(crate) fn end(&mut self, version: i16, producer: Producer, committed: bool) -> Producer {
        let request = EndTxnRequest {
            transactional_id: self.id.as_str().into(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            committed,
            ..Default::default()
        };
        let response = self.ask_until(To::Transactions, version, &request, |response| response.error_code);
        let next = (response.producer_id, response.producer_epoch);
        let name = self.name(next);
        let what = if committed { "commit" } else { "abort" };
        self.note(&format!("{what} {version}"), response.error_code, name);
        self.settle();
        next
    }

    pub(crate) fn add_group(&mut self, version: i16, (producer_id, producer_epoch): Producer) {
        let request = AddOffsetsToTxnRequest {
            transactional_id: self.id.as_str().into(),
            producer_id,
            producer_epoch,
            group_id: self.group.as_str().into(),
            ..Default::default()
        };
        let response = self.ask_until(To::Transactions, version, &request, |response| response.error_code);
        self.note(&format!("add group {version}"), response.error_code, "");
    }

    pub(crate) fn commit_offset(
        &mut self,
        version: i16,
        producer: Producer,
        member: Member<'_>,
        offset: i64,
    ) {
        let (generation_id, member_id, instance_id) = member;
        let topic = |name: &str, index| TxnOffsetCommitRequestTopic {
            name: name.into(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                partition_index: index,
                committed_offset: offset,
                committed_metadata: Some("".into()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id.as_str().into(),
            group_id: self.group.as_str().into(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            generation_id,
            member_id: member_id.into(),
            group_instance_id: instance_id.map(Into::into),
            topics: vec![topic(&self.topic, 0), topic("no-such-topic", 0)],
            ..Default::default()
        };
        let codes = |response: &milena_protocol::messages::TxnOffsetCommitResponse| {
            let mut codes: Vec<(bool, i16)> = response
                .topics
                .iter()
                .map(|topic| (&*topic.name == "no-such-topic", topic.partitions[0].error_code))
                .collect();
            codes.sort_unstable();
            codes
        };
        let response = self.ask_until(To::Group, version, &request, |response| codes(response)[0].1);
        for (unknown, code) in codes(&response) {
            self.note(&format!("commit offset {version}"), code, unknown);
        }
    }

    pub(crate) fn committed(&mut self, require_stable: bool) {
        let topic = OffsetFetchRequestTopics {
            name: self.topic.as_str().into(),
            partition_indexes: [0, 1].into_iter().collect(),
            ..Default::default()
        };
        let group = OffsetFetchRequestGroup {
            group_id: self.group.as_str().into(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
        let response = self.ask_until(To::Group, 9, &request, |response| response.groups[0].error_code);
        for partition in &response.groups[0].topics[0].partitions {
            let what = format!("committed {} (stable {require_stable})", partition.partition_index);
            self.note(&what, partition.error_code, partition.committed_offset);
        }
    }

    /// Fetches all of partition 0, in as many replies as it comes in.
    pub(crate) fn read(&mut self, isolation_level: i8) {
        self.read_in_parts(isolation_level, 1 << 20);
    }

    /// The same in replies of at most so many bytes.
    pub(crate) fn read_in_parts(&mut self, isolation_level: i8, max_bytes: i32) {
        let mut next = Some(0);
        while let Some(offset) = next {
            next = self.read_from(isolation_level, offset, max_bytes);
        }
    }

    /// Fetches what a reply holds, and says where to go on.
    fn read_from(&mut self, isolation_level: i8, fetch_offset: i64, max_bytes: i32) -> Option<i64> {
        let wanted = FetchPartition { fetch_offset, partition_max_bytes: max_bytes, ..Default::default() };
        let topic =
            FetchTopic { topic: self.topic.as_str().into(), partitions: vec![wanted], ..Default::default() };
        let request = FetchRequest { isolation_level, topics: vec![topic], ..Default::default() };
        let code = |response: &FetchResponse| {
            response.responses.get(0).unwrap().partitions.get(0).unwrap().error_code
        };
        let response = self.ask_until(To::Leader(0), 12, &request, code);
        let data = response.responses.get(0).unwrap().partitions.get(0).unwrap();
        let what = format!("read {isolation_level}");
        let told = data.aborted_transactions.is_some();
        let (stable, end) = (data.last_stable_offset, data.high_watermark);
        self.note(
            &what,
            data.error_code,
            format!("{fetch_offset} to {stable} of {end}, aborted told {told}"),
        );
        for aborted in &data.aborted_transactions.unwrap_or_default() {
            let name = self.name((aborted.producer_id, 0));
            self.note(&what, 0, format!("aborted {name} from {}", aborted.first_offset));
        }
        let mut next = None;
        for batch in Batches::new(data.records.unwrap_or_default()) {
            let batch = batch.unwrap();
            let header = *batch.header();
            next = Some(batch.next_offset());
            let decoded = batch.decode(&ReadOptions::default()).unwrap();
            let record = decoded.records().next().unwrap().unwrap();
            let control = if header.attributes.is_control() { ControlRecord::parse(&record) } else { None };
            let kind = control.map(|control| control.kind);
            let name = self.name((header.producer_id, header.producer_epoch));
            let (base, count) = (header.base_offset, header.record_count);
            let transactional = header.attributes.is_transactional();
            let sequence = header.base_sequence;
            self.note(&what, 0, format!("{base}+{count} of {name} {transactional} {kind:?} {sequence}"));
        }
        next
    }

    pub(crate) fn list(&mut self, isolation_level: i8, timestamp: i64) {
        let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
        let topics =
            vec![ListOffsetsTopic { name: self.topic.as_str().into(), partitions, ..Default::default() }];
        let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics, ..Default::default() };
        let code = |response: &milena_protocol::messages::ListOffsetsResponse| {
            response.topics[0].partitions[0].error_code
        };
        let response = self.ask_until(To::Leader(0), 9, &request, code);
        let found = &response.topics[0].partitions[0];
        let (code, offset) = (found.error_code, found.offset);
        let at = if timestamp > 0 && timestamp < i64::MAX { timestamp - start_ms() } else { timestamp };
        self.note(&format!("offset at {at} for {isolation_level}"), code, offset);
    }

    pub(crate) fn describe(&mut self) {
        let state = self.state();
        let name = self.name((state.producer_id, state.producer_epoch));
        let topics = state.topics.iter().map(|topic| {
            // Where a group lives depends on how many partitions there are.
            let own = &*topic.topic == self.topic.as_str();
            (own, topic.partitions.iter().filter(|_| own).collect::<std::collections::BTreeSet<i32>>())
        });
        let mut topics: Vec<_> = topics.collect();
        topics.sort();
        let started = state.transaction_start_time_ms > 0;
        let what = format!(
            "{name} {} {} {started} {topics:?}",
            state.transaction_state, state.transaction_timeout_ms
        );
        self.note("described", state.error_code, what);
    }

    /// ListTransactions at the coordinator, with the pattern of an id or another.
    pub(crate) fn list_transactions(
        &mut self,
        pattern: &str,
        states: &[&str],
        ids: &[i64],
        duration_filter: i64,
    ) {
        let request = ListTransactionsRequest {
            state_filters: states.iter().map(|state| (*state).into()).collect(),
            producer_id_filters: ids.iter().copied().collect(),
            duration_filter,
            transactional_id_pattern: Some(pattern.into()),
            ..Default::default()
        };
        let response = self.ask_until(To::Transactions, 2, &request, |response| response.error_code);
        let listed: Vec<_> =
            response.transaction_states.iter().map(|state| &state.transaction_state).collect();
        let unknown = &response.unknown_state_filters;
        self.note("listed", response.error_code, format!("{listed:?}, unknown {unknown:?}"));
    }

    pub(crate) fn producers(&mut self, partition: i32) {
        let topic = TopicRequest {
            name: self.topic.as_str().into(),
            partition_indexes: [partition].into_iter().collect(),
            ..Default::default()
        };
        let request = DescribeProducersRequest { topics: vec![topic], ..Default::default() };
        let code = |response: &milena_protocol::messages::DescribeProducersResponse| {
            response.topics[0].partitions[0].error_code
        };
        let mut response = self.ask_until(To::Leader(partition), 0, &request, code);
        let answer = response.topics.remove(0).partitions.remove(0);
        self.note("producers", answer.error_code, answer.active_producers.len());
        let mut lines = Vec::new();
        for producer in answer.active_producers {
            let name = self.name((producer.producer_id, producer.producer_epoch.try_into().unwrap()));
            let ended = producer.coordinator_epoch >= 0;
            let (sequence, first) = (producer.last_sequence, producer.current_txn_start_offset);
            lines.push(format!("{name} sequence {sequence} open {first} ended {ended}"));
        }
        lines.sort();
        for line in lines {
            self.note("producer", 0, line);
        }
    }

    /// WriteTxnMarkers to partition 0.
    pub(crate) fn mark(
        &mut self,
        version: i16,
        (producer_id, producer_epoch): Producer,
        transaction_result: bool,
        coordinator_epoch: i32,
        transaction_version: i8,
    ) {
        let topic = WritableTxnMarkerTopic {
            name: self.topic.as_str().into(),
            partition_indexes: [0].into_iter().collect(),
            ..Default::default()
        };
        let marker = WritableTxnMarker {
            producer_id,
            producer_epoch,
            transaction_result,
            coordinator_epoch,
            transaction_version,
            topics: vec![topic],
            ..Default::default()
        };
        let request = WriteTxnMarkersRequest { markers: vec![marker], ..Default::default() };
        let code = |response: &milena_protocol::messages::WriteTxnMarkersResponse| {
            response.markers[0].topics[0].partitions[0].error_code
        };
        let response = self.ask_until(To::Leader(0), version, &request, code);
        let what = format!("marker {version} of version {transaction_version}");
        let detail = format!("{transaction_result} by {coordinator_epoch}");
        self.note(&what, code(&response), detail);
    }
}
