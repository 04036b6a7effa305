//! The faults of a run: a list that the seed decides before the run begins.
//!
//! They are drawn apart from everything else that is random (latencies, what users do), so that a run without some of
//! them is still much the same run: that is what lets [`shrink`](super::shrink) find the few that matter.

use std::{collections::BTreeSet, fmt, time::Duration};

use milena_embedded_broker::core::{Action, BrokerId};
use milena_protocol::{ErrorCode, messages::ApiKey};

use super::plan::{BROKERS, HEAL, Plan, TOPICS};

/// Something bad, and when.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its place in the list, by which it can be asked for.
    pub number: usize,
    /// When, in µs since the start.
    pub at: u64,
    pub(super) what: What,
}

/// What happens. Durations are in µs and end before faults do.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The connection breaks before the client's next request arrives.
    CutBefore { seat: usize },
    /// The connection breaks for the client only: its next request arrives all the same.
    CutLate { seat: usize },
    /// The next request is carried out, and the connection breaks before the reply arrives.
    CutAfter { seat: usize },
    /// The next request takes long, and what is behind it too.
    HoldRequest { seat: usize, micros: u64 },
    /// The next reply takes long, and what is behind it too.
    HoldReply { seat: usize, micros: u64 },
    /// The client can't connect to anybody.
    Unreachable { seat: usize, micros: u64 },
    /// What the client and a broker, or all, send each other arrives when it is over.
    Isolate { seat: usize, broker: Option<BrokerId>, micros: u64 },
    /// The next reply to Produce says something else than the broker meant.
    Garble { seat: usize, code: Option<ErrorCode> },
    /// The next records that are fetched have a bit flipped.
    Corrupt { seat: usize },
    /// A broker stops and starts again.
    Stop { broker: BrokerId, micros: u64 },
    /// Another broker leads a partition.
    Elect { topic: usize, partition: i32, broker: BrokerId },
    /// The next requests to a broker meet something there.
    Meet { broker: BrokerId, api: ApiKey, action: Action, times: u32 },
    /// A member dies without a word; another process takes its place.
    Crash { seat: usize, micros: u64 },
    /// A process stands still.
    Pause { seat: usize, micros: u64 },
    /// A member's application handles one batch for very long.
    Busy { seat: usize, micros: u64 },
    /// A member leaves, and comes back.
    Leave { seat: usize, micros: u64 },
    /// A topic takes no larger batches than this from now on, or as large ones as before.
    Narrow { topic: usize, bytes: Option<u32> },
    /// A member that was not there yet joins.
    Start { seat: usize },
}

/// Kinds of faults of which a run has some: a mixture of everything finds less (swarm testing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cut,
    Hold,
    Unreachable,
    Isolate,
    Garble,
    Corrupt,
    Stop,
    Elect,
    Meet,
    Crash,
    Pause,
    Busy,
    Leave,
}

/// What befalls messages and brokers, and so is worth most when there are many.
const IN_STORMS: [Kind; 9] = [
    Kind::Cut,
    Kind::Hold,
    Kind::Unreachable,
    Kind::Isolate,
    Kind::Garble,
    Kind::Corrupt,
    Kind::Stop,
    Kind::Elect,
    Kind::Meet,
];
/// What befalls processes, and takes long.
const ANY_TIME: [Kind; 6] = [Kind::Crash, Kind::Pause, Kind::Busy, Kind::Leave, Kind::Isolate, Kind::Stop];

const SECOND: u64 = 1_000_000;
/// The largest batch of one record, in bytes, and some room.
const ONE_RECORD: u32 = 250;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s: {:?}", self.number, self.at as f64 / 1e6, self.what)
    }
}

