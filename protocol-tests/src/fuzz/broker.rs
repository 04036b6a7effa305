//! The embedded broker as a server whose clients lie.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_embedded_broker::core::{BrokerId, Cluster, ClusterConfig, ConnectionId, Output, Quota};
use milena_protocol::{
    ApiKey,
    frame::{LENGTH_PREFIX, decode_response, frame_len},
    messages::RequestHeader,
    wire::{Encode, Writer},
};

use super::{
    lab::{self, BROKERS},
    script::Script,
};

/// The topic that can be compacted.
const COMPACTED: &str = "notes";
/// Connections that a script talks over.
const CONNECTIONS: u8 = 4;
/// More replies than this to one frame are an endless loop.
const MOST_REPLIES: usize = 2_000;
const LONGEST_REPLY: usize = 100 << 20;

/// A request in a script: [`Step::Request`], the API, the version, the length, the body.
pub(super) const REQUEST: u8 = 0;

pub(super) fn broker(input: &[u8]) {
    let now = Instant::now();
    let replication_interval = Duration::from_millis(3);
    let config = ClusterConfig { auto_create_topics: true, replication_interval, ..Default::default() };
    let mut cluster = lab::cluster(now, config);
    cluster.create_topic_with(COMPACTED, 1, &[("cleanup.policy", "compact")]).unwrap();
    let mut server = Server { cluster, now, asked: BTreeMap::new() };
    let mut script = Script::new(input);
    while !script.has_ended() {
        server.step(&mut script);
        server.answer();
    }
    // What was parked ends by itself.
    for _ in 0..1000 {
        let Some(deadline) = server.cluster.poll_timeout() else { return };
        server.pass(deadline.at.saturating_duration_since(server.now));
        server.answer();
    }
}

struct Server {
    cluster: Cluster,
    now: Instant,
    /// What was asked last on each connection, when it was a request at all.
    asked: BTreeMap<ConnectionId, (ApiKey, i16)>,
}

impl Server {
    fn step(&mut self, script: &mut Script<'_>) {
        let what = script.byte();
        let connection = ConnectionId(u64::from((what >> 4) % CONNECTIONS));
        match what & 0xf {
            REQUEST..=9 => {
                let (key, version, len) = (script.byte(), script.byte(), script.short());
                let body = script.take(len.into());
                self.request(connection, key.into(), version.cast_signed().into(), body);
            }
            10 => {
                let len = script.short();
                if !self.cluster.is_muted(connection) {
                    self.asked.remove(&connection);
                }
                self.frame(connection, Bytes::copy_from_slice(script.take(len.into())));
            }
            11 => {
                self.cluster.handle_disconnect(self.now, connection);
                self.asked.remove(&connection);
            }
            12 => {
                let broker = BrokerId(i32::from(script.byte()) % i32::from(BROKERS) + 1);
                self.cluster.stop_broker(self.now, broker);
                self.answer();
                self.cluster.start_broker(broker);
            }
            13 => self.accident(script),
            _ => self.pass(Duration::from_millis(script.short().into())),
        }
    }

    /// What happens to a cluster from outside.
    fn accident(&mut self, script: &mut Script<'_>) {
        let what = script.byte();
        let (topic, _) = lab::TOPICS[usize::from(what >> 4) % lab::TOPICS.len()];
        match what & 3 {
            0 => {
                let left = self.cluster.offsets(topic, 0).map_or(0, |offsets| offsets.end);
                let offset = left - i64::from(script.byte());
                self.cluster.truncate(self.now, topic, 0, offset).unwrap();
                assert!(self.cluster.offsets(topic, 0).unwrap().end <= left);
            }
            1 => {
                self.cluster.compact(self.now, COMPACTED, 0).unwrap();
            }
            2 => {
                let broker = BrokerId(i32::from(script.byte()) % i32::from(BROKERS) + 1);
                self.cluster.kill_broker(self.now, broker);
                self.answer();
                self.cluster.start_broker(broker);
            }
            _ => {
                let rate = (what & 4 == 0).then_some(u64::from(script.short()));
                let quota = Quota {
                    produce_bytes_per_second: rate,
                    fetch_bytes_per_second: rate,
                    requests_per_second: rate,
                };
                self.cluster.set_quota(None, quota);
            }
        }
    }

    fn request(&mut self, connection: ConnectionId, key: i16, version: i16, body: &[u8]) {
        let mut writer = Writer::new();
        let api = ApiKey::from_code(key);
        let header_version = api.map_or(1, |api| api.request_header_version(version));
        let header = RequestHeader {
            request_api_key: key,
            request_api_version: version,
            correlation_id: 7,
            ..RequestHeader::default()
        };
        header.encode(&mut writer, header_version).unwrap();
        let mut frame = writer.finish().to_bytes().to_vec();
        frame.extend_from_slice(body);
        if let Some(api) = api
            && !self.cluster.is_muted(connection)
        {
            self.asked.insert(connection, (api, version));
        }
        self.frame(connection, frame.into());
    }

    fn frame(&mut self, connection: ConnectionId, frame: Bytes) {
        let broker = BrokerId((connection.0 as i32) % i32::from(BROKERS) + 1);
        self.cluster.handle_frame(self.now, broker, connection, frame);
    }

    /// Every answer is a frame of the length it says; one to a request that was read is a response.
    fn answer(&mut self) {
        for _ in 0..MOST_REPLIES {
            let Some(reply) = self.cluster.poll_reply() else { return };
            let Output::Frame(frame) = reply.output else {
                self.cluster.handle_disconnect(self.now, reply.connection);
                self.asked.remove(&reply.connection);
                continue;
            };
            let bytes = frame.to_bytes();
            let len = frame_len(*bytes.first_chunk().unwrap(), LONGEST_REPLY).unwrap();
            assert_eq!(len, bytes.len() - LENGTH_PREFIX, "a reply with a wrong length");
            // A version that the broker lacks is answered in the first one.
            if let Some((api, version)) = self.asked.remove(&reply.connection)
                && api.stable_versions().contains(&version)
            {
                let read = decode_response(api, version, &bytes.slice(LENGTH_PREFIX..));
                assert!(read.is_ok(), "{read:?} is the answer to {api} version {version}");
            }
        }
        panic!("the broker answers without end");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.cluster.handle_timeout(self.now);
    }
}
