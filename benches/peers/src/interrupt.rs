//! Ctrl-C and SIGTERM as a flag, so that the broker is taken down whatever ends the run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::ensure;

#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes both signals over for the rest of the process.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.0);
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
        Ok(interrupt)
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}