/// All faults of a run in the order of their times.
pub(super) fn draw(plan: &Plan, random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut drawn = Drawn { plan, random, faults: Vec::new() };
    let storms = drawn.some_of(&IN_STORMS);
    for (start, len) in plan.storms.clone() {
        for _ in 0..drawn.random.u32(3..plan.gusts) {
            let at = start + drawn.random.u64(0..len);
            drawn.add(at, &storms, true);
        }
    }
    let slow = drawn.some_of(&ANY_TIME);
    for _ in 0..drawn.random.u32(2..14) {
        let at = drawn.random.u64(SECOND..HEAL);
        drawn.add(at, &slow, false);
    }
    for seat in plan.late_seats() {
        let at = drawn.random.u64(SECOND..HEAL / 2);
        drawn.faults.push((at, What::Start { seat }));
    }
    drawn.narrow_topics();
    let mut faults = drawn.faults;
    faults.sort_by_key(|(at, _)| *at);
    faults.into_iter().enumerate().map(|(number, (at, what))| Fault { number, at, what }).collect()
}

struct Drawn<'a> {
    plan: &'a Plan,
    random: &'a mut fastrand::Rng,
    faults: Vec<(u64, What)>,
}

impl Drawn<'_> {
    fn some_of(&mut self, all: &[Kind]) -> BTreeSet<Kind> {
        let mut some: BTreeSet<_> = all.iter().copied().filter(|_| self.random.bool()).collect();
        some.extend(self.random.choice(all).copied());
        some
    }

    fn add(&mut self, at: u64, kinds: &BTreeSet<Kind>, in_storm: bool) {
        let Some(kind) = self.random.choice(kinds).copied() else { return };
        let left = HEAL.saturating_sub(at);
        let what = match kind {
            Kind::Crash | Kind::Pause | Kind::Busy | Kind::Leave => self.of_a_process(kind, left),
            Kind::Stop | Kind::Elect | Kind::Meet => self.of_a_broker(kind, left, in_storm),
            _ => self.of_messages(kind, left, in_storm),
        };
        self.faults.extend(what.map(|what| (at, what)));
    }

    /// In some runs topics take smaller batches now and then than producers make, but always a record.
    fn narrow_topics(&mut self) {
        if self.random.u8(..3) > 0 {
            return;
        }
        for (start, len) in self.plan.storms.clone() {
            let topic = self.random.usize(..TOPICS.len());
            let bytes = self.random.u32(ONE_RECORD..600);
            let (first, second) = (self.random.u64(..len), self.random.u64(..len));
            self.faults.push((start + first.min(second), What::Narrow { topic, bytes: Some(bytes) }));
            if self.random.bool() {
                self.faults.push((start + first.max(second), What::Narrow { topic, bytes: None }));
            }
        }
    }

    fn of_messages(&mut self, kind: Kind, left: u64, in_storm: bool) -> Option<What> {
        let seat = self.random.usize(..self.plan.seats());
        let longest = if in_storm { self.plan.longest_hold } else { 25 * SECOND };
        let micros = self.random.u64(longest / 20..=longest).min(left);
        Some(match kind {
            Kind::Cut => match self.random.u8(..3) {
                0 => What::CutBefore { seat },
                1 => What::CutLate { seat },
                _ => What::CutAfter { seat },
            },
            Kind::Hold if self.random.bool() => What::HoldRequest { seat, micros },
            Kind::Hold => What::HoldReply { seat, micros },
            Kind::Unreachable => What::Unreachable { seat, micros: micros.min(2 * SECOND) },
            Kind::Isolate => {
                let broker = self.random.bool().then(|| self.broker());
                What::Isolate { seat, broker, micros }
            }
            Kind::Corrupt => What::Corrupt { seat: self.random.choice(self.plan.reader_seats())? },
            _ => {
                let codes = [
                    Some(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                    Some(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND),
                    Some(ErrorCode::REQUEST_TIMED_OUT),
                    Some(ErrorCode::DUPLICATE_SEQUENCE_NUMBER),
                    None,
                ];
                let code = self.random.choice(codes)?;
                What::Garble { seat: self.random.choice(self.plan.sender_seats())?, code }
            }
        })
    }

    fn of_a_broker(&mut self, kind: Kind, left: u64, in_storm: bool) -> Option<What> {
        let broker = self.broker();
        match kind {
            Kind::Stop => {
                let longest = if in_storm { 3 * SECOND } else { 40 * SECOND };
                Some(What::Stop { broker, micros: self.random.u64(longest / 50..longest).min(left) })
            }
            Kind::Elect => {
                let topic = self.random.usize(..TOPICS.len());
                let (_, partitions) = TOPICS.get(topic)?;
                Some(What::Elect { topic, partition: self.random.i32(0..*partitions), broker })
            }
            _ => {
                let api = self.random.choice(self.plan.apis())?;
                let action = match self.random.u8(0..9) {
                    0 => Action::CloseBefore,
                    1 => Action::CloseAfter,
                    2 => Action::DropReply,
                    3 => Action::Ignore,
                    4 => Action::Delay(Duration::from_millis(self.random.u64(1..2_000))),
                    _ => Action::Answer(self.code(api)?),
                };
                Some(What::Meet { broker, api, action, times: self.random.u32(1..4) })
            }
        }
    }

    fn of_a_process(&mut self, kind: Kind, left: u64) -> Option<What> {
        let member = self.random.choice(self.plan.reader_seats())?;
        // Below and above the session timeout and the longest time between two polls.
        let longest = self.random.choice([2 * SECOND, 15 * SECOND, 100 * SECOND])?;
        let micros = self.random.u64(longest / 20..longest).min(left);
        Some(match kind {
            Kind::Crash => What::Crash { seat: member, micros },
            Kind::Pause => What::Pause { seat: self.random.usize(..self.plan.seats()), micros },
            Kind::Busy => What::Busy { seat: member, micros },
            _ => What::Leave { seat: member, micros },
        })
    }

    fn broker(&mut self) -> BrokerId {
        BrokerId(self.random.i32(1..=BROKERS.into()))
    }

    fn code(&mut self, api: ApiKey) -> Option<ErrorCode> {
        if api == ApiKey::Produce && self.plan.desynchronizes && self.random.bool() {
            return Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        self.random.choice(codes_of(api)).copied()
    }
}

/// Errors that an API may answer with, and that pass.
fn codes_of(api: ApiKey) -> &'static [ErrorCode] {
    match api {
        ApiKey::Fetch => &[
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::UNKNOWN_TOPIC_ID,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::FENCED_LEADER_EPOCH,
            ErrorCode::UNKNOWN_LEADER_EPOCH,
            ErrorCode::UNKNOWN_SERVER_ERROR,
        ],
        // A refusal of what a topic is would be for good.
        ApiKey::Metadata => &[
            ErrorCode::LEADER_NOT_AVAILABLE,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::UNKNOWN_SERVER_ERROR,
        ],
        ApiKey::ListOffsets => &[ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::LEADER_NOT_AVAILABLE],
        ApiKey::FindCoordinator => &[ErrorCode::COORDINATOR_NOT_AVAILABLE],
        ApiKey::Heartbeat | ApiKey::SyncGroup => &[
            ErrorCode::REBALANCE_IN_PROGRESS,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::UNKNOWN_MEMBER_ID,
            ErrorCode::ILLEGAL_GENERATION,
        ],
        ApiKey::JoinGroup | ApiKey::LeaveGroup => &[
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::UNKNOWN_MEMBER_ID,
        ],
        ApiKey::ConsumerGroupHeartbeat => &[
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::UNKNOWN_MEMBER_ID,
            ErrorCode::FENCED_MEMBER_EPOCH,
        ],
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => &[
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::UNKNOWN_MEMBER_ID,
        ],
        ApiKey::AddPartitionsToTxn | ApiKey::AddOffsetsToTxn | ApiKey::TxnOffsetCommit | ApiKey::EndTxn => &[
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ],
        _ => &[
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::CORRUPT_MESSAGE,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::UNKNOWN_SERVER_ERROR,
            ErrorCode::MESSAGE_TOO_LARGE,
            ErrorCode::INVALID_RECORD,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::INVALID_PRODUCER_EPOCH,
            ErrorCode::UNKNOWN_PRODUCER_ID,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ],
    }
}
