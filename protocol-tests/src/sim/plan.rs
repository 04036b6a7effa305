//! What a seed decides before a run starts: how it goes, and how badly.
//!
//! Every run draws the faults it has and how often they come, so that some runs are all cuts and others all elections
//! (swarm testing): a mixture of everything finds less.

use std::{collections::BTreeMap, time::Duration};

use milena_cluster::{Backoff, MetadataConfig};
use milena_producer::ProducerConfig;
use milena_protocol::{
    messages::ApiKey,
    records::{Codec, Compression},
};

/// Topics in a run.
pub(super) const TOPICS: [(&str, i32); 2] = [("letters", 3), ("replies", 2)];

/// How likely each fault is for a message, of a million.
#[derive(Clone, Debug)]
pub(super) struct NetworkPlan {
    /// The longest a message usually takes, in µs.
    pub(super) latency: u64,
    /// A message takes much longer, and what is behind it too.
    pub(super) stall: u32,
    /// The longest of these, in µs.
    pub(super) longest_stall: u64,
    /// The connection ends before the request arrives.
    pub(super) cut_before: u32,
    /// The connection ends for the client, and the request arrives all the same.
    pub(super) cut_late: u32,
    /// The connection ends after the request was carried out.
    pub(super) cut_after: u32,
    /// A connection can't be made.
    pub(super) refuse: u32,
    /// A reply to a Produce request says something else than the broker meant.
    pub(super) garble: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) producers: usize,
    /// Records of each producer while there are faults.
    pub(super) records: u32,
    /// The longest a user waits before it sends more, in µs.
    pub(super) pause: u64,
    pub(super) network: NetworkPlan,
    /// When faults end, in µs.
    pub(super) heal: u64,
    /// The longest time between two things that befall the brokers, in µs.
    pub(super) nemesis: u64,
    /// Brokers stop and start.
    pub(super) bounces: bool,
    /// Leaders move.
    pub(super) elections: bool,
    /// Requests are answered with error codes, dropped or delayed by the brokers.
    pub(super) refusals: bool,
    /// Brokers say that they miss records they had acknowledged.
    pub(super) desynchronizes: bool,
    /// What older brokers speak: names for topics, no hints where a leader is.
    pub(super) max_versions: BTreeMap<ApiKey, i16>,
}

impl Plan {
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
        let often =
            |random: &mut fastrand::Rng, most: u32| if random.bool() { random.u32(0..most) } else { 0 };
        let network = NetworkPlan {
            latency: *random.choice(&[300, 2_000, 20_000]).unwrap_or(&300),
            stall: often(random, 30_000),
            longest_stall: *random.choice(&[200_000, 2_000_000, 12_000_000]).unwrap_or(&200_000),
            cut_before: often(random, 40_000),
            cut_late: often(random, 40_000),
            cut_after: often(random, 40_000),
            refuse: often(random, 200_000),
            garble: often(random, 50_000),
        };
        let max_versions = match random.u8(0..4) {
            0 => {
                BTreeMap::from([(ApiKey::Produce, random.i16(3..13)), (ApiKey::Metadata, random.i16(1..13))])
            }
            1 => BTreeMap::from([
                (ApiKey::Metadata, random.i16(1..10)),
                (ApiKey::InitProducerId, random.i16(0..5)),
            ]),
            _ => BTreeMap::new(),
        };
        Self {
            producers: random.usize(1..=2),
            records: random.u32(40..160),
            pause: *random.choice(&[2_000, 20_000, 200_000]).unwrap_or(&2_000),
            network,
            heal: random.u64(1_000_000..8_000_000),
            nemesis: *random.choice(&[30_000, 100_000, 1_000_000]).unwrap_or(&100_000),
            bounces: random.bool(),
            elections: random.bool(),
            refusals: random.bool(),
            desynchronizes: random.u8(0..8) == 0,
            max_versions,
        }
    }

    /// Small batches and short timeouts, so that much happens to few records.
    pub(super) fn producer_config(random: &mut fastrand::Rng) -> ProducerConfig {
        let request_timeout = Duration::from_millis(random.u64(200..1_500));
        let linger = Duration::from_millis(*random.choice(&[0, 1, 5, 50]).unwrap_or(&0));
        let batch_size = random.usize(130..700);
        let longest_retries = *random.choice(&[50, 5_000]).unwrap_or(&50);
        let backoff =
            Backoff { initial: Duration::from_millis(random.u64(1..60)), max: Duration::from_millis(300) };
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
                max_age: Duration::from_secs(random.u64(1..20)),
                backoff,
                request_timeout,
            },
            seed: random.u64(..),
            ..ProducerConfig::default()
        }
    }
}
