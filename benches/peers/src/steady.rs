//! A producer that writes all the time, to every partition alike, beside the peer that reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use milena_protocol::records::{BatchBuilder, Codec, Compression, Header};

use crate::{
    case::Case,
    wire::{Wire, acknowledged, now_ms, produce_frame, seal},
};

/// Records a second, over all partitions.
const RATE: u32 = 2_000;
/// Digits of the time that a value begins with.
const DIGITS: usize = 20;

/// Writes until it is ended.
#[derive(Debug)]
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Steady {
    pub(crate) fn start(bootstrap: &str, case: Case, topic: &str) -> anyhow::Result<Self> {
        let mut wire = Wire::connect(bootstrap)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, topic) = (Arc::clone(&stop), topic.to_owned());
        let write = move || -> anyhow::Result<u64> {
            let partitions = u32::try_from(case.partitions)?.max(1);
            let (begin, each) = (Instant::now(), Duration::from_secs(1) / RATE * partitions);
            let mut written = 0;
            for round in 1_u32.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                for partition in 0..case.partitions {
                    wire.send(&record(case, &topic, partition)?)?;
                }
                for _ in 0..case.partitions {
                    acknowledged(&wire.receive()?)?;
                    written += 1;
                }
                std::thread::sleep((begin + each * round).saturating_duration_since(Instant::now()));
            }
            Ok(written)
        };
        Ok(Self { stop, thread: std::thread::spawn(write) })
    }

    /// Ends it and says how many records it has written.
    pub(crate) fn end(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the producer's thread has panicked"))?
    }
}

/// A request with one record, whose value begins with the present time.
fn record(case: Case, topic: &str, partition: i32) -> anyhow::Result<bytes::Bytes> {
    let mut value = format!("{:0width$}", now_us(), width = DIGITS).into_bytes();
    value.resize(case.value.max(DIGITS), b' ');
    let mut batch = BatchBuilder::with_capacity(case.value + 256, case.value + 256);
    batch.append(now_ms(), None, Some(&value), std::iter::empty::<Header<'_>>())?;
    produce_frame(topic, partition, seal(batch, Codec::from(Compression::None))?.1)
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The time that a value begins with.
pub(crate) fn written_us(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.get(..DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_when_it_was_written() {
        let value = format!("{:020}    ", 1_764_000_000_123_456_u64);
        assert_eq!(written_us(value.as_bytes()), Some(1_764_000_000_123_456));
        for wrong in ["", "123", "not a time, although long"] {
            assert_eq!(written_us(wrong.as_bytes()), None);
        }
    }
}
