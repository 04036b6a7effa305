//! What a seed decides before a run starts, besides its faults: who takes part, how they are set up, and when much
//! happens.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use milena_cluster::{Backoff, MetadataConfig, TopicPartition};
use milena_consumer_group::{Assignor, AutoOffsetReset, ConsumerConfig, GroupProtocol, IsolationLevel};
use milena_embedded_broker::core::ClusterConfig;
use milena_producer::ProducerConfig;
use milena_protocol::{
    messages::ApiKey,
    records::{Codec, Compression},
};

use super::history::Place;

/// Topics in a run.
pub(super) const TOPICS: [(&str, i32); 3] = [("letters", 3), ("replies", 2), ("copies", 2)];
/// How many of them producers write to.
pub(super) const WRITTEN: usize = 2;
/// The one that copiers write to.
pub(super) const COPIES: usize = 2;
/// Who reads what: members read what producers write, copiers copy letters, an auditor reads the copies.
pub(super) const GROUPS: [Group; 3] = [
    Group { name: "readers", first: 0, end: 2 },
    Group { name: "copiers", first: 0, end: 1 },
    Group { name: "auditors", first: 2, end: 3 },
];
pub(super) const READERS: usize = 0;
pub(super) const COPIERS: usize = 1;
pub(super) const AUDITORS: usize = 2;
pub(super) const BROKERS: u16 = 3;
/// When faults end, in µs.
pub(super) const HEAL: u64 = 480_000_000;

/// A consumer group, and the numbers of its topics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) name: &'static str,
    first: u32,
    end: u32,
}

impl Group {
    pub(super) fn topics(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Self { first, end, .. } = *self;
        (first..end).filter_map(|topic| Some(TOPICS.get(topic as usize)?.0))
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let topics = self.first..self.end;
        places().filter(move |place| topics.contains(&place.topic))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    seed: u64,
    senders: usize,
    members: usize,
    copiers: usize,
    /// Members from the start; the others come later.
    first_members: usize,
    /// Start and length, in µs, of the times at which producers work and most faults happen.
    pub(super) storms: Vec<(u64, u64)>,
    /// The most faults in a storm.
    pub(super) gusts: u32,
    /// Records of each producer in a storm.
    pub(super) records: u32,
    /// The longest a user waits before it sends more, in µs.
    pub(super) pause: u64,
    /// The longest a message usually takes, in µs.
    pub(super) latency: u64,
    /// The longest a message is held up in a storm, in µs.
    pub(super) longest_hold: u64,
    /// Brokers say that they miss records they had acknowledged.
    pub(super) desynchronizes: bool,
    /// What older brokers speak: names for topics, no hints where a leader is.
    max_versions: BTreeMap<ApiKey, i16>,
    transaction_version: i16,
    protocol: GroupProtocol,
    assignors: Vec<Assignor>,
    session_timeout: Duration,
    heartbeat_interval: Duration,
    rebalance_timeout: Duration,
}

impl Plan {
    pub(super) fn new(seed: u64, random: &mut fastrand::Rng) -> Self {
        let copiers = if random.u8(..3) == 0 { random.usize(1..=2) } else { 0 };
        // What is too old for transactions would only be refused.
        let max_versions = match random.u8(0..4) {
            _ if copiers > 0 => BTreeMap::new(),
            0 => {
                BTreeMap::from([(ApiKey::Produce, random.i16(3..13)), (ApiKey::Metadata, random.i16(1..13))])
            }
            1 => BTreeMap::from([
                (ApiKey::Metadata, random.i16(1..10)),
                (ApiKey::InitProducerId, random.i16(0..5)),
            ]),
            _ => BTreeMap::new(),
        };
        let mut storms: Vec<_> = (0..random.usize(4..10))
            .map(|_| {
                let len = random.u64(1_000_000..8_000_000);
                (random.u64(100_000..HEAL - len), len)
            })
            .collect();
        storms.sort_unstable();
        let members = random.usize(1..=3);
        let assignors = match random.u8(..4) {
            0 => vec![Assignor::Range],
            1 => vec![Assignor::RoundRobin, Assignor::Range],
            2 => vec![Assignor::Sticky],
            _ => vec![Assignor::CooperativeSticky],
        };
        // KIP-848 asks for topics by their ids.
        let protocol = if max_versions.is_empty() && random.bool() {
            GroupProtocol::Consumer
        } else {
            GroupProtocol::Classic
        };
        Self {
            seed,
            senders: random.usize(1..=2),
            members,
            copiers,
            first_members: random.usize(1..=members),
            storms,
            gusts: *random.choice(&[10, 40, 120]).unwrap_or(&40),
            records: random.u32(30..160),
            pause: *random.choice(&[2_000, 20_000, 200_000]).unwrap_or(&2_000),
            latency: *random.choice(&[300, 2_000, 20_000]).unwrap_or(&300),
            longest_hold: *random.choice(&[200_000, 2_000_000, 12_000_000]).unwrap_or(&200_000),
            desynchronizes: random.u8(0..8) == 0,
            max_versions,
            transaction_version: random.i16(1..=2),
            protocol,
            assignors,
            session_timeout: Duration::from_millis(random.u64(6_000..20_000)),
            heartbeat_interval: Duration::from_millis(random.u64(1_000..3_000)),
            rebalance_timeout: Duration::from_millis(random.u64(20_000..40_000)),
        }
    }

