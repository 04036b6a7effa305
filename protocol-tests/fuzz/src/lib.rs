//! What the binaries of cargo-fuzz have in common. The targets themselves are in `protocol_tests::fuzz`.

pub mod oracle;

pub use libfuzzer_sys;
pub use peak_alloc;
pub use protocol_tests;

/// The binary of a target that is shared with the smoke.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::run!(|input: &[u8]| {
            static TARGET: std::sync::LazyLock<&$crate::protocol_tests::fuzz::Target> =
                std::sync::LazyLock::new(|| {
                    $crate::protocol_tests::fuzz::Target::named($name).expect("the target is in the table")
                });
            (TARGET.run)(input);
        });
    };
}

/// The binary around a function over bytes, with an allocator that counts.
#[macro_export]
macro_rules! run {
    ($run:expr) => {
        #[global_allocator]
        static ALLOCATOR: $crate::peak_alloc::PeakAlloc = $crate::peak_alloc::PeakAlloc;

        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::protocol_tests::fuzz::heap::measure_with(
                $crate::protocol_tests::fuzz::heap::Meter {
                    current: || ALLOCATOR.current_usage(),
                    peak: || ALLOCATOR.peak_usage(),
                    reset: || ALLOCATOR.reset_peak_usage(),
                },
            ),
            |input: &[u8]| ($run)(input)
        );
    };
}
