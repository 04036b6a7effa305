//! The one loop that drives a machine: take what happened, tell the machine, drain it, sleep.

use std::{
    fmt,
    ops::ControlFlow,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use milena_cluster::{Deadline, Machine, RequestId};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
    time::Instant,
};

use crate::{
    Network,
    reply::{News, NewsSender},
};

/// The most answers and requests one turn of the loop handles before it looks at the clock again.
const TURN: usize = 1024;

/// A machine shared between the loop that drives it and the handles of its owner.
pub struct Driven<M: Machine> {
    machine: Mutex<M>,
    changed: Notify,
    /// While the loop runs. Locked after the machine, if both are.
    line: Mutex<Option<Line<M>>>,
}

/// Without the machine, which holds what records hold.
impl<M: Machine> fmt::Debug for Driven<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driven").finish_non_exhaustive()
    }
}

/// What the loop shares with those who send in its place.
struct Line<M: Machine> {
    network: Network,
    answers: NewsSender,
    /// Where the loop runs, and so where connections have their tasks.
    runtime: Handle,
    /// When the loop wakes by itself.
    wakes_at: Option<std::time::Instant>,
    /// What the machine said while somebody sent in the loop's place.
    events: Vec<M::Event>,
}

impl<M: Machine> Driven<M> {
    /// Nothing happens until [`drive`] runs.
    #[must_use]
    pub fn new(machine: M) -> Arc<Self> {
        Arc::new(Self { machine: Mutex::new(machine), changed: Notify::new(), line: Mutex::new(None) })
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

    /// Sends what the machine has to send, here and now: waking the loop, on another thread perhaps, takes longer than a
    /// small request. If the machine is in use the loop is woken to do it. Never waits.
    pub fn send_now(&self) {
        let Ok(mut machine) = self.machine.try_lock() else { return self.wake() };
        let mut line = self.line();
        let Some(line) = line.as_mut() else { return };
        let _entered = line.runtime.enter();
        let (due, has_more) = line.drain(&mut *machine, now());
        let is_earlier = due.is_some_and(|due| line.wakes_at.is_none_or(|wakes_at| due.at < wakes_at));
        if is_earlier || has_more || !line.events.is_empty() {
            self.wake();
        }
    }

    /// The number of the lane whose connections it has, while it is driven: see [`NetworkReport`](crate::NetworkReport).
    pub fn lane(&self) -> Option<u64> {
        self.line().as_ref().map(|line| line.network.lane_number())
    }

    fn line(&self) -> MutexGuard<'_, Option<Line<M>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Machine> Line<M> {
    /// Lets the machine act on the time, sends what it asks for and keeps what it says. Requests go out under the machine's
    /// lock, so that their order is the machine's whoever sends them. Returns when the machine has to act again, and whether
    /// there is more to send.
    fn drain(&mut self, machine: &mut M, now: std::time::Instant) -> (Option<Deadline>, bool) {
        machine.handle_timeout(now);
        let mut sent = 0;
        while sent < TURN
            && let Some(request) = machine.poll_request(now)
        {
            self.network.send(request, &self.answers);
            sent = sent.saturating_add(1);
        }
        self.events.extend(std::iter::from_fn(|| machine.poll_event()));
        (machine.poll_timeout(), sent == TURN)
    }
}

/// Ends the line with the loop.
struct OnLine<'d, M: Machine>(&'d Driven<M>);

impl<M: Machine> Drop for OnLine<'_, M> {
    fn drop(&mut self) {
        let line = self.0.line().take();
        // Connections end with it, and who waits for them is told.
        drop(line);
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
    // Bounded by what the machine has in flight: every request is answered once.
    let (answers, mut answered) = mpsc::unbounded_channel();
    let runtime = Handle::current();
    *driven.line() =
        Some(Line { network: network.lane(), answers, runtime, wakes_at: None, events: Vec::new() });
    let _on_line = OnLine(&driven);
    let mut events = Vec::new();
    let mut alarm = pin!(tokio::time::sleep_until(Instant::now()));
    loop {
        let (deadline, has_more) = {
            let mut machine = driven.look();
            let mut line = driven.line();
            let Some(line) = line.as_mut() else { return };
            let now = now();
            for _ in 0..TURN {
                let Ok((id, news)) = answered.try_recv() else { break };
                tell(&mut *machine, now, id, news);
            }
            let (deadline, has_more) = line.drain(&mut *machine, now);
            line.wakes_at = deadline.map(|deadline| deadline.at);
            events.append(&mut line.events);
            (deadline, has_more)
        };
        // An idle machine turns as often as its deadlines say: a test counts this.
        tracing::trace!(due = deadline.map(|deadline| deadline.why), "turn");
        for event in events.drain(..) {
            if on_event(event).is_break() {
                return;
            }
        }
        if has_more || !answered.is_empty() {
            // Others may want the machine or the thread.
            tokio::task::yield_now().await;
            continue;
        }
        if let Some(deadline) = deadline {
            let at = deadline.at.into();
            if alarm.deadline() != at {
                alarm.as_mut().reset(at);
            }
        }
        tokio::select! {
            biased;
            () = driven.changed.notified() => {}
            () = wait_for_answer(&mut answered, &driven) => {}
            () = &mut alarm, if deadline.is_some() => {}
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
