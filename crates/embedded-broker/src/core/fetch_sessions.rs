//! Fetch sessions (KIP-227): what a client asked for before, so that it need only say what changed and is only told what
//! changed.
//!
//! Imitates Kafka 4.3.1's cache: a whole request starts a session, or ends one with epoch -1; the epochs of a session
//! count up and start again at 1; partitions that brought records go to the end of the order, so that none starves; a
//! full cache makes room only by dropping a session that was idle for two minutes, and else answers without one.
//!
//! Leaves out: the privilege of followers in the cache.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use milena_protocol::{
    ErrorCode,
    messages::{
        FetchRequest, FetchResponse,
        fetch::{FetchPartition, FetchTopic, FetchableTopicResponse, PartitionData},
    },
    wire::{ByteString, Listed, Uuid},
};

use super::{BrokerId, detach::Detach, dispatch::Context};

/// `min.incremental.fetch.session.eviction.ms`.
const EVICTION: Duration = Duration::from_mins(2);

/// Partitions of one session. A client can name partitions that are not there, as often as it likes.
const MAX_PARTITIONS: usize = 100_000;

const FIRST_EPOCH: i32 = 0;
const LAST_EPOCH: i32 = -1;

#[derive(Debug, Default)]
pub(super) struct FetchSessions {
    sessions: BTreeMap<i32, Session>,
    last_id: i32,
}

#[derive(Debug)]
struct Session {
    broker: BrokerId,
    by_id: bool,
    /// The epoch that the next request must have.
    epoch: i32,
    last_used: Instant,
    /// In the order in which they are served.
    partitions: BTreeMap<u64, Cached>,
    places: BTreeMap<Key, u64>,
    next_place: u64,
}

/// A partition by its topic's name or id, whichever the requests have.
type Key = (ByteString, Uuid, i32);

#[derive(Debug)]
struct Cached {
    key: Key,
    wanted: FetchPartition,
    /// What the client was told; `None` if it must be told in any case.
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    log_start_offset: i64,
}

/// What a fetch has to do with sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is whole, and so is its answer.
    Sessionless,
    /// It is whole, and the answer begins a session.
    Start,
    /// It belongs to this session.
    Continue(i32),
}

impl FetchSessions {
    /// Puts everything that the request is about into it, whether it says so or its session does.
    pub(super) fn begin(&mut self, cx: &Context, request: &mut FetchRequest) -> Result<Mode, ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch == FIRST_EPOCH || epoch == LAST_EPOCH {
            self.sessions.remove(&id);
            return Ok(if epoch == FIRST_EPOCH && cx.version >= 7 { Mode::Start } else { Mode::Sessionless });
        }
        let session = self.sessions.get_mut(&id).filter(|session| session.broker == cx.broker);
        let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != (cx.version >= 13) {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.epoch = epoch.checked_add(1).unwrap_or(1);
        session.last_used = cx.now;
        session.update(request);
        request.topics = session.topics();
        match session.partitions.len() {
            0 => {
                self.sessions.remove(&id);
                Ok(Mode::Sessionless)
            }
            1..=MAX_PARTITIONS => Ok(Mode::Continue(id)),
            _ => {
                self.sessions.remove(&id);
                Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)
            }
        }
    }

    /// Makes the answer to the whole of `request` the one that its session calls for.
    pub(super) fn answer(
        &mut self,
        cx: &Answering,
        mode: Mode,
        request: &FetchRequest,
        response: &mut FetchResponse,
    ) {
        match mode {
            Mode::Sessionless => {}
            Mode::Start => response.session_id = self.start(cx, request, response).unwrap_or(0),
            Mode::Continue(id) => match self.sessions.get_mut(&id) {
                Some(session) => {
                    response.session_id = id;
                    session.filter(response);
                }
                // Another connection has ended it meanwhile.
                None => {
                    *response = FetchResponse {
                        error_code: ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0,
                        ..FetchResponse::default()
                    };
                }
            },
        }
    }

    fn start(&mut self, cx: &Answering, request: &FetchRequest, response: &FetchResponse) -> Option<i32> {
        if self.sessions.len() >= cx.slots {
            let idle = |session: &Session| cx.now.saturating_duration_since(session.last_used) > EVICTION;
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
            let evicted = oldest.filter(|(_, session)| idle(session)).map(|(id, _)| *id)?;
            self.sessions.remove(&evicted);
        }
        let mut session = Session {
            broker: cx.broker,
            by_id: cx.by_id,
            epoch: FIRST_EPOCH + 1,
            last_used: cx.now,
            partitions: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        };
        session.update(request);
        if session.partitions.len() > MAX_PARTITIONS {
            return None;
        }
        for (key, data) in keyed(response) {
            session.tell(&key, &data);
        }
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.sessions.insert(self.last_id, session);
        Some(self.last_id)
    }
}

