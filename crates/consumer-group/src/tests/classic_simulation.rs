//! Several members of one group against a model of its classic coordinator, with faults from a seed, eager and
//! cooperative: no partition ever has two owners, and when the faults end every partition has one.

use std::collections::BTreeSet;

use fastrand::Rng;
use milena_protocol::messages::{
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse, join_group::JoinGroupResponseMember,
};

use super::*;
use crate::{Assignor, CommitMode, GroupProtocol};

const PARTITIONS: usize = 7;
const SEEDS: u64 = 40;
const STEPS: usize = 400;
const SESSION_MS: u64 = 45_000;
const REBALANCE_MS: u64 = 120_000;

/// Whose request, and which.
type Ticket = (u64, RequestId);

/// A coordinator that gathers all members, lets the first assign, and hands out what it says.
#[derive(Default)]
struct Coordinator {
    generation: i32,
    phase: Phase,
    members: BTreeMap<ByteString, Member>,
    issued: BTreeSet<ByteString>,
    leader: ByteString,
    /// Answers that are ready.
    ready: Vec<(Ticket, Response)>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Stable,
    Preparing {
        until: u64,
    },
    Completing,
}

struct Member {
    protocol: ByteString,
    metadata: Bytes,
    join: Option<Ticket>,
    sync: Option<Ticket>,
    assignment: Bytes,
    last_heard: u64,
}

impl Coordinator {
    fn tick(&mut self, now: u64) {
        let before = self.members.len();
        self.members.retain(|_, member| {
            member.join.is_some() || member.sync.is_some() || member.last_heard + SESSION_MS > now
        });
        if self.members.len() != before {
            self.prepare(now);
        }
        if let Phase::Preparing { until } = self.phase
            && until <= now
        {
            self.members.retain(|_, member| member.join.is_some());
        }
        self.complete(now);
    }

    fn prepare(&mut self, now: u64) {
        if !matches!(self.phase, Phase::Preparing { .. }) {
            self.phase = Phase::Preparing { until: now + REBALANCE_MS };
        }
        for member in self.members.values_mut() {
            if let Some(ticket) = member.sync.take() {
                member.last_heard = now;
                let error_code = ErrorCode::REBALANCE_IN_PROGRESS.0;
                self.ready.push((ticket, SyncGroupResponse { error_code, ..Default::default() }.into()));
            }
        }
    }

    fn complete(&mut self, now: u64) {
        let all_joined = self.members.values().all(|member| member.join.is_some());
        if !matches!(self.phase, Phase::Preparing { .. }) || !all_joined {
            return;
        }
        let Some((leader, first)) = self.members.first_key_value() else {
            self.phase = Phase::Stable;
            return;
        };
        (self.leader, self.phase) = (leader.clone(), Phase::Completing);
        self.generation += 1;
        let protocol_name = Some(first.protocol.clone());
        let told = |(id, member): (&ByteString, &Member)| JoinGroupResponseMember {
            member_id: id.clone(),
            metadata: member.metadata.clone(),
            ..Default::default()
        };
        let members: Vec<_> = self.members.iter().map(told).collect();
        for (id, member) in &mut self.members {
            member.last_heard = now;
            let response = JoinGroupResponse {
                generation_id: self.generation,
                protocol_name: protocol_name.clone(),
                leader: self.leader.clone(),
                member_id: id.clone(),
                members: if *id == self.leader { members.clone() } else { Vec::new() },
                ..Default::default()
            };
            self.ready.extend(member.join.take().map(|ticket| (ticket, response.into())));
        }
    }

    fn join(&mut self, now: u64, ticket: Ticket, request: &JoinGroupRequest) {
        let refuse = |code: ErrorCode, member_id| JoinGroupResponse {
            error_code: code.0,
            member_id,
            ..Default::default()
        };
        let id = request.member_id.clone();
        if id.is_empty() {
            let id: ByteString = format!("m{:02}", self.issued.len()).into();
            self.issued.insert(id.clone());
            return self.ready.push((ticket, refuse(ErrorCode::MEMBER_ID_REQUIRED, id).into()));
        }
        if !self.issued.contains(&id) {
            return self.ready.push((ticket, refuse(ErrorCode::UNKNOWN_MEMBER_ID, id).into()));
        }
        let protocol = &request.protocols[0];
        let member = Member {
            protocol: protocol.name.clone(),
            metadata: protocol.metadata.clone(),
            join: Some(ticket),
            sync: None,
            assignment: Bytes::new(),
            last_heard: now,
        };
        self.members.insert(id, member);
        self.prepare(now);
        self.complete(now);
    }

