//! What befalls messages on their way: the usual delay, and the faults that wait for one.

use milena_embedded_broker::core::BrokerId;

use super::{plan::Plan, schedule::What};

#[derive(Debug)]
pub(super) struct Weather {
    latency: u64,
    /// For each client its own, so that a fault of one changes little for the others.
    random: Vec<fastrand::Rng>,
    /// Faults that wait for a message.
    armed: Vec<What>,
    unreachable: Vec<(usize, u64)>,
    isolated: Vec<(usize, Option<BrokerId>, u64)>,
    healed: bool,
    /// Messages that something befell.
    pub(super) hits: u64,
}

impl Weather {
    pub(super) fn new(plan: &Plan, random: &mut fastrand::Rng) -> Self {
        Self {
            latency: plan.latency,
            random: (0..plan.seats()).map(|_| random.fork()).collect(),
            armed: Vec::new(),
            unreachable: Vec::new(),
            isolated: Vec::new(),
            healed: false,
            hits: 0,
        }
    }

    /// From `now` on a fault is in force.
    pub(super) fn add(&mut self, now: u64, what: What) {
        match what {
            What::Unreachable { seat, micros } => self.unreachable.push((seat, now + micros)),
            What::Isolate { seat, broker, micros } => self.isolated.push((seat, broker, now + micros)),
            _ => self.armed.push(what),
        }
    }

    /// From here on nothing breaks. What is broken already stays so.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.armed.clear();
        self.unreachable.clear();
        self.isolated.clear();
    }

    /// How long a message usually takes.
    pub(super) fn latency(&mut self, seat: usize) -> u64 {
        let longest = if self.healed { self.latency.min(2_000) } else { self.latency };
        self.random.get_mut(seat).map_or(longest, |random| random.u64(longest / 10..=longest))
    }

    pub(super) fn choice(&mut self, seat: usize, count: usize) -> usize {
        self.random.get_mut(seat).map_or(0, |random| random.usize(..count.max(1)))
    }

    /// When something that is on its way between the two by `at` gets through.
    pub(super) fn gets_through(&mut self, seat: usize, broker: BrokerId, at: u64) -> u64 {
        let between = |(of, with, _): &&(usize, Option<BrokerId>, u64)| {
            *of == seat && with.is_none_or(|with| with == broker)
        };
        let until = self.isolated.iter().filter(between).map(|(_, _, until)| *until).max().unwrap_or(0);
        self.hits += u64::from(until > at);
        at.max(until)
    }

    /// Whether a client can't connect.
    pub(super) fn is_unreachable(&mut self, seat: usize, now: u64) -> bool {
        let is_unreachable = self.unreachable.iter().any(|(of, until)| *of == seat && *until > now);
        self.hits += u64::from(is_unreachable);
        is_unreachable
    }

    /// The fault that befalls a request of the client, if there is one.
    pub(super) fn meets_request(&mut self, seat: usize) -> Option<What> {
        self.take(|what| match what {
            What::CutBefore { seat: of } | What::CutLate { seat: of } => *of == seat,
            What::HoldRequest { seat: of, .. } => *of == seat,
            _ => false,
        })
    }

    /// The fault that befalls a reply to the client.
    pub(super) fn meets_reply(&mut self, seat: usize) -> Option<What> {
        self.take(|what| match what {
            What::CutAfter { seat: of } | What::HoldReply { seat: of, .. } => *of == seat,
            _ => false,
        })
    }

    /// The fault that changes a reply to Produce.
    pub(super) fn meets_produced(&mut self, seat: usize) -> Option<What> {
        self.take(|what| matches!(what, What::Garble { seat: of, .. } if *of == seat))
    }

    /// The fault that changes records on their way.
    pub(super) fn meets_records(&mut self, seat: usize) -> Option<What> {
        self.take(|what| matches!(what, What::Corrupt { seat: of } if *of == seat))
    }

    fn take(&mut self, fits: impl Fn(&What) -> bool) -> Option<What> {
        let at = self.armed.iter().position(fits)?;
        self.hits += 1;
        Some(self.armed.remove(at))
    }
}
