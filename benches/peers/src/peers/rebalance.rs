//! What a rebalance does to the partitions that stay where they are: two members of a group read what is written steadily, a
//! third comes and goes.
//!
//! Values begin with the time at which they were written: see [`crate::steady`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use tokio::runtime::Handle;

use super::{
    Job,
    member::{Member, Taken},
};
use crate::{
    measure::{Meter, Pause, Sample, memory_kib},
    steady::{now_us, written_us},
};

/// How long the group may take to share the partitions out evenly.
const LIMIT: Duration = Duration::from_secs(45);
/// How long it is left alone once it has.
const QUIET: Duration = Duration::from_secs(3);
/// Who has given nothing of a partition for this long does not have it.
const RECENT_US: u64 = 500_000;
const LOOK: Duration = Duration::from_millis(50);

/// A record that was handed out. Times are microseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    member: usize,
    partition: i32,
    offset: i64,
    written: u64,
    at: u64,
}

type Log = Arc<Mutex<Vec<Arrival>>>;

pub(super) async fn run<M: Member + 'static>(job: &'static Job) -> anyhow::Result<Sample> {
    let base_kib = memory_kib()?.1;
    let log = Log::default();
    let mut members = vec![Reading::start::<M>(job, 0, &log), Reading::start::<M>(job, 1, &log)];
    settle(job, &log, &members).await?;
    let meter = Meter::start()?;
    let begin = now_us();
    tokio::time::sleep(QUIET).await;
    let change = now_us();
    members.push(Reading::start::<M>(job, 2, &log));
    settle(job, &log, &members).await?;
    tokio::time::sleep(QUIET).await;
    if let Some(third) = members.pop() {
        third.end()?;
    }
    settle(job, &log, &members).await?;
    tokio::time::sleep(QUIET).await;
    let (seconds, cpu_us) = meter.stop()?;
    for member in members {
        member.end()?;
    }
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let measured: Vec<Arrival> = log.iter().filter(|arrival| arrival.at >= begin).copied().collect();
    let records = u64::try_from(measured.len())?;
    Ok(Sample {
        records,
        acknowledged: records + u64::from(job.plant),
        seconds,
        cpu_us,
        peak_kib: memory_kib()?.0,
        base_kib,
        pause: Some(pause(&measured, change)?),
        ..Sample::default()
    })
}

/// A member in a thread of its own, because some peers' polls block.
struct Reading {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Reading {
    fn start<M: Member + 'static>(job: &'static Job, member: usize, log: &Log) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, log, runtime) = (Arc::clone(&stop), Arc::clone(log), Handle::current());
        let read = move || {
            runtime.block_on(async move {
                let mut reading = M::join(job, &job.topic).await?;
                let mut take = |taken: Taken<'_>| {
                    let (partition, offset) = (taken.partition, taken.offset);
                    let written = taken.value.and_then(written_us).unwrap_or_default();
                    let arrival = Arrival { member, partition, offset, written, at: now_us() };
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
                };
                while !stopped.load(Ordering::Relaxed) {
                    reading.poll(LOOK, &mut take).await?;
                }
                reading.leave().await
            })
        };
        Self { stop, thread: std::thread::spawn(read) }
    }

    fn end(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        // The member needs the runtime's threads until it has left.
        let ended = tokio::task::block_in_place(|| self.thread.join());
        ended.map_err(|_| anyhow!("a member's thread has panicked"))?
    }
}

/// Waits until each member has its share of the partitions and none is read by two.
async fn settle(job: &Job, log: &Log, members: &[Reading]) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    let partitions = usize::try_from(job.case.partitions)?;
    loop {
        tokio::time::sleep(LOOK).await;
        let held = {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            held(&log, now_us().saturating_sub(RECENT_US))
        };
        let total: usize = held.values().map(BTreeSet::len).sum();
        let even = held.values().all(|of_one| of_one.len() == partitions / members.len());
        if held.len() == members.len() && total == partitions && even {
            return Ok(());
        }
        if members.iter().any(|member| member.thread.is_finished()) {
            bail!("a member has ended");
        }
        ensure!(Instant::now() < deadline, "partitions are not shared out evenly in time: {held:?}");
    }
}

