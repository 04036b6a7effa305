//! A transactional producer in a script: its coordinators answer as the script says.

use std::collections::BTreeMap;

use milena_cluster::{BrokerId, Failure, FailureKind, Machine, Outgoing, Target, TopicPartition};
use milena_producer::{
    FatalCause, GroupMetadata, GroupOffset, OffsetsId, ProducerConfig, ProducerEvent, TransactionError,
    TransactionEvent, TransactionPhase,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{
        AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, ApiVersionsResponse, EndTxnResponse,
        FindCoordinatorResponse, InitProducerIdResponse, Request, Response, TxnOffsetCommitResponse,
        add_partitions_to_txn::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult},
        api_versions::FinalizedFeatureKey,
        find_coordinator::Coordinator,
        txn_offset_commit::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
    },
};

use crate::script::{Script, TOPIC, config};

/// The transactional id of every script.
pub(crate) const ID: &str = "payments-1";
/// Who coordinates it, and the groups, at first.
pub(crate) const COORDINATOR: i32 = 2;
/// The producer id it gets.
pub(crate) const PRODUCER: i64 = 7_000;

/// `transaction.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    One,
    Two,
}

pub(crate) struct Txn {
    pub(crate) script: Script,
    pub(crate) level: Level,
    /// What the next epoch is.
    pub(crate) epoch: i16,
}

pub(crate) fn transactional() -> ProducerConfig {
    ProducerConfig { transactional_id: Some(ID.into()), ..config() }
}

impl Txn {
    /// A producer that has its epoch, of a cluster at this level.
    pub(crate) fn new(level: Level) -> Self {
        Self::with(level, transactional())
    }

    pub(crate) fn with(level: Level, config: ProducerConfig) -> Self {
        let mut txn = Self { script: Script::without_metadata(config, 2), level, epoch: 0 };
        txn.script.drain();
        txn.initialize(0);
        assert_eq!(txn.events(), [TransactionEvent::Ready]);
        // Nothing is sent outside a transaction, but the topic is known from here on.
        txn.script.producer.begin(txn.script.now()).unwrap();
        assert!(txn.script.try_enqueue(0, "first").is_err());
        txn.abort();
        assert_eq!(txn.events(), [TransactionEvent::Ended(Ok(()))]);
        txn
    }

    /// The coordinator is found, tells the level and grants the epoch.
    pub(crate) fn initialize(&mut self, epoch: i16) {
        self.find();
        self.tell_level();
        let asked = self.asked(ApiKey::InitProducerId);
        self.grant(&asked, PRODUCER, epoch);
    }

    pub(crate) fn grant(&mut self, asked: &Outgoing, producer_id: i64, producer_epoch: i16) {
        self.epoch = producer_epoch;
        let granted = InitProducerIdResponse { producer_id, producer_epoch, ..Default::default() };
        self.answer(asked, granted);
    }

    pub(crate) fn refuse_id(&mut self, code: ErrorCode) {
        let asked = self.asked(ApiKey::InitProducerId);
        let refused = InitProducerIdResponse { error_code: code.0, producer_id: -1, ..Default::default() };
        self.answer(&asked, refused);
    }

    /// The coordinator is asked for, and is where it was.
    #[track_caller]
    pub(crate) fn find(&mut self) {
        self.find_at(COORDINATOR);
    }

    #[track_caller]
    pub(crate) fn find_at(&mut self, node_id: i32) {
        let asked = self.asked(ApiKey::FindCoordinator);
        let coordinator = Coordinator { node_id, ..Default::default() };
        self.answer(
            &asked,
            FindCoordinatorResponse { coordinators: vec![coordinator], ..Default::default() },
        );
    }

    #[track_caller]
    pub(crate) fn tell_level(&mut self) {
        let asked = self.asked(ApiKey::ApiVersions);
        let level = match self.level {
            Level::One => 1,
            Level::Two => 2,
        };
        let feature = FinalizedFeatureKey {
            name: "transaction.version".into(),
            max_version_level: level,
            min_version_level: level,
            ..Default::default()
        };
        let features = ApiVersionsResponse { finalized_features: vec![feature], ..Default::default() };
        self.answer(&asked, features);
    }

