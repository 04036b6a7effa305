//! Interrupts, counted: the first asks for an orderly end, the second for one at once.

use anyhow::Context;
use tokio::sync::watch;

/// How often the command was told to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    told: watch::Receiver<u32>,
}

impl Stop {
    /// Counts SIGINT and, where there is one, SIGTERM.
    pub(crate) fn on_signals() -> anyhow::Result<Self> {
        let (sender, told) = watch::channel(0u32);
        let mut signals = Signals::listen().context("listening to interrupts")?;
        tokio::spawn(async move {
            while signals.next().await.is_some() && !sender.is_closed() {
                sender.send_modify(|told| *told = told.saturating_add(1));
            }
        });
        Ok(Self { told })
    }

    pub(crate) fn times(&self) -> u32 {
        *self.told.borrow()
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.times() > 0
    }

    /// Waits until it was told more than `times` times.
    pub(crate) async fn more_than(&self, times: u32) {
        if self.told.clone().wait_for(|told| *told > times).await.is_err() {
            // Nobody is left to tell.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Option<()> {
        tokio::select! {
            heard = self.interrupt.recv() => heard,
            heard = self.terminate.recv() => heard,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Option<()> {
        tokio::signal::ctrl_c().await.ok()
    }
}
