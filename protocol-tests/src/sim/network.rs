//! The network between clients and brokers: connections that keep their order, delay and break.
//!
//! It does what `milena-connection` does, without sockets: versions are asked for on connecting, requests are
//! pipelined, the oldest one that waits too long ends the connection, and a coordinator is spoken to over a connection
//! of its own. What it tells a machine is true: `NotSent` only for a request of which no broker will ever see a byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use milena_cluster::{Failure, FailureKind, Outgoing, RequestId, Target, shape};
use milena_embedded_broker::core::{BrokerId, Cluster, ConnectionId};
use milena_protocol::{
    ApiKey,
    frame::{LENGTH_PREFIX, correlation_id, decode_response, encode_request, frame_len},
    messages::{ApiVersionsRequest, Request, Response},
};

use super::{
    schedule::What,
    tamper,
    timeline::{Event, Timeline},
    weather::Weather,
    wiretap,
};

/// The version every broker of the simulation answers ApiVersions in.
const API_VERSIONS: i16 = 3;
const LARGEST_FRAME: usize = 1 << 20;
/// How long a client waits for the answer to ApiVersions, in µs.
const CONNECT_TIMEOUT: u64 = 1_000_000;

/// An answer to a machine.
pub(super) type Answered = (usize, RequestId, Result<Response, Failure>);

#[derive(Debug)]
pub(super) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    current: BTreeMap<Line, ConnectionId>,
    /// Connections that carry nothing to the broker any more.
    severed: BTreeSet<ConnectionId>,
    made: u64,
    lives: BTreeMap<BrokerId, u32>,
    pub(super) weather: Weather,
    /// Where records were changed already: twice in a row would be taken for a damaged log.
    corrupted: BTreeSet<tamper::Spot>,
    pub(super) counts: Counts,
}

/// From whom to whom, and over which of their connections.
type Line = (usize, BrokerId, Lane);

/// A client speaks to a broker over one connection, to a coordinator over another, and if it has two machines each of
/// them has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    of_second_machine: bool,
    to_coordinator: bool,
}

/// Who sends: a seat, the how-manieth process there, and whether it is the second machine of that.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    pub(super) seat: usize,
    pub(super) life: u32,
    pub(super) is_second_machine: bool,
}

/// What the network has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were sent.
    pub requests: u64,
    /// What was broken, held up, altered, stopped or moved.
    pub faults: u64,
    /// Requests that reached a broker after the client had given up on them.
    pub late: u64,
}