    /// The one request to or for a coordinator that has not been looked at.
    #[track_caller]
    pub(crate) fn asked(&mut self, api: ApiKey) -> Outgoing {
        let apis: Vec<_> = self.script.asked.iter().map(Outgoing::api).collect();
        assert_eq!(apis, [api]);
        self.script.asked.pop_front().unwrap()
    }

    #[track_caller]
    pub(crate) fn nothing_asked(&self) {
        assert!(self.script.asked.is_empty(), "{:?}", self.script.asked);
    }

    pub(crate) fn answer(&mut self, asked: &Outgoing, response: impl Into<Response>) {
        self.script.producer.handle_response(self.script.now(), asked.id, Ok(response.into()));
        self.script.drain();
    }

    /// A request stays without an answer.
    pub(crate) fn lose(&mut self, asked: &Outgoing, kind: FailureKind) {
        let failure = Failure::new(kind, "the connection is gone");
        self.script.producer.handle_response(self.script.now(), asked.id, Err(failure));
        self.script.drain();
    }

    pub(crate) fn begin(&mut self) {
        self.script.producer.begin(self.script.now()).unwrap();
        self.script.drain();
    }

    /// A record in a batch of its own, acknowledged. In version 1 the partition must have been added.
    pub(crate) fn write(&mut self, partition: i32, offset: i64) {
        self.script.settle(partition, offset);
    }

    /// The first record of the transaction in the partition.
    pub(crate) fn write_first(&mut self, partition: i32, offset: i64) {
        let delivery = self.script.enqueue(partition, "first");
        if self.level == Level::One {
            self.add(&[partition], ErrorCode::NONE);
        }
        let request = self.script.only_request();
        self.script.answer(&request, &[crate::script::Said::written(offset)]);
        assert!(delivery.result().unwrap().is_ok());
    }

    /// The partitions are asked to be added, and are, or not.
    #[track_caller]
    pub(crate) fn add(&mut self, partitions: &[i32], code: ErrorCode) {
        let asked = self.asked(ApiKey::AddPartitionsToTxn);
        assert_eq!(asked.max_version, 3, "the newer ones are for brokers");
        let Request::AddPartitionsToTxn(request) = &asked.request else { panic!() };
        let topics = &request.v3_and_below_topics;
        let wanted: Vec<i32> = topics.iter().flat_map(|topic| topic.partitions.iter()).collect();
        assert_eq!(wanted, partitions);
        let results = wanted.iter().map(|index| AddPartitionsToTxnPartitionResult {
            partition_index: *index,
            partition_error_code: code.0,
            ..Default::default()
        });
        let topic = AddPartitionsToTxnTopicResult {
            name: TOPIC.into(),
            results_by_partition: results.collect(),
            ..Default::default()
        };
        let response =
            AddPartitionsToTxnResponse { results_by_topic_v3_and_below: vec![topic], ..Default::default() };
        self.answer(&asked, response);
    }

    pub(crate) fn commit(&mut self) {
        self.script.producer.commit(self.script.now()).unwrap();
        self.script.drain();
    }

    pub(crate) fn abort(&mut self) {
        self.script.producer.abort().unwrap();
        self.script.drain();
    }

    /// EndTxn is asked in the version that goes with the level, for the current epoch.
    #[track_caller]
    pub(crate) fn end_asked(&mut self, committed: bool) -> Outgoing {
        let asked = self.asked(ApiKey::EndTxn);
        let versions = if self.level == Level::One { (0, 4) } else { (5, 5) };
        assert_eq!((asked.min_version, asked.max_version), versions);
        let Request::EndTxn(request) = &asked.request else { panic!() };
        assert_eq!((request.committed, request.producer_epoch), (committed, self.epoch));
        asked
    }

