//! Several members of one group against a model of its KIP-848 coordinator, with faults from a seed: no partition ever has
//! two owners, and when the faults end every partition has one.

use std::collections::BTreeSet;

use fastrand::Rng;
use milena_protocol::{
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        consumer_group_heartbeat::{Assignment, ResponseTopicPartitions},
    },
    wire::Packed,
};

use super::*;
use crate::{CommitMode, GroupProtocol};

const PARTITIONS: i32 = 7;
const SEEDS: u64 = 60;
const STEPS: usize = 400;
const SESSION_MS: u64 = 45_000;

/// A coordinator that reconciles as KIP-848 says: a partition is handed out when nobody has it, and whoever is to lose one
/// keeps its epoch until it has said that it let go.
#[derive(Default)]
struct Coordinator {
    epoch: i32,
    members: BTreeMap<ByteString, Member>,
}

#[derive(Default)]
struct Member {
    epoch: i32,
    assigned: BTreeSet<i32>,
    letting_go: BTreeSet<i32>,
    target: BTreeSet<i32>,
    last_heard: u64,
}

impl Coordinator {
    fn rebalance(&mut self) {
        self.epoch += 1;
        let count = self.members.len().max(1);
        for (place, member) in self.members.values_mut().enumerate() {
            member.target =
                (0..PARTITIONS).filter(|index| usize::try_from(*index).unwrap() % count == place).collect();
        }
    }

    fn expire(&mut self, now: u64) {
        let before = self.members.len();
        self.members.retain(|_, member| member.last_heard + SESSION_MS > now);
        if self.members.len() != before {
            self.rebalance();
        }
    }

    fn heartbeat(
        &mut self,
        now: u64,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        self.expire(now);
        let id = &request.member_id;
        match request.member_epoch {
            -1 => {
                self.members.remove(id);
                self.rebalance();
                return ConsumerGroupHeartbeatResponse { member_epoch: -1, ..Default::default() };
            }
            0 => {
                assert_eq!(request.topic_partitions, Some(vec![]), "who joins owns nothing");
                self.members.insert(id.clone(), Member::default());
                self.rebalance();
            }
            epoch => match self.members.get(id) {
                None => return refusal(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(member) if member.epoch < epoch => return refusal(ErrorCode::FENCED_MEMBER_EPOCH),
                Some(_) => {}
            },
        }
        let taken: BTreeSet<i32> = self
            .members
            .iter()
            .filter(|(other, _)| *other != id)
            .flat_map(|(_, member)| member.assigned.iter().chain(&member.letting_go).copied())
            .collect();
        let group_epoch = self.epoch;
        let member = self.members.get_mut(id).unwrap();
        member.last_heard = now;
        let owned: Option<BTreeSet<i32>> = request.topic_partitions.as_ref().map(|topics| {
            topics.iter().flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>()).collect()
        });
        // A member that does not say is taken to own what it was assigned.
        let has_let_go =
            |partitions: &BTreeSet<i32>| owned.as_ref().is_some_and(|owned| owned.is_disjoint(partitions));
        if has_let_go(&member.letting_go) {
            member.letting_go.clear();
        }
        if member.letting_go.is_empty() {
            member.letting_go = member.assigned.difference(&member.target).copied().collect();
            member.assigned = member.assigned.intersection(&member.target).copied().collect();
            if member.letting_go.is_empty() || has_let_go(&member.letting_go) {
                member.letting_go.clear();
                member.assigned = member.target.difference(&taken).copied().collect();
                member.epoch = group_epoch;
            }
        }
        let topic = ResponseTopicPartitions {
            topic_id: LETTERS,
            partitions: member.assigned.iter().copied().collect::<Packed<i32>>(),
            ..Default::default()
        };
        ConsumerGroupHeartbeatResponse {
            member_epoch: member.epoch,
            heartbeat_interval_ms: 5_000,
            assignment: Some(Assignment { topic_partitions: vec![topic], ..Default::default() }),
            ..Default::default()
        }
    }
}

fn refusal(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code: code.0, ..Default::default() }
}

/// A consumer and its application.
struct Process {
    script: Script,
    /// When the application has given up what it was told to.
    revoke_at: Option<u64>,
    /// Until when the application does not poll.
    silent_until: u64,
    closing: bool,
}