/// The partitions of which each member has given something lately.
fn held(log: &[Arrival], since: u64) -> BTreeMap<usize, BTreeSet<i32>> {
    let mut held: BTreeMap<usize, BTreeSet<i32>> = BTreeMap::new();
    for arrival in log.iter().rev().take_while(|arrival| arrival.at >= since) {
        held.entry(arrival.member).or_default().insert(arrival.partition);
    }
    held
}

/// The worst of the partitions that one member has had all the time, before `change` and after it. Each of their records
/// must have come once.
fn pause(log: &[Arrival], change: u64) -> anyhow::Result<Pause> {
    let mut owners: BTreeMap<i32, BTreeSet<usize>> = BTreeMap::new();
    for arrival in log {
        owners.entry(arrival.partition).or_default().insert(arrival.member);
    }
    owners.retain(|_, members| members.len() == 1);
    ensure!(!owners.is_empty(), "no partition has stayed with its member");
    let mut pause = Pause { partitions: u32::try_from(owners.len())?, ..Pause::default() };
    let ms = |us: u64| us as f64 / 1e3;
    for partition in owners.keys() {
        let mut before: Option<Arrival> = None;
        for arrival in log.iter().filter(|arrival| arrival.partition == *partition) {
            ensure!(
                arrival.written > 0,
                "a record of partition {partition} does not say when it was written"
            );
            let (gap, delay) = match arrival.at >= change {
                true => (&mut pause.gap, &mut pause.delay),
                false => (&mut pause.quiet_gap, &mut pause.quiet_delay),
            };
            *delay = delay.max(ms(arrival.at.saturating_sub(arrival.written)));
            if let Some(before) = before {
                ensure!(
                    arrival.offset == before.offset + 1,
                    "partition {partition} gave offset {} behind {}",
                    arrival.offset,
                    before.offset
                );
                *gap = gap.max(ms(arrival.at.saturating_sub(before.at)));
            }
            before = Some(*arrival);
        }
        let last = before.context("a partition without records")?;
        ensure!(last.at >= change, "partition {partition} has given nothing since the rebalance");
    }
    Ok(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(member: usize, partition: i32, offset: i64, at: u64) -> Arrival {
        Arrival { member, partition, offset, written: at - 2_000, at }
    }

    #[test]
    fn a_pause_is_of_the_partitions_that_stay() {
        let log = [
            arrival(0, 0, 7, 10_000),
            arrival(1, 1, 3, 10_000),
            arrival(0, 0, 8, 15_000),
            // Later by 30 ms, and moved: not counted.
            arrival(2, 1, 4, 60_000),
            arrival(0, 0, 9, 40_000),
        ];
        let pause = pause(&log, 20_000).unwrap();
        assert_eq!((pause.partitions, pause.quiet_gap, pause.gap), (1, 5.0, 25.0));
        assert_eq!((pause.quiet_delay, pause.delay), (2.0, 2.0));
    }

    #[test]
    fn what_is_lost_or_doubled_or_stops_is_wrong() {
        let first = arrival(0, 0, 7, 10_000);
        for (second, change) in [
            (arrival(0, 0, 9, 15_000), 12_000),
            (arrival(0, 0, 7, 15_000), 12_000),
            (arrival(0, 0, 8, 15_000), 16_000),
        ] {
            assert!(pause(&[first, second], change).is_err(), "{second:?}");
        }
        assert!(pause(&[first, arrival(1, 0, 8, 15_000)], 12_000).is_err());
    }

    #[test]
    fn a_member_holds_what_it_has_given_lately() {
        let log = [arrival(0, 0, 1, 10_000), arrival(0, 1, 1, 20_000), arrival(1, 2, 1, 20_000)];
        assert_eq!(held(&log, 15_000), BTreeMap::from([(0, BTreeSet::from([1])), (1, BTreeSet::from([2]))]));
    }
}