/// Who answers a fetch, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answering {
    pub(super) now: Instant,
    pub(super) broker: BrokerId,
    pub(super) by_id: bool,
    /// Sessions that there may be.
    pub(super) slots: usize,
}

impl Session {
    /// Takes over what the request adds, changes and takes back.
    fn update(&mut self, request: &FetchRequest) {
        for topic in &request.forgotten_topics_data {
            for partition in topic.partitions.iter() {
                let place = self.places.remove(&(topic.topic.clone(), topic.topic_id, partition));
                place.and_then(|place| self.partitions.remove(&place));
            }
        }
        for topic in &request.topics {
            for wanted in &topic.partitions {
                let key = (topic.topic.clone(), topic.topic_id, wanted.partition);
                match self.places.get(&key).and_then(|place| self.partitions.get_mut(place)) {
                    Some(cached) => cached.wanted = wanted.clone(),
                    None => {
                        let (topic, topic_id, partition) = key;
                        let key = (topic.detached(), topic_id, partition);
                        self.append(Cached { key, wanted: wanted.clone(), told: None });
                    }
                }
            }
        }
    }

    fn append(&mut self, cached: Cached) {
        self.places.insert(cached.key.clone(), self.next_place);
        self.partitions.insert(self.next_place, cached);
        self.next_place += 1;
    }

    /// Everything that the session is about, in order.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for Cached { key: (topic, topic_id, _), wanted, .. } in self.partitions.values() {
            match topics.last_mut() {
                Some(last) if last.topic == *topic && last.topic_id == *topic_id => {
                    last.partitions.push(wanted.clone());
                }
                _ => topics.push(FetchTopic {
                    topic: topic.clone(),
                    topic_id: *topic_id,
                    partitions: vec![wanted.clone()],
                    ..FetchTopic::default()
                }),
            }
        }
        topics
    }

    /// Leaves only what the client does not know yet.
    fn filter(&mut self, response: &mut FetchResponse) {
        let topics = std::mem::take(&mut response.responses).into_vec();
        let told = topics.into_iter().filter_map(|topic| {
            let FetchableTopicResponse { topic: name, topic_id, partitions, .. } = &topic;
            let key = |data: &PartitionData| (name.clone(), *topic_id, data.partition_index);
            let partitions: Listed<_> =
                partitions.iter().filter(|data| self.tell(&key(data), data)).collect();
            (!partitions.is_empty()).then(|| FetchableTopicResponse { partitions, ..topic.clone() })
        });
        response.responses = told.collect();
    }

    /// Whether the client must be told this. It is taken as told.
    fn tell(&mut self, key: &Key, data: &PartitionData) -> bool {
        let Some(place) = self.places.get(key).copied() else { return true };
        let Some(cached) = self.partitions.get_mut(&place) else { return true };
        let news = Told { high_watermark: data.high_watermark, log_start_offset: data.log_start_offset };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let failed = data.error_code != 0;
        let diverges = data.diverging_epoch.end_offset >= 0;
        let must_tell = has_records || failed || diverges || cached.told != Some(news);
        // After an error the next answer says that it is over.
        cached.told = (!failed).then_some(news);
        if has_records && let Some(cached) = self.partitions.remove(&place) {
            self.append(cached);
        }
        must_tell
    }
}

fn keyed(response: &FetchResponse) -> impl Iterator<Item = (Key, PartitionData)> {
    response.responses.iter().flat_map(|topic| {
        let FetchableTopicResponse { topic: name, topic_id, partitions, .. } = topic;
        let key = move |data: &PartitionData| (name.clone(), topic_id, data.partition_index);
        partitions.into_vec().into_iter().map(move |data| (key(&data), data))
    })
}
