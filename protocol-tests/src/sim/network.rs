//! The network between producers and brokers: connections that keep their order, delay, break and lie.
//!
//! It does what `milena-connection` does, without sockets: versions are asked for on connecting, requests are
//! pipelined, the oldest one that waits too long ends the connection. What it tells a machine is true: `NotSent` only
//! for a request of which no broker will ever see a byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use milena_cluster::{Failure, FailureKind, Outgoing, RequestId, Target, shape};
use milena_embedded_broker::core::{BrokerId, Cluster, ConnectionId};
use milena_protocol::{
    ApiKey, ErrorCode,
    frame::{LENGTH_PREFIX, correlation_id, decode_response, encode_request, frame_len},
    messages::{ApiVersionsRequest, Request, Response},
};

use super::{
    plan::NetworkPlan,
    timeline::{Event, Timeline},
    wiretap,
};

/// The version every broker of the simulation answers ApiVersions in.
const API_VERSIONS: i16 = 3;
const LARGEST_FRAME: usize = 1 << 20;

/// An answer to a machine.
pub(super) type Answered = (usize, RequestId, Result<Response, Failure>);

#[derive(Debug)]
pub(super) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    current: BTreeMap<(usize, BrokerId), ConnectionId>,
    /// Connections that carry nothing to the broker any more.
    severed: BTreeSet<ConnectionId>,
    made: u64,
    lives: BTreeMap<BrokerId, u32>,
    plan: NetworkPlan,
    healed: bool,
    random: fastrand::Rng,
    pub(super) counts: Counts,
}

/// What the network has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were sent.
    pub requests: u64,
    /// Connections that broke, messages that were held up, replies that were altered.
    pub faults: u64,
    /// Requests that reached a broker after the client had given up on them.
    pub late: u64,
}

#[derive(Debug)]
struct Connection {
    producer: usize,
    broker: BrokerId,
    versions: Option<BTreeMap<ApiKey, (i16, i16)>>,
    /// Requests that wait for the versions.
    queued: Vec<Outgoing>,
    outstanding: VecDeque<Outstanding>,
    next_correlation: i32,
    /// When the last message each way arrives: the next one does not overtake it.
    last_arrival: u64,
    last_reply: u64,
}

#[derive(Debug)]
struct Outstanding {
    /// `None` for the connection's own request for versions.
    id: Option<RequestId>,
    api: ApiKey,
    version: i16,
    correlation: i32,
}

impl Network {
    pub(super) fn new(plan: NetworkPlan, random: fastrand::Rng) -> Self {
        Self {
            connections: BTreeMap::new(),
            current: BTreeMap::new(),
            severed: BTreeSet::new(),
            made: 0,
            lives: BTreeMap::new(),
            plan,
            healed: false,
            random,
            counts: Counts::default(),
        }
    }

    /// From here on nothing breaks. What is broken already stays so.
    pub(super) fn heal(&mut self) {
        self.healed = true;
    }

    /// Sends a request, or answers it with a failure by and by.
    pub(super) fn send(
        &mut self,
        timeline: &mut Timeline,
        cluster: &Cluster,
        producer: usize,
        outgoing: Outgoing,
    ) {
        let broker = self.target(cluster, producer, outgoing.target);
        let current = self.current.get(&(producer, broker)).copied();
        let Some(id) = current.or_else(|| self.connect(timeline, cluster, producer, broker)) else {
            timeline.note(format_args!("p{producer} can't connect to {broker}"));
            let failure = Failure::new(FailureKind::NotSent, format!("broker {broker} refuses connections"));
            let at = timeline.micros() + self.latency();
            return timeline.schedule(at, Event::Unsent { producer, id: outgoing.id, failure });
        };
        match self.connections.get_mut(&id) {
            Some(connection) if connection.versions.is_none() => connection.queued.push(outgoing),
            _ => self.write(timeline, id, outgoing),
        }
    }

