//! What a process has used, and what a peer's run came to.

use std::{fs, time::Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use serde::{Deserialize, Serialize};

/// What one child prints: a peer's run of a case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Records measured.
    pub(crate) records: u64,
    /// All that was acknowledged (or read), warm-up included.
    pub(crate) acknowledged: u64,
    pub(crate) seconds: f64,
    /// User and system time of the process between the end of the warm-up and the last acknowledgement.
    pub(crate) cpu_us: f64,
    /// The most memory that the process had resident, in KiB.
    pub(crate) peak_kib: u64,
    /// What it had when the payloads were there and the peer was not.
    pub(crate) base_kib: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
    /// While reading, how many times as many records the partition that was furthest had given as the one that was
    /// last, at the worst of several moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uneven: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Pause>,
}

/// What the partitions that stay with their member see of a rebalance. Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pause {
    /// How many stayed.
    pub(crate) partitions: u32,
    /// The longest time between two records that follow each other, and the same before anything happened.
    pub(crate) gap: f64,
    pub(crate) quiet_gap: f64,
    /// The longest way of a record from being written to being handed out, and the same before.
    pub(crate) delay: f64,
    pub(crate) quiet_delay: f64,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// A stretch of work.
#[derive(Debug)]
pub(crate) struct Meter {
    begin: Instant,
    cpu_us: f64,
}

impl Meter {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self { begin: Instant::now(), cpu_us: cpu_us()? })
    }

    /// Seconds and CPU microseconds since the start.
    pub(crate) fn stop(&self) -> anyhow::Result<(f64, f64)> {
        Ok((self.begin.elapsed().as_secs_f64(), cpu_us()? - self.cpu_us))
    }
}

/// User and system time of this process, all its threads, in microseconds.
fn cpu_us() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    let total = usage.user_time() + usage.system_time();
    Ok(total.num_microseconds() as f64)
}

/// The most and the present resident memory of this process, in KiB.
///
/// Not `ru_maxrss`: Linux hands that down from the process that started this one.
pub(crate) fn memory_kib() -> anyhow::Result<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").context("peak memory is read from Linux's /proc")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        number.with_context(|| format!("/proc/self/status has no {name}"))
    };
    Ok((field("VmHWM:")?, field("VmRSS:")?))
}

pub(crate) fn latency(histogram: &Histogram<u64>) -> Latency {
    let us = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
    Latency {
        p50: us(histogram.value_at_quantile(0.5)),
        p99: us(histogram.value_at_quantile(0.99)),
        p999: us(histogram.value_at_quantile(0.999)),
        max: us(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_time_and_memory_is_known() {
        let meter = Meter::start().unwrap();
        let begin = Instant::now();
        let mut sum = 0_u64;
        while begin.elapsed().as_millis() < 50 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        let (seconds, cpu_us) = meter.stop().unwrap();
        assert!(seconds >= 0.05 && cpu_us > 1000.0, "{seconds} {cpu_us}");
        let (peak, now) = memory_kib().unwrap();
        assert!(peak >= now && now > 100);
    }
}