#[derive(Debug)]
struct Connection {
    seat: usize,
    broker: BrokerId,
    line: Line,
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
    pub(super) fn new(weather: Weather) -> Self {
        Self {
            connections: BTreeMap::new(),
            current: BTreeMap::new(),
            severed: BTreeSet::new(),
            made: 0,
            lives: BTreeMap::new(),
            weather,
            corrupted: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Sends a request, or answers it with a failure by and by.
    pub(super) fn send(
        &mut self,
        timeline: &mut Timeline,
        cluster: &Cluster,
        from: From,
        outgoing: Outgoing,
    ) {
        let From { seat, life, .. } = from;
        let line = self.line(cluster, from, outgoing.target);
        let current = self.current.get(&line).copied();
        let Some(id) = current.or_else(|| self.connect(timeline, cluster, line)) else {
            let broker = line.1;
            timeline.note(format_args!("s{seat} can't connect to {broker}"));
            let failure = Failure::new(FailureKind::NotSent, format!("broker {broker} refuses connections"));
            let at = timeline.micros() + self.weather.latency(seat);
            return timeline.schedule(at, Event::Unsent { seat, life, id: outgoing.id, failure });
        };
        match self.connections.get_mut(&id) {
            Some(connection) if connection.versions.is_none() => connection.queued.push(outgoing),
            _ => self.write(timeline, id, life, outgoing),
        }
    }

    fn line(&mut self, cluster: &Cluster, from: From, target: Target) -> Line {
        let From { seat, is_second_machine, .. } = from;
        let lane = |to_coordinator| Lane { of_second_machine: is_second_machine, to_coordinator };
        match target {
            Target::Broker(broker) => (seat, BrokerId(broker.0), lane(false)),
            Target::Coordinator(broker) => (seat, BrokerId(broker.0), lane(true)),
            Target::AnyBroker => {
                let connected =
                    self.current.keys().filter(|(of, _, used)| *of == seat && *used == lane(false));
                let connected: Vec<_> = connected.map(|(_, broker, _)| *broker).collect();
                let known = if connected.is_empty() { cluster.brokers().collect() } else { connected };
                let at = self.weather.choice(seat, known.len());
                (seat, known.get(at).copied().unwrap_or(BrokerId(1)), lane(false))
            }
        }
    }

    fn connect(&mut self, timeline: &mut Timeline, cluster: &Cluster, line: Line) -> Option<ConnectionId> {
        let (seat, broker, _) = line;
        if !cluster.is_up(broker) || self.weather.is_unreachable(seat, timeline.micros()) {
            return None;
        }
        self.made += 1;
        let id = ConnectionId(self.made);
        timeline.note(format_args!("s{seat} connects to {broker} (c{})", id.0));
        let connection = Connection {
            seat,
            broker,
            line,
            versions: None,
            queued: Vec::new(),
            outstanding: VecDeque::new(),
            next_correlation: 0,
            last_arrival: timeline.micros(),
            last_reply: timeline.micros(),
        };
        self.connections.insert(id, connection);
        self.current.insert(line, id);
        let request = Request::from(ApiVersionsRequest {
            client_software_name: "milena".into(),
            client_software_version: "1".into(),
            ..Default::default()
        });
        self.put_on_wire(timeline, id, None, &request, API_VERSIONS, CONNECT_TIMEOUT);
        Some(id)
    }

    /// Words a request as the broker understands it and sends it.
    fn write(&mut self, timeline: &mut Timeline, id: ConnectionId, life: u32, outgoing: Outgoing) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (seat, api) = (connection.seat, outgoing.api());
        let theirs = connection.versions.as_ref().and_then(|versions| versions.get(&api));
        let ours = api.stable_versions();
        let version = theirs.and_then(|(first, last)| {
            let version = (*last).min(*ours.end()).min(outgoing.max_version);
            (version >= *first.max(ours.start()) && version >= outgoing.min_version).then_some(version)
        });
        let Some(version) = version else {
            let failure = Failure::new(FailureKind::Unsupported, format!("no common version of {api}"));
            let event = Event::Unsent { seat, life, id: outgoing.id, failure };
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
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (seat, broker, api) = (connection.seat, connection.broker, request.api_key());
        let correlation = connection.next_correlation;
        connection.next_correlation += 1;
        connection.outstanding.push_back(Outstanding { id: request_id, api, version, correlation });
        let frame = match encode_request(request, version, correlation, Some("sim".into())) {
            Ok(frame) => without_length(&frame.to_bytes()),
            Err(error) => {
                timeline.note(format_args!("s{seat} can't encode {api} {version}: {error}"));
                return timeline.schedule(timeline.micros(), Event::Closed { connection: id });
            }
        };
        self.counts.requests += 1;
        wiretap::request(timeline, (seat, broker, id, correlation), request, version);
        let now = timeline.micros();
        let mut arrives = now + self.weather.latency(seat);
        let notices = now + self.weather.latency(seat);
        match self.weather.meets_request(seat) {
            Some(What::HoldRequest { micros, .. }) => arrives += micros,
            Some(What::CutBefore { .. }) => {
                self.severed.insert(id);
                timeline.note(format_args!("c{} breaks on the way to the broker", id.0));
                timeline.schedule(notices, Event::Closed { connection: id });
            }
            Some(_) => {
                timeline.note(format_args!("c{} breaks for the client only", id.0));
                timeline.schedule(notices, Event::Closed { connection: id });
            }
            None => {}
        }
        let arrives = self.weather.gets_through(seat, broker, arrives.max(connection.last_arrival));
        connection.last_arrival = arrives;
        let life = self.lives.get(&broker).copied().unwrap_or_default();
        timeline.schedule(arrives, Event::Arrival { connection: id, broker, life, frame });
        let timeout = now.saturating_add(timeout);
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
        let closed: Vec<_> = there.iter().map(|(id, known)| (**id, known.seat, known.last_reply)).collect();
        for (connection, seat, last_reply) in closed {
            let notices = last_reply.max(timeline.micros() + self.weather.latency(seat));
            timeline.schedule(notices, Event::Closed { connection });
        }
    }

    /// The broker replies.
    pub(super) fn carry_reply(&mut self, timeline: &mut Timeline, id: ConnectionId, frame: &Bytes) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let seat = connection.seat;
        let arrives = timeline.micros() + self.weather.latency(seat);
        let fault = self.weather.meets_reply(seat);
        let held = if let Some(What::HoldReply { micros, .. }) = fault { micros } else { 0 };
        let arrives = connection.last_reply.max(arrives + held);
        let arrives = self.weather.gets_through(seat, connection.broker, arrives);
        connection.last_reply = arrives;
        if matches!(fault, Some(What::CutAfter { .. })) {
            self.severed.insert(id);
            timeline.note(format_args!("c{} breaks on the way back", id.0));
            return timeline.schedule(arrives, Event::Closed { connection: id });
        }
        timeline.schedule(arrives, Event::Reply { connection: id, frame: without_length(frame) });
    }

    /// The broker ends a connection.
    pub(super) fn carry_close(&mut self, timeline: &mut Timeline, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let latency = self.weather.latency(connection.seat);
        let arrives = connection.last_reply.max(timeline.micros() + latency);
        self.severed.insert(id);
        timeline.schedule(arrives, Event::Closed { connection: id });
    }

    /// A client has died: its connections end, and nobody hears of it but the brokers.
    pub(super) fn forget(&mut self, timeline: &mut Timeline, seat: usize) {
        let its = self.connections.iter().filter(|(_, connection)| connection.seat == seat);
        for id in its.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.cut(timeline, id, "it died");
        }
    }