    fn target(&mut self, cluster: &Cluster, producer: usize, target: Target) -> BrokerId {
        match target {
            Target::Broker(broker) | Target::Coordinator(broker) => BrokerId(broker.0),
            Target::AnyBroker => {
                let connected = self.current.keys().filter(|(owner, _)| *owner == producer);
                let connected: Vec<_> = connected.map(|(_, broker)| *broker).collect();
                let known = if connected.is_empty() { cluster.brokers().collect() } else { connected };
                self.random.choice(known).unwrap_or(BrokerId(1))
            }
        }
    }

    fn connect(
        &mut self,
        timeline: &mut Timeline,
        cluster: &Cluster,
        producer: usize,
        broker: BrokerId,
    ) -> Option<ConnectionId> {
        if !cluster.is_up(broker) || self.happens(self.plan.refuse) {
            return None;
        }
        self.made += 1;
        let id = ConnectionId(self.made);
        timeline.note(format_args!("p{producer} connects to {broker} (c{})", id.0));
        let connection = Connection {
            producer,
            broker,
            versions: None,
            queued: Vec::new(),
            outstanding: VecDeque::new(),
            next_correlation: 0,
            last_arrival: timeline.micros(),
            last_reply: timeline.micros(),
        };
        self.connections.insert(id, connection);
        self.current.insert((producer, broker), id);
        let request = Request::from(ApiVersionsRequest {
            client_software_name: "milena".into(),
            client_software_version: "1".into(),
            ..Default::default()
        });
        self.put_on_wire(timeline, id, None, &request, API_VERSIONS, 1_000_000);
        Some(id)
    }

