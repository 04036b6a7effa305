//! The one cluster behind all listeners: a plain mutex that is held to compute, never to wait.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use crate::core::{BrokerId, Cluster, ConnectionId, Output};

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the timer when a deadline has come that is before the one it sleeps for.
    earlier_deadline: Notify,
    /// Tells connections that a broker goes on: what they hold back may not be answered, so no reply would tell them.
    resumed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    cluster: Cluster,
    outlets: BTreeMap<ConnectionId, mpsc::UnboundedSender<Output>>,
    next_connection: u64,
    /// What the timer sleeps for.
    armed: Option<Instant>,
}

/// The time, which tests of tokio can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Shared {
    pub(crate) fn new(cluster: Cluster) -> Self {
        let state = State { cluster, outlets: BTreeMap::new(), next_connection: 0, armed: None };
        Self { state: Mutex::new(state), earlier_deadline: Notify::new(), resumed: watch::Sender::new(()) }
    }

    /// Changes or asks the cluster, and passes on what it replies.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        let mut state = self.lock();
        let result = work(&mut state.cluster, now());
        if state.pass_on() {
            self.earlier_deadline.notify_one();
        }
        result
    }

    /// A number for a new connection and what is to be written to it, unless its broker is stopped or there are `limit`
    /// connections.
    ///
    /// What is to be written is bounded by what is read: a connection that waits for a reply is not read from.
    pub(crate) fn connect(
        &self,
        broker: BrokerId,
        limit: usize,
    ) -> Option<(ConnectionId, mpsc::UnboundedReceiver<Output>)> {
        let mut state = self.lock();
        if state.outlets.len() >= limit {
            return None;
        }
        state.next_connection += 1;
        let id = ConnectionId(state.next_connection);
        if !state.cluster.handle_connect(broker, id) {
            return None;
        }
        let (outlet, outputs) = mpsc::unbounded_channel();
        state.outlets.insert(id, outlet);
        Some((id, outputs))
    }

    pub(crate) fn disconnect(&self, id: ConnectionId) {
        self.lock().outlets.remove(&id);
        self.with(|cluster, now| cluster.handle_disconnect(now, id));
    }

    /// Hands a request to the cluster and tells whether it is parked.
    pub(crate) fn request(&self, broker: BrokerId, id: ConnectionId, frame: Bytes) -> bool {
        self.with(|cluster, now| {
            cluster.handle_frame(now, broker, id, frame);
            cluster.is_muted(id)
        })
    }

    /// Lets a paused broker go on.
    pub(crate) fn resume(&self, broker: BrokerId) {
        self.with(|cluster, now| cluster.resume_broker(now, broker));
        self.resumed.send_replace(());
    }

    /// Changes whenever a broker was paused and goes on.
    pub(crate) fn resumed(&self) -> watch::Receiver<()> {
        self.resumed.subscribe()
    }

    /// Whether a request of the connection is parked.
    pub(crate) fn is_parked(&self, id: ConnectionId) -> bool {
        self.lock().cluster.is_muted(id)
    }

    /// Lets the cluster do what is due, when it is due, for ever.
    pub(crate) async fn run_timer(&self) {
        loop {
            let armed = self.lock().armed;
            let due = async {
                match armed {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => self.with(Cluster::handle_timeout),
                () = self.earlier_deadline.notified() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What the cluster holds is whole between any two of its calls, and a panic in one is a bug of ours that the test
        // that caused it reports.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Passes the replies on and tells whether the timer has to wake earlier than it thinks.
    fn pass_on(&mut self) -> bool {
        while let Some(reply) = self.cluster.poll_reply() {
            if let Some(outlet) = self.outlets.get(&reply.connection) {
                // It fails when the connection's task has just ended, which then says so itself.
                let _ = outlet.send(reply.output);
            }
        }
        let deadline = self.cluster.poll_timeout().map(|deadline| deadline.at);
        let earlier = match (deadline, self.armed) {
            (Some(deadline), Some(armed)) => deadline < armed,
            (deadline, _) => deadline.is_some(),
        };
        self.armed = deadline;
        earlier
    }
}
