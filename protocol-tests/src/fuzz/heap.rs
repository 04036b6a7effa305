//! How much memory reading may take.
//!
//! The program that runs a target has a counting allocator and hands its [`Meter`] over with [`measure_with`]. Without
//! one nothing is measured: a test binary runs its tests side by side, and they would measure each other.

use std::sync::OnceLock;

/// What a view or an iteration over record batches may take, before anything is decompressed.
pub const VIEW: usize = 64 * 1024;

/// What a message of owned structures may take, decoded from `len` bytes.
#[must_use]
pub fn owned(len: usize) -> usize {
    len.saturating_mul(32).saturating_add(64 * 1024)
}

/// Tells what is allocated, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// What is allocated at this moment.
    pub current: fn() -> usize,
    /// The most that was allocated since the last reset.
    pub peak: fn() -> usize,
    /// Forgets the peak.
    pub reset: fn(),
}

static METER: OnceLock<Meter> = OnceLock::new();

/// From here on [`within`] measures, with this meter.
pub fn measure_with(meter: Meter) {
    // A second meter of the same process would tell the same.
    let _ = METER.set(meter);
}

/// The most that `f` has allocated at any one time, on top of what was there before; zero without a meter.
pub fn peak<T>(f: impl FnOnce() -> T) -> (usize, T) {
    let Some(meter) = METER.get() else { return (0, f()) };
    let before = (meter.current)();
    (meter.reset)();
    let result = f();
    ((meter.peak)().saturating_sub(before), result)
}

/// Runs `f`, which may allocate `bound` bytes at any one time.
///
/// # Panics
/// When it takes more.
pub fn within<T>(bound: usize, f: impl FnOnce() -> T) -> T {
    let (peak, result) = peak(f);
    assert!(peak <= bound, "{peak} bytes of heap where {bound} are allowed");
    result
}
