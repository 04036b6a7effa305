//! The one loop that drives a machine: take what happened, tell the machine, drain it, sleep.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use milena_cluster::{Machine, RequestId};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use crate::{Network, reply::News};

/// The most answers and requests one turn of the loop handles before it looks at the clock again.
const TURN: usize = 1024;

/// A machine shared between the loop that drives it and the handles of its owner.
#[derive(Debug)]
pub struct Driven<M> {
    machine: Mutex<M>,
    changed: Notify,
}

impl<M: Machine> Driven<M> {
    /// Nothing happens until [`drive`] runs.
    #[must_use]
    pub fn new(machine: M) -> Arc<Self> {
        Arc::new(Self { machine: Mutex::new(machine), changed: Notify::new() })
    }

    /// The machine, to look at it. Locked to compute, never to wait.
    pub fn look(&self) -> MutexGuard<'_, M> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the machine and wakes the loop, which drains it.
    pub fn change<T>(&self, change: impl FnOnce(&mut M, std::time::Instant) -> T) -> T {
        let result = change(&mut self.look(), now());
        self.changed.notify_one();
        result
    }

    /// Wakes the loop.
    pub fn wake(&self) {
        self.changed.notify_one();
    }
}

/// The clock of the driver, which follows tokio's: a test that pauses it pauses every machine.
#[must_use]
pub fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Drives a machine until `on_event` breaks, over connections of its own.
///
/// # Cancellation
/// Dropping the future stops the machine where it is; requests on their way are answered to nobody.
pub async fn drive<M: Machine>(
    driven: Arc<Driven<M>>,
    network: Network,
    mut on_event: impl FnMut(M::Event) -> ControlFlow<()>,
) {
    let network = network.lane();
    // Bounded by what the machine has in flight: every request is answered once.
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut events = Vec::new();
    let mut requests = Vec::new();
    loop {
        let mut full = false;
        let deadline = {
            let mut machine = driven.look();
            let now = now();
            for _ in 0..TURN {
                let Ok((id, news)) = answered.try_recv() else { break };
                tell(&mut *machine, now, id, news);
            }
            machine.handle_timeout(now);
            while let Some(request) = machine.poll_request(now) {
                requests.push(request);
                full = requests.len() >= TURN;
                if full {
                    break;
                }
            }
            while let Some(event) = machine.poll_event() {
                events.push(event);
            }
            machine.poll_timeout()
        };
        // An idle machine turns as often as its deadlines say: a test counts this.
        tracing::trace!(due = deadline.map(|deadline| deadline.why), "turn");
        for request in requests.drain(..) {
            network.send(request, &answers);
        }
        for event in events.drain(..) {
            if on_event(event).is_break() {
                return;
            }
        }
        if full || !answered.is_empty() {
            // Others may want the machine or the thread.
            tokio::task::yield_now().await;
            continue;
        }
        let due = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = driven.changed.notified() => {}
            () = wait_for_answer(&mut answered, &driven) => {}
            () = due => {}
        }
    }
}

/// Waits until an answer is there and tells the machine at once.
async fn wait_for_answer<M: Machine>(
    answered: &mut mpsc::UnboundedReceiver<(RequestId, News)>,
    driven: &Driven<M>,
) {
    // The loop itself holds a sender, so the channel does not close.
    if let Some((id, news)) = answered.recv().await {
        tell(&mut *driven.look(), now(), id, news);
    }
}

fn tell<M: Machine>(machine: &mut M, now: std::time::Instant, id: RequestId, news: News) {
    match news {
        News::Answered(result) => machine.handle_response(now, id, result),
        News::Written => machine.handle_written(now, id),
        News::HungUp(cause) => machine.handle_hangup(now, id, &cause),
    }
}