    fn sync(&mut self, now: u64, ticket: Ticket, request: &SyncGroupRequest) {
        let code = self.check(now, &request.member_id, request.generation_id);
        if code != ErrorCode::NONE {
            let response = SyncGroupResponse { error_code: code.0, ..Default::default() };
            return self.ready.push((ticket, response.into()));
        }
        self.members.get_mut(&request.member_id).unwrap().sync = Some(ticket);
        if request.member_id == self.leader && matches!(self.phase, Phase::Completing) {
            self.phase = Phase::Stable;
            for given in &request.assignments {
                self.members.get_mut(&given.member_id).unwrap().assignment = given.assignment.clone();
            }
        }
        if matches!(self.phase, Phase::Stable) {
            for member in self.members.values_mut() {
                let response =
                    SyncGroupResponse { assignment: member.assignment.clone(), ..Default::default() };
                self.ready.extend(member.sync.take().map(|ticket| (ticket, response.into())));
                member.last_heard = now;
            }
        }
    }

    fn check(&mut self, now: u64, id: &ByteString, generation: i32) -> ErrorCode {
        let Some(member) = self.members.get_mut(id) else { return ErrorCode::UNKNOWN_MEMBER_ID };
        if generation != self.generation {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        member.last_heard = now;
        match self.phase {
            Phase::Preparing { .. } => ErrorCode::REBALANCE_IN_PROGRESS,
            Phase::Completing | Phase::Stable => ErrorCode::NONE,
        }
    }

    fn leave(&mut self, now: u64, id: &ByteString) {
        if self.members.remove(id).is_some() {
            self.prepare(now);
            self.complete(now);
        }
    }
}

/// A consumer and its application.
struct Process {
    number: u64,
    script: Script,
    revoke_at: Option<u64>,
    silent_until: u64,
    closing: bool,
}

struct Simulation {
    coordinator: Coordinator,
    processes: Vec<Process>,
    started: u64,
    random: Rng,
    assignor: Assignor,
    ms: u64,
    seed: u64,
}

impl Simulation {
    fn new(seed: u64, assignor: Assignor) -> Self {
        let (coordinator, random) = (Coordinator::default(), Rng::with_seed(seed));
        let mut simulation =
            Self { coordinator, processes: Vec::new(), started: 0, random, assignor, ms: 0, seed };
        for _ in 0..3 {
            simulation.start();
        }
        simulation
    }

    fn start(&mut self) {
        self.started += 1;
        let config = ConsumerConfig {
            group_protocol: GroupProtocol::Classic,
            assignors: vec![self.assignor.clone()],
            max_poll_interval: Duration::from_secs(60),
            rebalance_timeout: Duration::from_millis(REBALANCE_MS),
            seed: self.seed * 1_000 + self.started,
            ..in_group()
        };
        let mut script = Script::new(config);
        script.cluster.topics.get_mut("letters").unwrap().1 = vec![(1, 5); PARTITIONS];
        script.pass_until(self.ms);
        script.subscribe();
        let number = self.started;
        self.processes.push(Process { number, script, revoke_at: None, silent_until: 0, closing: false });
    }

    fn step(&mut self) {
        let index = self.random.usize(..self.processes.len());
        match self.random.u8(..40) {
            0..=24 => self.answer(index, true),
            25..=36 => {
                let ms = self.random.u64(1..1_500);
                self.pass(ms);
            }
            37 => self.processes[index].silent_until = self.ms + self.random.u64(1_000..90_000),
            38 if self.processes.len() < 5 => self.start(),
            39 if self.processes.iter().filter(|process| !process.closing).count() > 1 => {
                let process = &mut self.processes[index];
                process.closing = true;
                process.script.consumer.close(process.script.now());
            }
            _ => {}
        }
        self.react();
    }