    /// Everybody who takes part: producers, members, copiers, and an auditor where there are copiers.
    pub(super) const fn seats(&self) -> usize {
        self.auditor_seat() + if self.copiers > 0 { 1 } else { 0 }
    }

    const fn auditor_seat(&self) -> usize {
        self.senders + self.members + self.copiers
    }

    /// Who reads, and so can die, leave and be late.
    pub(super) const fn reader_seats(&self) -> Range<usize> {
        self.senders..self.seats()
    }

    /// The number of the group that a seat belongs to.
    pub(super) const fn group_of(&self, seat: usize) -> usize {
        if seat < self.senders + self.members {
            READERS
        } else if seat < self.auditor_seat() {
            COPIERS
        } else {
            AUDITORS
        }
    }

    /// The numbers of the groups that there are.
    pub(super) const fn groups(&self) -> Range<usize> {
        if self.copiers > 0 { 0..GROUPS.len() } else { 0..1 }
    }

    pub(super) const fn sender_seats(&self) -> Range<usize> {
        0..self.senders
    }

    /// Members that are not there from the start.
    pub(super) const fn late_seats(&self) -> Range<usize> {
        self.senders + self.first_members..self.senders + self.members
    }

    /// What is asked for in this run, what matters most more than once.
    pub(super) fn apis(&self) -> Vec<ApiKey> {
        let mut apis = vec![
            ApiKey::Produce,
            ApiKey::Produce,
            ApiKey::Produce,
            ApiKey::Metadata,
            ApiKey::InitProducerId,
            ApiKey::Fetch,
            ApiKey::ListOffsets,
            ApiKey::FindCoordinator,
            ApiKey::OffsetCommit,
            ApiKey::OffsetFetch,
        ];
        if self.copiers > 0 {
            apis.extend([
                ApiKey::InitProducerId,
                ApiKey::AddPartitionsToTxn,
                ApiKey::AddOffsetsToTxn,
                ApiKey::TxnOffsetCommit,
                ApiKey::TxnOffsetCommit,
                ApiKey::EndTxn,
                ApiKey::EndTxn,
            ]);
        }
        apis.extend_from_slice(match self.protocol {
            GroupProtocol::Classic => {
                &[ApiKey::Heartbeat, ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::LeaveGroup][..]
            }
            _ => &[ApiKey::ConsumerGroupHeartbeat, ApiKey::ConsumerGroupHeartbeat],
        });
        apis
    }

    pub(super) fn cluster_config(&self) -> ClusterConfig {
        ClusterConfig {
            brokers: BROKERS,
            seed: self.seed,
            retention_bytes: None,
            transaction_version: self.transaction_version,
            max_versions: self.max_versions.clone(),
            consumer_session_timeout: self.session_timeout,
            consumer_heartbeat_interval: self.heartbeat_interval,
            ..ClusterConfig::default()
        }
    }