    /// Words a request as the broker understands it and sends it.
    fn write(&mut self, timeline: &mut Timeline, id: ConnectionId, outgoing: Outgoing) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (producer, api) = (connection.producer, outgoing.api());
        let theirs = connection.versions.as_ref().and_then(|versions| versions.get(&api));
        let ours = api.stable_versions();
        let version = theirs.and_then(|(first, last)| {
            let version = (*last).min(*ours.end()).min(outgoing.max_version);
            (version >= *first.max(ours.start())).then_some(version)
        });
        let Some(version) = version else {
            let failure = Failure::new(FailureKind::Unsupported, format!("no common version of {api}"));
            let event = Event::Unsent { producer, id: outgoing.id, failure };
            return timeline.schedule(timeline.micros(), event);
        };
        let timeout = u64::try_from(outgoing.timeout.as_micros()).unwrap_or(u64::MAX);
        let request = shape::to_version(outgoing.request, version);
        self.put_on_wire(timeline, id, Some(outgoing.id), &request, version, timeout);
    }

    fn put_on_wire(
        &mut self,
        timeline: &mut Timeline,
        id: ConnectionId,
        request_id: Option<RequestId>,
        request: &Request,
        version: i16,
        timeout: u64,
    ) {
        let delay = self.delay();
        let (cut_before, cut_late) = (self.happens(self.plan.cut_before), self.happens(self.plan.cut_late));
        let notices = timeline.micros() + self.latency();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (producer, broker, api) = (connection.producer, connection.broker, request.api_key());
        let correlation = connection.next_correlation;
        connection.next_correlation += 1;
        connection.outstanding.push_back(Outstanding { id: request_id, api, version, correlation });
        let frame = match encode_request(request, version, correlation, Some("sim".into())) {
            Ok(frame) => without_length(&frame.to_bytes()),
            Err(error) => {
                timeline.note(format_args!("p{producer} can't encode {api} {version}: {error}"));
                return timeline.schedule(timeline.micros(), Event::Closed { connection: id });
            }
        };
        self.counts.requests += 1;
        let arrives = connection.last_arrival.max(timeline.micros() + delay);
        connection.last_arrival = arrives;
        let said = wiretap::request(request, version);
        timeline.note(format_args!("p{producer} → {broker} c{} #{correlation} {said}", id.0));
        if cut_before {
            self.counts.faults += 1;
            self.severed.insert(id);
            timeline.note(format_args!("c{} breaks on the way to the broker", id.0));
            timeline.schedule(notices, Event::Closed { connection: id });
        } else if cut_late {
            self.counts.faults += 1;
            timeline.note(format_args!("c{} breaks for the client only", id.0));
            timeline.schedule(notices, Event::Closed { connection: id });
        }
        let life = self.lives.get(&broker).copied().unwrap_or_default();
        timeline.schedule(arrives, Event::Arrival { connection: id, broker, life, frame });
        let timeout = timeline.micros().saturating_add(timeout);
        timeline.schedule(timeout, Event::RequestTimeout { connection: id, correlation });
    }

    /// Whether what was sent to a broker gets there.
    pub(super) fn arrives(&mut self, connection: ConnectionId, broker: BrokerId, life: u32) -> bool {
        let alive = self.lives.get(&broker).copied().unwrap_or_default() == life;
        let arrives = alive && !self.severed.contains(&connection);
        self.counts.late += u64::from(arrives && !self.connections.contains_key(&connection));
        arrives
    }

    /// A broker stops: what is on its way there is gone, and its clients notice by and by.
    pub(super) fn broker_stops(&mut self, timeline: &mut Timeline, broker: BrokerId) {
        *self.lives.entry(broker).or_default() += 1;
        let there: Vec<_> = self.connections.iter().filter(|(_, known)| known.broker == broker).collect();
        let closed: Vec<_> = there.iter().map(|(id, known)| (**id, known.last_reply)).collect();
        for (connection, last_reply) in closed {
            let notices = last_reply.max(timeline.micros() + self.latency());
            timeline.schedule(notices, Event::Closed { connection });
        }
    }

    /// The broker replies.
    pub(super) fn carry_reply(&mut self, timeline: &mut Timeline, id: ConnectionId, frame: &Bytes) {
        let delay = self.delay();
        let cut = self.happens(self.plan.cut_after);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let arrives = connection.last_reply.max(timeline.micros() + delay);
        connection.last_reply = arrives;
        if cut {
            self.counts.faults += 1;
            self.severed.insert(id);
            timeline.note(format_args!("c{} breaks on the way back", id.0));
            return timeline.schedule(arrives, Event::Closed { connection: id });
        }
        timeline.schedule(arrives, Event::Reply { connection: id, frame: without_length(frame) });
    }

    /// The broker ends a connection.
    pub(super) fn carry_close(&mut self, timeline: &mut Timeline, id: ConnectionId) {
        let latency = self.latency();
        let Some(connection) = self.connections.get(&id) else { return };
        let arrives = connection.last_reply.max(timeline.micros() + latency);
        self.severed.insert(id);
        timeline.schedule(arrives, Event::Closed { connection: id });
    }

    /// A reply reaches the client: the answer it brings to a machine.
    pub(super) fn handle_reply(
        &mut self,
        timeline: &mut Timeline,
        id: ConnectionId,
        frame: &Bytes,
    ) -> Vec<Answered> {
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        let producer = connection.producer;
        let next = connection.outstanding.front();
        let decoded = next.and_then(|next| {
            (correlation_id(frame) == Ok(next.correlation))
                .then(|| decode_response(next.api, next.version, frame).ok())
                .flatten()
                .map(|response| (next.id, next.correlation, shape::from_version(response, next.version)))
        });
        let Some((request, correlation, response)) = decoded else {
            return self.cut(timeline, id, "a reply that can't be read");
        };
        connection.outstanding.pop_front();
        let said = wiretap::response(&response);
        timeline.note(format_args!("p{producer} ← c{} #{correlation} {said}", id.0));
        let Some(request) = request else {
            if let Response::ApiVersions(answer) = &response {
                let ranges = answer.api_keys.iter().filter_map(|range| {
                    Some((ApiKey::from_code(range.api_key)?, (range.min_version, range.max_version)))
                });
                connection.versions = Some(ranges.collect());
            }
            let queued = std::mem::take(&mut connection.queued);
            queued.into_iter().for_each(|outgoing| self.write(timeline, id, outgoing));
            return Vec::new();
        };
        vec![(producer, request, Ok(self.garbled(timeline, response)))]
    }

    /// A request has waited long enough.
    pub(super) fn handle_timeout(
        &mut self,
        timeline: &mut Timeline,
        id: ConnectionId,
        correlation: i32,
    ) -> Vec<Answered> {
        let waits = self.connections.get(&id).is_some_and(|connection| {
            connection.outstanding.iter().any(|request| request.correlation == correlation)
        });
        if waits { self.cut(timeline, id, "no answer in time") } else { Vec::new() }
    }

    /// The client's end of a connection is gone: the failures of what was sent or queued there.
    pub(super) fn cut(&mut self, timeline: &mut Timeline, id: ConnectionId, cause: &str) -> Vec<Answered> {
        let Some(connection) = self.connections.remove(&id) else { return Vec::new() };
        let Connection { producer, broker, queued, outstanding, last_arrival, .. } = connection;
        if self.current.get(&(producer, broker)) == Some(&id) {
            self.current.remove(&(producer, broker));
        }
        timeline.note(format_args!("p{producer} loses c{}: {cause}", id.0));
        // A broker still reads what came before the end of the stream.
        timeline.schedule(last_arrival, Event::Disconnect { connection: id });
        let unanswered = outstanding.into_iter().filter_map(|request| {
            let failure = Failure::new(FailureKind::Unanswered, format!("broker {broker}: {cause}"));
            Some((producer, request.id?, Err(failure)))
        });
        let unsent = queued.into_iter().map(|outgoing| {
            let failure = Failure::new(FailureKind::NotSent, format!("broker {broker}: {cause}"));
            (producer, outgoing.id, Err(failure))
        });
        unanswered.chain(unsent).collect()
    }

    /// A reply to a Produce request as a leader words it that has written and steps down, has too few replicas, or
    /// knows a batch again and not where it is. Some leave a partition out.
    fn garbled(&mut self, timeline: &mut Timeline, mut response: Response) -> Response {
        let Response::Produce(answer) = &mut response else { return response };
        if !self.happens(self.plan.garble) {
            return response;
        }
        let topic = self.random.choice(&mut answer.responses);
        let Some(topic) = topic else { return response };
        if self.random.u8(0..8) == 0 {
            topic.partition_responses.pop();
            timeline.note(format_args!("the reply leaves a partition out"));
        } else if let Some(partition) = self.random.choice(&mut topic.partition_responses) {
            let written = partition.error_code == ErrorCode::NONE.0;
            let choices = [
                ErrorCode::NOT_LEADER_OR_FOLLOWER,
                ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                ErrorCode::REQUEST_TIMED_OUT,
                ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
            ];
            let code = self.random.choice(choices).unwrap_or(ErrorCode::REQUEST_TIMED_OUT);
            if code == ErrorCode::DUPLICATE_SEQUENCE_NUMBER && !written {
                return response;
            }
            partition.error_code = code.0;
            partition.base_offset = -1;
            timeline.note(format_args!("the reply says {code} of partition {}", partition.index));
        }
        self.counts.faults += 1;
        response
    }

    fn latency(&mut self) -> u64 {
        let longest = if self.healed { self.plan.latency.min(2_000) } else { self.plan.latency };
        self.random.u64(longest / 10..=longest)
    }

    fn delay(&mut self) -> u64 {
        if self.happens(self.plan.stall) {
            self.counts.faults += 1;
            return self.random.u64(self.plan.longest_stall / 20..=self.plan.longest_stall);
        }
        self.latency()
    }

    fn happens(&mut self, of_a_million: u32) -> bool {
        // Drawn even when nothing can happen, so that a plan that differs in one fault differs in that one only.
        let drawn = self.random.u32(0..1_000_000);
        !self.healed && drawn < of_a_million
    }
}

/// What the receiver hands on of a frame after it has read the length.
fn without_length(frame: &Bytes) -> Bytes {
    let prefix = frame.first_chunk::<LENGTH_PREFIX>().copied().unwrap_or_default();
    let len = frame_len(prefix, LARGEST_FRAME).unwrap_or_default();
    // A wrong length leaves bytes behind or cuts some off, and the reader notices.
    frame.slice(LENGTH_PREFIX.min(frame.len())..(LENGTH_PREFIX + len).min(frame.len()))
}
