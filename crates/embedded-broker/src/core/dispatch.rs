//! The way of a request through the cluster: decoded, held against faults, carried out, answered in its turn.

use std::time::Instant;

use bytes::Bytes;
use milena_protocol::{
    ErrorCode,
    frame::{ReceivedRequest, decode_request, encode_response},
    messages::{ApiKey, Request, Response},
    wire::{ByteString, Frame},
};

use super::{
    Action, BrokerId, Cluster, ConnectionId, Output, Reply,
    connection::{Connection, MAX_WAITING, State, Then, UnderWay},
    error_reply::error_reply,
};

/// Where a request came from, and when.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) now: Instant,
    /// Milliseconds since 1970.
    pub(super) unix_ms: i64,
    pub(super) broker: BrokerId,
    pub(super) connection: ConnectionId,
    pub(super) version: i16,
    pub(super) client_id: ByteString,
}

/// What carrying out a request came to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every answer is a reply, and it lives for one call")]
pub(super) enum Answer {
    Reply(Response),
    /// The request wants none.
    Silence,
    /// It comes later, through [`Cluster::complete`].
    Parked,
    /// The connection ends: what a broker does where the protocol has no room for an error.
    Close,
}

impl<T: Into<Response>> From<T> for Answer {
    fn from(body: T) -> Self {
        Self::Reply(body.into())
    }
}

/// An encoded reply that waits for its time.
#[derive(Debug)]
pub(super) struct Delayed {
    connection: ConnectionId,
    frame: Frame,
}

impl Cluster {
    /// Takes a frame, or lets it wait for the request before it.
    pub(super) fn receive(&mut self, now: Instant, broker: BrokerId, id: ConnectionId, frame: Bytes) {
        let connection =
            self.connections.entry(id).or_insert_with(|| Connection::new(broker, self.config.sasl.as_ref()));
        if matches!(connection.state, State::Closed) {
            return;
        }
        if !self.up.contains(&broker) {
            return self.close(id);
        }
        if !connection.is_muted() && !self.paused.contains(&broker) {
            return self.process(now, broker, id, &frame);
        }
        if connection.waiting.len() == MAX_WAITING {
            return self.close(id);
        }
        connection.waiting.push_back(frame);
    }