    /// Small batches and short timeouts, so that much happens to few records.
    pub(super) fn producer_config(random: &mut fastrand::Rng) -> ProducerConfig {
        let request_timeout = Duration::from_millis(random.u64(200..1_500));
        let linger = Duration::from_millis(*random.choice(&[0, 1, 5, 50]).unwrap_or(&0));
        let batch_size = random.usize(130..700);
        let longest_retries = *random.choice(&[50, 5_000]).unwrap_or(&50);
        let backoff = backoff(random);
        ProducerConfig {
            linger,
            batch_size,
            buffer_memory: batch_size.saturating_mul(random.usize(8..40)),
            max_request_size: 1024,
            max_in_flight: random.usize(1..=5),
            codec: Codec::from(if random.u8(0..8) == 0 { Compression::Gzip } else { Compression::None }),
            request_timeout,
            delivery_timeout: linger
                + request_timeout
                + Duration::from_millis(random.u64(1..longest_retries)),
            retry_backoff: backoff,
            metadata: MetadataConfig {
                max_age: Duration::from_secs(random.u64(2..60)),
                backoff,
                request_timeout,
            },
            seed: random.u64(..),
            ..ProducerConfig::default()
        }
    }

    /// A producer with transactions, under the name of its seat.
    pub(super) fn copier_config(seat: usize, random: &mut fastrand::Rng) -> ProducerConfig {
        ProducerConfig {
            transactional_id: Some(format!("copier-{seat}").into()),
            transaction_timeout: Duration::from_millis(random.u64(5_000..20_000)),
            transaction_end_timeout: Duration::from_millis(random.u64(500..8_000)),
            // What can't be written ends the transaction.
            delivery_timeout: Duration::from_secs(10),
            ..Self::producer_config(random)
        }
    }

    /// Small answers and buffers, timeouts as short as brokers allow.
    pub(super) fn member_config(&self, group: usize, random: &mut fastrand::Rng) -> ConsumerConfig {
        ConsumerConfig {
            group_id: GROUPS.get(group).map(|group| group.name.into()),
            group_protocol: self.protocol,
            assignors: self.assignors.clone(),
            auto_offset_reset: AutoOffsetReset::Earliest,
            // Offsets of open transactions are waited for only by who reads what is committed (KIP-447).
            isolation_level: if group != READERS || random.bool() {
                IsolationLevel::ReadCommitted
            } else {
                IsolationLevel::ReadUncommitted
            },
            fetch_max_bytes: random.i32(500..10_000),
            fetch_max_wait: Duration::from_millis(random.u64(500..10_000)),
            max_partition_fetch_bytes: random.i32(300..3_000),
            max_buffered_bytes: random.usize(1_000..20_000),
            session_timeout: self.session_timeout,
            heartbeat_interval: self.heartbeat_interval,
            rebalance_timeout: self.rebalance_timeout,
            max_poll_interval: Duration::from_millis(random.u64(8_000..40_000)),
            retry_backoff: backoff(random),
            request_timeout: Duration::from_millis(random.u64(1_000..6_000)),
            commit_timeout: Duration::from_millis(random.u64(2_000..10_000)),
            metadata_max_age: Duration::from_secs(random.u64(5..120)),
            seed: random.u64(..),
            ..ConsumerConfig::default()
        }
    }
}

fn backoff(random: &mut fastrand::Rng) -> Backoff {
    Backoff { initial: Duration::from_millis(random.u64(1..60)), max: Duration::from_millis(300) }
}

/// Every partition of the run.
pub(super) fn places() -> impl Iterator<Item = Place> {
    (0..)
        .zip(TOPICS)
        .flat_map(|(topic, (_, partitions))| (0..partitions).map(move |partition| Place { topic, partition }))
}

/// The topic of a place.
pub(super) fn topic_of(place: Place) -> &'static str {
    TOPICS.get(place.topic as usize).map_or("", |(name, _)| *name)
}

pub(super) fn place_of(partition: &TopicPartition) -> Option<Place> {
    let topic = TOPICS.iter().position(|(name, _)| *name == &*partition.topic)?;
    Some(Place { topic: topic as u32, partition: partition.partition })
}