    /// A reply reaches the client: the answer it brings to a machine. `life` is the client's.
    pub(super) fn handle_reply(
        &mut self,
        timeline: &mut Timeline,
        id: ConnectionId,
        life: u32,
        frame: &Bytes,
    ) -> Vec<Answered> {
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        let seat = connection.seat;
        let next = connection.outstanding.front();
        let decoded = next.and_then(|next| {
            (correlation_id(frame) == Ok(next.correlation))
                .then(|| decode_response(next.api, next.version, frame).ok())
                .flatten()
                .map(|response| (next.id, next.correlation, shape::from_version(response, next.version)))
        });
        let Some((request, correlation, mut response)) = decoded else {
            return self.cut(timeline, id, "a reply that can't be read");
        };
        connection.outstanding.pop_front();
        wiretap::response(timeline, (seat, connection.broker, id, correlation), &response);
        let Some(request) = request else {
            if let Response::ApiVersions(answer) = &response {
                let ranges = answer.api_keys.iter().filter_map(|range| {
                    Some((ApiKey::from_code(range.api_key)?, (range.min_version, range.max_version)))
                });
                connection.versions = Some(ranges.collect());
            }
            let queued = std::mem::take(&mut connection.queued);
            queued.into_iter().for_each(|outgoing| self.write(timeline, id, life, outgoing));
            return Vec::new();
        };
        tamper::tamper(timeline, &mut self.weather, &mut self.corrupted, seat, &mut response);
        vec![(seat, request, Ok(response))]
    }

    /// Whose connection it is.
    pub(super) fn owner(&self, id: ConnectionId) -> Option<usize> {
        self.connections.get(&id).map(|connection| connection.seat)
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
        let Connection { seat, broker, line, queued, outstanding, last_arrival, .. } = connection;
        if self.current.get(&line) == Some(&id) {
            self.current.remove(&line);
        }
        timeline.note(format_args!("s{seat} loses c{}: {cause}", id.0));
        // A broker still reads what came before the end of the stream.
        timeline.schedule(last_arrival, Event::Disconnect { connection: id });
        let unanswered = outstanding.into_iter().filter_map(|request| {
            let failure = Failure::new(FailureKind::Unanswered, format!("broker {broker}: {cause}"));
            Some((seat, request.id?, Err(failure)))
        });
        let unsent = queued.into_iter().map(|outgoing| {
            let failure = Failure::new(FailureKind::NotSent, format!("broker {broker}: {cause}"));
            (seat, outgoing.id, Err(failure))
        });
        unanswered.chain(unsent).collect()
    }
}

/// What the receiver hands on of a frame after it has read the length.
fn without_length(frame: &Bytes) -> Bytes {
    let prefix = frame.first_chunk::<LENGTH_PREFIX>().copied().unwrap_or_default();
    let len = frame_len(prefix, LARGEST_FRAME).unwrap_or_default();
    // A wrong length leaves bytes behind or cuts some off, and the reader notices.
    frame.slice(LENGTH_PREFIX.min(frame.len())..(LENGTH_PREFIX + len).min(frame.len()))
}
