//! Whether anybody still reads standard output. A write to a pipe tells, too, but on an idle topic there is none.

#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};

#[cfg(unix)]
use tokio::io::{Interest, unix::AsyncFd};

/// Whoever reads standard output.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Listener {
    /// None for a file, which is never closed at its other end.
    stdout: Option<AsyncFd<OwnedFd>>,
}

#[cfg(unix)]
impl Listener {
    #[expect(
        deprecated,
        reason = "what follows it is unsafe, for descriptors that their owner may close: this one is owned"
    )]
    pub(super) fn new() -> Self {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().ok();
        Self { stdout: stdout.and_then(|fd| AsyncFd::with_interest(fd, Interest::ERROR).ok()) }
    }

    /// Waits until nobody reads any more.
    pub(super) async fn gone(&self) {
        if let Some(stdout) = &self.stdout {
            while let Ok(mut guard) = stdout.ready(Interest::ERROR).await {
                if guard.ready().is_error() {
                    return;
                }
                guard.clear_ready();
            }
        }
        std::future::pending::<()>().await;
    }
}

/// Where that can't be asked, the next write tells.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct Listener;

#[cfg(not(unix))]
impl Listener {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) async fn gone(&self) {
        std::future::pending::<()>().await;
    }
}