    /// Lets everything happen that a change made possible. Ends because every turn uses up a parked request or a
    /// waiting frame.
    pub(super) fn settle(&mut self, now: Instant) {
        self.now = self.now.max(now);
        loop {
            if std::mem::take(&mut self.fetches_may_complete) {
                self.complete_fetches(now);
            }
            let Some(id) = self.unmuted.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.is_muted())
            else {
                continue;
            };
            let broker = connection.broker;
            if self.paused.contains(&broker) {
                continue;
            }
            if let Some(frame) = connection.waiting.pop_front() {
                self.process(now, broker, id, &frame);
            }
        }
    }

    /// Answers a request that was parked.
    pub(super) fn complete(&mut self, now: Instant, id: ConnectionId, response: impl Into<Response>) {
        self.answer(now, id, Answer::Reply(response.into()));
    }

    /// Ends a connection from our side.
    pub(super) fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if matches!(connection.state, State::Closed) {
            return;
        }
        connection.state = State::Closed;
        connection.waiting.clear();
        self.drop_parked(id);
        self.replies.push_back(Reply { connection: id, output: Output::Close });
    }

    /// Drops what is known of a connection.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.drop_parked(id);
    }

    fn drop_parked(&mut self, id: ConnectionId) {
        self.parked_fetches.remove(&id);
        self.parked_produces.remove(&id);
        self.parked_acks.remove(&id);
        self.quotas.forget(id);
        self.delayed.retain(|_, delayed| delayed.connection != id);
        self.held.retain(|reply| reply.connection != id);
    }

    /// Sends the delayed replies that are due.
    pub(super) fn send_delayed(&mut self, now: Instant) {
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= now
        {
            let Delayed { connection, frame } = first.remove();
            self.send(connection, frame);
        }
    }

    fn process(&mut self, now: Instant, broker: BrokerId, id: ConnectionId, frame: &Bytes) {
        if self.connections.get(&id).is_some_and(|connection| connection.auth.is_bare()) {
            return self.bare_token(now, id, frame);
        }
        let Ok(ReceivedRequest { header, api, body }) = decode_request(frame) else { return self.close(id) };
        let version = header.request_api_version;
        let under_way = UnderWay { api, version, correlation_id: header.correlation_id, then: Then::Send };
        self.set_state(id, State::Busy(under_way));
        let cx = Context {
            now,
            unix_ms: self.clock.unix_ms(now),
            broker,
            connection: id,
            version,
            client_id: header.client_id.unwrap_or_default(),
        };
        if !self.connections.get(&id).is_some_and(|connection| connection.auth.admits(now, api)) {
            return self.close(id);
        }
        self.measure(&cx, frame.len());
        let served = self.served_versions(api).is_some_and(|versions| versions.contains(&version));
        let answer = match body {
            Ok(request) if served => self.meet_faults(&cx, under_way, request),
            // A newer client asks in a version that only it knows; the answer is what every client can read (KIP-511).
            _ if api == ApiKey::ApiVersions && !served => {
                self.set_state(id, State::Busy(UnderWay { version: 0, ..under_way }));
                self.unsupported_api_versions()
            }
            _ => Answer::Close,
        };
        self.answer(now, id, answer);
    }

    fn meet_faults(&mut self, cx: &Context, under_way: UnderWay, request: Request) -> Answer {
        let then = match self.faults.meet(under_way.api, cx.broker) {
            None => Then::Send,
            Some(Action::Answer(error)) => return self.refuse(cx, request, error),
            Some(Action::Ignore) => {
                self.set_state(cx.connection, State::Mute);
                return Answer::Parked;
            }
            Some(Action::CloseBefore) => return Answer::Close,
            Some(Action::DropReply) => Then::Drop,
            Some(Action::CloseAfter) => Then::Close,
            Some(Action::CutReply(bytes)) => Then::Cut(bytes),
            Some(Action::Delay(by)) => Then::Delay(by),
        };
        self.set_state(cx.connection, State::Busy(UnderWay { then, ..under_way }));
        self.carry_out(cx, request)
    }

    fn refuse(&mut self, cx: &Context, request: Request, error: ErrorCode) -> Answer {
        match request {
            Request::Fetch(body) => self.refuse_fetch(cx, body, error),
            other => error_reply(&other, cx.version, error),
        }
    }

    fn carry_out(&mut self, cx: &Context, request: Request) -> Answer {
        match request {
            Request::Produce(body) => self.produce(cx, body),
            Request::Fetch(body) => self.fetch(cx, body),
            Request::ListOffsets(body) => self.list_offsets(cx, body),
            Request::Metadata(body) => self.metadata(cx, body),
            Request::OffsetCommit(body) => self.offset_commit(cx, body),
            Request::OffsetFetch(body) => self.offset_fetch(cx, body),
            Request::JoinGroup(body) => self.join_group(cx, body),
            Request::Heartbeat(body) => self.heartbeat(cx, &body),
            Request::LeaveGroup(body) => self.leave_group(cx, body),
            Request::SyncGroup(body) => self.sync_group(cx, body),
            Request::ConsumerGroupHeartbeat(body) => self.consumer_group_heartbeat(cx, body),
            Request::FindCoordinator(body) => self.find_coordinator(cx, body),
            Request::ApiVersions(body) => self.api_versions(cx, &body),
            Request::CreateTopics(body) => self.create_topics(cx, body),
            Request::DeleteTopics(body) => self.delete_topics(cx, body),
            Request::CreatePartitions(body) => self.create_partitions(body),
            Request::DescribeTopicPartitions(body) => self.describe_topic_partitions(body),
            Request::ListGroups(body) => self.list_groups(cx, &body),
            Request::DescribeGroups(body) => self.describe_groups(cx, body),
            Request::ConsumerGroupDescribe(body) => self.consumer_group_describe(cx, body),
            Request::DeleteGroups(body) => self.delete_groups(cx, body),
            Request::OffsetDelete(body) => self.offset_delete(cx, body),
            Request::DeleteRecords(body) => self.delete_records(cx, body),
            Request::DescribeConfigs(body) => self.describe_configs(cx, body),
            Request::AlterConfigs(body) => self.alter_configs(body),
            Request::IncrementalAlterConfigs(body) => self.incremental_alter_configs(body),
            Request::OffsetForLeaderEpoch(body) => self.offset_for_leader_epoch(cx, body),
            Request::InitProducerId(body) => self.init_producer_id(cx, &body),
            Request::AddPartitionsToTxn(body) => self.add_partitions_to_txn(cx, body),
            Request::AddOffsetsToTxn(body) => self.add_offsets_to_txn(cx, &body),
            Request::EndTxn(body) => self.end_txn(cx, &body),
            Request::WriteTxnMarkers(body) => self.write_txn_markers(cx, &body),
            Request::TxnOffsetCommit(body) => self.txn_offset_commit(cx, body),
            Request::DescribeProducers(body) => self.describe_producers(cx, body),
            Request::DescribeTransactions(body) => self.describe_transactions(cx, body),
            Request::ListTransactions(body) => self.list_transactions(cx, &body),
            Request::SaslHandshake(body) => self.sasl_handshake(cx, &body),
            Request::SaslAuthenticate(body) => self.sasl_authenticate(cx, &body),
            Request::DescribeCluster(body) => self.describe_cluster(&body),
            _ => Answer::Close,
        }
    }

    /// Answers a request, or notes that its answer comes later.
    pub(super) fn answer(&mut self, now: Instant, id: ConnectionId, answer: Answer) {
        // The client of a parked request may be gone.
        let Some(State::Busy(request)) = self.connections.get(&id).map(|connection| connection.state) else {
            if matches!(answer, Answer::Close) {
                self.close(id);
            }
            return;
        };
        let mut response = match answer {
            Answer::Parked => return,
            Answer::Close => return self.close(id),
            Answer::Silence => None,
            Answer::Reply(response) => Some(response),
        };
        let throttle = self.throttle(now, id, request.api == ApiKey::Produce, response.as_mut());
        match (request.then, response) {
            (Then::Close, _) => self.close(id),
            (Then::Drop, _) => self.set_state(id, State::Mute),
            (Then::Send | Then::Delay(_), None) => {
                self.unmute(id);
                self.mute(now, id, throttle);
            }
            // There is no answer to cut.
            (Then::SendAndClose | Then::Cut(_), None) => self.close(id),
            (then, Some(response)) => {
                let frame = match encode_response(&response, request.version, request.correlation_id) {
                    Ok(frame) => frame,
                    Err(error) => {
                        tracing::error!(api = %request.api, version = request.version, %error, "no reply");
                        return self.close(id);
                    }
                };
                match then {
                    Then::Delay(by) => {
                        self.delayed_count += 1;
                        self.delayed
                            .insert((now + by, self.delayed_count), Delayed { connection: id, frame });
                    }
                    Then::Cut(bytes) => {
                        self.send(id, frame.cut(bytes.min(frame.len().saturating_sub(1))));
                        self.close(id);
                    }
                    Then::SendAndClose => {
                        self.send(id, frame);
                        self.close(id);
                    }
                    _ => {
                        self.send(id, frame);
                        self.mute(now, id, throttle);
                    }
                }
            }
        }
    }

    fn send(&mut self, id: ConnectionId, frame: Frame) {
        let reply = Reply { connection: id, output: Output::Frame(frame) };
        if self.connections.get(&id).is_some_and(|connection| self.paused.contains(&connection.broker)) {
            self.held.push(reply);
        } else {
            self.replies.push_back(reply);
        }
        self.unmute(id);
    }

    pub(super) fn unmute(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.state = State::Idle;
            if !connection.waiting.is_empty() {
                self.unmuted.push_back(id);
            }
        }
    }

    fn set_state(&mut self, id: ConnectionId, state: State) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.state = state;
        }
    }
}