    /// The coordinator ends the transaction; in version 2 the next one has the next epoch.
    #[track_caller]
    pub(crate) fn end(&mut self, committed: bool) {
        let asked = self.end_asked(committed);
        self.ended(&asked);
    }

    pub(crate) fn ended(&mut self, asked: &Outgoing) {
        let mut response = EndTxnResponse { producer_id: -1, producer_epoch: -1, ..Default::default() };
        if self.level == Level::Two {
            self.epoch += 1;
            response.producer_id = PRODUCER;
            response.producer_epoch = self.epoch;
        }
        self.answer(asked, response);
    }

    /// The coordinator refuses to end the transaction.
    #[track_caller]
    pub(crate) fn end_refused(&mut self, committed: bool, code: ErrorCode) {
        let asked = self.end_asked(committed);
        let refused =
            EndTxnResponse { error_code: code.0, producer_id: -1, producer_epoch: -1, ..Default::default() };
        self.answer(&asked, refused);
    }

    /// Sends the offset of partition 0 of the group "readers".
    pub(crate) fn send_offset(&mut self, offset: i64) -> OffsetsId {
        let group = GroupMetadata {
            group_id: "readers".into(),
            member_id: "reader-1".into(),
            generation_or_epoch: 5,
            group_instance_id: Some("static-1".into()),
        };
        let at = GroupOffset { offset, leader_epoch: Some(3), metadata: "note".into() };
        let offsets = BTreeMap::from([(TopicPartition::new("orders", 0), at)]);
        let id = self.script.producer.send_offsets(group, offsets).unwrap();
        self.script.drain();
        id
    }

    #[track_caller]
    pub(crate) fn offsets_answered(&mut self, code: ErrorCode) {
        let asked = self.asked(ApiKey::TxnOffsetCommit);
        let partition =
            TxnOffsetCommitResponsePartition { partition_index: 0, error_code: code.0, ..Default::default() };
        let topic = TxnOffsetCommitResponseTopic {
            name: "orders".into(),
            partitions: vec![partition],
            ..Default::default()
        };
        self.answer(&asked, TxnOffsetCommitResponse { topics: vec![topic], ..Default::default() });
    }

    #[track_caller]
    pub(crate) fn group_added(&mut self, code: ErrorCode) {
        let asked = self.asked(ApiKey::AddOffsetsToTxn);
        self.answer(&asked, AddOffsetsToTxnResponse { error_code: code.0, ..Default::default() });
    }

    /// What was told of transactions since the last call.
    pub(crate) fn events(&mut self) -> Vec<TransactionEvent> {
        let events = std::mem::take(&mut self.script.events).into_iter().filter_map(|event| match event {
            ProducerEvent::Transaction(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// The one error of an end that was told since the last call.
    #[track_caller]
    pub(crate) fn end_error(&mut self) -> TransactionError {
        let ends = self.events().into_iter().filter_map(|event| match event {
            TransactionEvent::Ended(result) => Some(result),
            _ => None,
        });
        let ends: Vec<_> = ends.collect();
        let [Err(error)] = ends.as_slice() else { panic!("{ends:?}") };
        error.clone()
    }

    #[track_caller]
    pub(crate) fn assert_ended(&mut self) {
        let events = self.events();
        assert!(events.contains(&TransactionEvent::Ended(Ok(()))), "{events:?}");
    }

    pub(crate) fn phase(&self) -> TransactionPhase {
        self.script.producer.transaction_phase().unwrap()
    }

    #[track_caller]
    pub(crate) fn assert_fenced(&mut self, api: ApiKey, code: ErrorCode) {
        let TransactionPhase::Stuck(TransactionError::Fatal(fatal)) = self.phase() else {
            panic!("{:?}", self.phase())
        };
        assert_eq!(fatal.cause, FatalCause::Fenced { api, code });
        assert!(self.script.producer.begin(self.script.now()).is_err());
    }

    #[track_caller]
    pub(crate) fn assert_at(outgoing: &Outgoing, broker: i32) {
        assert_eq!(outgoing.target, Target::Coordinator(BrokerId(broker)));
    }
}
