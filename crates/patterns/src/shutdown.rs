//! Asking something that runs to come to its end.

use std::sync::Arc;

use tokio::sync::watch;

/// Asks whatever runs with it to finish what is in hand and end. Cloning shares it.
///
/// ```no_run
/// # async fn signals(shutdown: milena_patterns::Shutdown) {
/// let on_signal = shutdown.clone();
/// tokio::spawn(async move {
///     // … the process is asked to end, and then:
///     on_signal.begin();
/// });
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// One that nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Asks.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// True once it was asked.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is asked.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn begun(&self) {
        // The sender is this very handle: it can't be gone.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}