    /// Takes in what a process has asked. With faults some of it never arrives, and some answers are lost.
    fn answer(&mut self, index: usize, faults: bool) {
        self.processes[index].script.drain();
        while let Some(outgoing) = self.processes[index].script.pending.pop_front() {
            let (number, id, now) = (self.processes[index].number, outgoing.id, self.ms);
            if faults && self.random.u8(..12) == 0 {
                self.processes[index].script.fail(id, FailureKind::NotSent);
                continue;
            }
            let ticket = (number, id);
            let response: Response = match &outgoing.request {
                Request::JoinGroup(request) => {
                    self.coordinator.join(now, ticket, request);
                    continue;
                }
                Request::SyncGroup(request) => {
                    self.coordinator.sync(now, ticket, request);
                    continue;
                }
                Request::Heartbeat(request) => {
                    let code = self.coordinator.check(now, &request.member_id, request.generation_id);
                    HeartbeatResponse { error_code: code.0, ..Default::default() }.into()
                }
                Request::LeaveGroup(request) => {
                    self.coordinator.leave(now, &request.members[0].member_id);
                    LeaveGroupResponse::default().into()
                }
                Request::OffsetFetch(request) => {
                    let topics = request.groups[0].topics.iter().flatten();
                    let partitions =
                        topics.flat_map(|topic| topic.partition_indexes.iter().collect::<Vec<_>>());
                    committed(&partitions.map(|index| (index, 0)).collect::<Vec<_>>()).into()
                }
                Request::OffsetCommit(request) => {
                    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
                    let none = partitions.map(|partition| (partition.partition_index, ErrorCode::NONE));
                    commit_answer(&none.collect::<Vec<_>>()).into()
                }
                // Nothing is ever written: the fetch goes on waiting.
                _ => continue,
            };
            self.coordinator.ready.push((ticket, response));
        }
        for ((number, id), response) in std::mem::take(&mut self.coordinator.ready) {
            let Some(process) = self.processes.iter_mut().find(|process| process.number == number) else {
                continue;
            };
            if faults && self.random.u8(..12) == 0 {
                process.script.fail(id, FailureKind::Unanswered);
            } else {
                process.script.answer(id, response);
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        for process in &mut self.processes {
            process.script.pass_until(self.ms);
        }
        self.coordinator.tick(self.ms);
    }

    /// Applications do what they are told, sooner or later.
    fn react(&mut self) {
        for process in &mut self.processes {
            let script = &mut process.script;
            if process.silent_until <= self.ms {
                script.consumer.application_polled(script.now());
            }
            for event in script.events() {
                match event {
                    Event::RevokePending(_) => {
                        process.revoke_at = Some(self.ms + self.random.u64(0..20_000));
                        script.consumer.commit_positions(script.now(), CommitMode::Sync).unwrap();
                    }
                    Event::Failed(error) => panic!("seed {}: {error}", self.seed),
                    _ => {}
                }
            }
            if process.revoke_at.is_some_and(|at| at <= self.ms) {
                process.revoke_at = None;
                script.consumer.revoke_done(script.now());
            }
            script.drain();
        }
        self.processes.retain(|process| !process.closing || process.script.consumer.poll_timeout().is_some());
        let mut owners = BTreeMap::new();
        for process in &self.processes {
            for partition in process.script.consumer.assignment() {
                let other = owners.insert(partition.clone(), process.number);
                assert_eq!(other, None, "seed {}: {partition} has two owners at {} ms", self.seed, self.ms);
            }
        }
    }

    /// Without faults the group comes to rest.
    fn finish(&mut self) {
        for _ in 0..1_500 {
            for index in 0..self.processes.len() {
                self.answer(index, false);
            }
            self.pass(200);
            self.react();
            let owned: usize =
                self.processes.iter().map(|process| process.script.consumer.assignment().len()).sum();
            if owned == PARTITIONS {
                return;
            }
        }
        let explain = |process: &Process| process.script.consumer.explain(process.script.now());
        panic!("seed {}: {:#?}", self.seed, self.processes.iter().map(explain).collect::<Vec<_>>());
    }
}

#[test]
fn no_partition_has_two_owners_and_in_the_end_each_has_one() {
    for assignor in [Assignor::Range, Assignor::Sticky, Assignor::CooperativeSticky] {
        for seed in 0..SEEDS {
            let mut simulation = Simulation::new(seed, assignor.clone());
            for _ in 0..STEPS {
                simulation.step();
            }
            simulation.finish();
        }
    }
}