struct Simulation {
    coordinator: Coordinator,
    processes: Vec<Process>,
    random: Rng,
    ms: u64,
    seed: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut simulation = Self {
            coordinator: Coordinator::default(),
            processes: Vec::new(),
            random: Rng::with_seed(seed),
            ms: 0,
            seed,
        };
        for member in 0..3 {
            simulation.start(member);
        }
        simulation
    }

    fn start(&mut self, member: u64) {
        let config = ConsumerConfig {
            group_protocol: GroupProtocol::Consumer,
            max_poll_interval: Duration::from_secs(60),
            rebalance_timeout: Duration::from_secs(30),
            seed: self.seed * 1_000 + member,
            ..in_group()
        };
        let mut script = Script::new(config);
        script.cluster.topics.get_mut("letters").unwrap().1 =
            vec![(1, 5); usize::try_from(PARTITIONS).unwrap()];
        script.pass_until(self.ms);
        script.subscribe();
        self.processes.push(Process { script, revoke_at: None, silent_until: 0, closing: false });
    }

    fn step(&mut self, turn: usize) {
        let index = self.random.usize(..self.processes.len());
        match self.random.u8(..40) {
            0..=24 => self.answer(index, true),
            25..=35 => {
                let ms = self.random.u64(1..2_000);
                self.pass(ms);
            }
            36 => self.processes[index].silent_until = self.ms + self.random.u64(1_000..90_000),
            37 => self.coordinator.rebalance(),
            38 if self.processes.len() < 5 => self.start(u64::try_from(turn).unwrap() + 10),
            39 if self.processes.iter().filter(|process| !process.closing).count() > 1 => {
                let process = &mut self.processes[index];
                process.closing = true;
                process.script.consumer.close(process.script.now());
            }
            _ => {}
        }
        self.react();
    }

    /// Answers one request of a process. With faults some never arrive, and some answers are lost.
    fn answer(&mut self, index: usize, faults: bool) {
        let script = &mut self.processes[index].script;
        script.drain();
        if script.pending.is_empty() {
            return;
        }
        let outgoing = script.pending.remove(self.random.usize(..script.pending.len())).unwrap();
        if faults && self.random.u8(..10) == 0 {
            return script.fail(outgoing.id, FailureKind::NotSent);
        }
        let is_lost = faults && self.random.u8(..10) == 0;
        let response: Response = match &outgoing.request {
            Request::ConsumerGroupHeartbeat(request) => self.coordinator.heartbeat(self.ms, request).into(),
            Request::OffsetFetch(request) => {
                let topics = request.groups[0].topics.iter().flatten();
                let partitions = topics.flat_map(|topic| topic.partition_indexes.iter().collect::<Vec<_>>());
                committed(&partitions.map(|index| (index, 0)).collect::<Vec<_>>()).into()
            }
            Request::OffsetCommit(request) => {
                let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
                let none = partitions.map(|partition| (partition.partition_index, ErrorCode::NONE));
                commit_answer(&none.collect::<Vec<_>>()).into()
            }
            _ => fetched([]).into(),
        };
        let script = &mut self.processes[index].script;
        if is_lost {
            script.fail(outgoing.id, FailureKind::Unanswered);
        } else {
            script.answer(outgoing.id, response);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        for process in &mut self.processes {
            process.script.pass_until(self.ms);
        }
        self.coordinator.expire(self.ms);
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
                        process.revoke_at = Some(self.ms + self.random.u64(0..40_000));
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
        for (index, process) in self.processes.iter().enumerate() {
            for partition in process.script.consumer.assignment() {
                let other = owners.insert(partition.clone(), index);
                assert_eq!(other, None, "seed {}: {partition} has two owners at {} ms", self.seed, self.ms);
            }
        }
    }

    fn owned(&self) -> usize {
        self.processes.iter().map(|process| process.script.consumer.assignment().len()).sum()
    }

    /// Without faults the group comes to rest.
    fn finish(&mut self) {
        for _ in 0..1_500 {
            for index in 0..self.processes.len() {
                self.answer(index, false);
            }
            self.pass(200);
            self.react();
            if self.owned() == usize::try_from(PARTITIONS).unwrap() {
                return;
            }
        }
        let explain = |process: &Process| process.script.consumer.explain(process.script.now());
        panic!("seed {}: {:#?}", self.seed, self.processes.iter().map(explain).collect::<Vec<_>>());
    }
}

#[test]
fn no_partition_has_two_owners_and_in_the_end_each_has_one() {
    for seed in 0..SEEDS {
        let mut simulation = Simulation::new(seed);
        for turn in 0..STEPS {
            simulation.step(turn);
        }
        simulation.finish();
    }
}
