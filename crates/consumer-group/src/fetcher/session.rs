//! Fetch sessions (KIP-227): a broker remembers what it was asked, and is told only what changes.
//!
//! What the broker remembers is what its last good answer was asked with: a request whose answer is lost may or may not
//! have counted, so that it ends the session. Brokers before version 7 give no session id, and are asked in full for ever.

use std::collections::BTreeMap;

use milena_cluster::{BrokerId, Outgoing, RequestId, RequestIds, Target, TopicPartition};
use milena_protocol::{
    ErrorCode,
    messages::{
        FetchRequest,
        fetch::{FetchPartition, FetchTopic, ForgottenTopic},
    },
    wire::Uuid,
};

use super::Wanted;
use crate::config::ConsumerConfig;

/// The epoch of a request that begins a session.
const BEGIN: i32 = 0;
/// The epoch of a request that ends one.
const END: i32 = -1;

/// What a broker is known to remember.
#[derive(Debug, Default)]
pub(super) enum Session {
    /// Nothing.
    #[default]
    None,
    /// Something that does not hold any more: it is to forget this id.
    Void(i32),
    /// What it was asked, as far as it was confirmed.
    Open { id: i32, epoch: i32, by_id: bool, partitions: BTreeMap<TopicPartition, Wanted> },
}

/// The part of a request that depends on the session.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: i32,
    pub(super) epoch: i32,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
}

impl Part {
    /// True when the broker is told everything.
    pub(super) fn is_full(&self) -> bool {
        self.epoch == BEGIN
    }
}

impl Session {
    /// What has to be said so that the broker reads `wanted`, the first of them first where it has no order yet.
    pub(super) fn ask(&self, wanted: &[(TopicPartition, Wanted)], by_id: bool) -> Part {
        let all = || wanted.iter().map(|(partition, wanted)| (partition, wanted));
        match self {
            Self::None => Part { id: 0, epoch: BEGIN, topics: topics(all()), forgotten: Vec::new() },
            Self::Void(id) => Part { id: *id, epoch: BEGIN, topics: topics(all()), forgotten: Vec::new() },
            // A session has names or ids, never both.
            Self::Open { id, by_id: was_by_id, .. } if *was_by_id != by_id => {
                Part { id: *id, epoch: BEGIN, topics: topics(all()), forgotten: Vec::new() }
            }
            Self::Open { id, epoch, partitions, .. } => {
                let changed = all().filter(|(partition, wanted)| {
                    partitions.get(*partition).is_none_or(|known| !known.reads_as(wanted))
                });
                let wanted: BTreeMap<_, _> = all().collect();
                let gone = partitions.iter().filter(|(partition, known)| {
                    wanted.get(partition).is_none_or(|wanted| wanted.topic_id != known.topic_id)
                });
                Part { id: *id, epoch: *epoch, topics: topics(changed), forgotten: forgotten(gone) }
            }
        }
    }

    /// A good answer, to a request for `partitions`, came with the session `id`; `is_whole` if it told of what it should.
    pub(super) fn confirm(
        &mut self,
        id: i32,
        is_whole: bool,
        was_full: bool,
        by_id: bool,
        partitions: BTreeMap<TopicPartition, Wanted>,
    ) {
        let epoch = match self {
            _ if was_full => Some(1),
            Self::Open { id: known, epoch, .. } if *known == id => Some(epoch.checked_add(1).unwrap_or(1)),
            _ => None,
        };
        *self = match epoch {
            _ if id == 0 => Self::None,
            Some(epoch) if is_whole => Self::Open { id, epoch, by_id, partitions },
            _ => Self::Void(id),
        };
    }

    /// The broker answers with an error, or not at all.
    pub(super) fn fail(&mut self, code: Option<ErrorCode>) {
        *self = match (&*self, code) {
            (_, Some(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)) | (Self::None, _) => Self::None,
            (Self::Void(id) | Self::Open { id, .. }, _) => Self::Void(*id),
        };
    }

    /// The request that makes the broker forget the session, if there is one.
    pub(super) fn close(
        self,
        broker: BrokerId,
        ids: &mut RequestIds,
        config: &ConsumerConfig,
    ) -> Option<(RequestId, Outgoing)> {
        let (Self::Void(session_id) | Self::Open { id: session_id, .. }) = self else { return None };
        let request = FetchRequest {
            max_bytes: config.fetch_max_bytes,
            isolation_level: config.isolation_level.wire(),
            session_id,
            session_epoch: END,
            ..Default::default()
        };
        let id = ids.allocate();
        Some((id, Outgoing::new(id, Target::Broker(broker), request, config.request_timeout)))
    }
}

impl Wanted {
    /// True when a broker would do the same for both.
    fn reads_as(&self, other: &Self) -> bool {
        let asked = |wanted: &Self| (wanted.topic_id, wanted.offset, wanted.leader_epoch, wanted.max_bytes);
        asked(self) == asked(other)
    }
}

fn topics<'a>(partitions: impl Iterator<Item = (&'a TopicPartition, &'a Wanted)>) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (partition, wanted) in partitions {
        let asked = FetchPartition {
            partition: partition.partition,
            current_leader_epoch: wanted.leader_epoch,
            fetch_offset: wanted.offset,
            partition_max_bytes: wanted.max_bytes,
            ..Default::default()
        };
        // Neighbours of one topic share an entry; the order is what counts.
        match topics.last_mut() {
            Some(last) if last.topic == partition.topic => last.partitions.push(asked),
            _ => topics.push(FetchTopic {
                topic: partition.topic.clone(),
                topic_id: wanted.topic_id,
                partitions: vec![asked],
                ..Default::default()
            }),
        }
    }
    topics
}

fn forgotten<'a>(partitions: impl Iterator<Item = (&'a TopicPartition, &'a Wanted)>) -> Vec<ForgottenTopic> {
    let mut topics: BTreeMap<(_, Uuid), Vec<i32>> = BTreeMap::new();
    for (partition, known) in partitions {
        topics.entry((partition.topic.clone(), known.topic_id)).or_default().push(partition.partition);
    }
    let topic = |((topic, topic_id), partitions): ((_, Uuid), Vec<i32>)| ForgottenTopic {
        topic,
        topic_id,
        partitions: partitions.into(),
        ..Default::default()
    };
    topics.into_iter().map(topic).collect()
}
