//! A broker that stands still, as a process does after SIGSTOP: it keeps its connections and what it leads, takes in what the
//! kernel would take in, and sends nothing.
//!
//! Leaves out: that the controller fences a broker that is silent for `broker.session.timeout.ms`. Whoever wants that moves
//! its leaders meanwhile ([`Cluster::move_leader`]) and ends with [`Cluster::stop_broker`].

use std::time::Instant;

use super::{BrokerId, Cluster, ConnectionId};

impl Cluster {
    /// The broker does nothing from here on: requests wait, and so do the replies to those that it has. It can be
    /// connected to.
    pub fn pause_broker(&mut self, broker: BrokerId) {
        if self.up.contains(&broker) {
            self.paused.insert(broker);
        }
    }

    /// The broker goes on: what it had to send goes out, and what came in is carried out, as of `now`.
    pub fn resume_broker(&mut self, now: Instant, broker: BrokerId) {
        if !self.paused.remove(&broker) {
            return;
        }
        let held = std::mem::take(&mut self.held);
        for reply in held {
            match self.connections.get(&reply.connection).map(|connection| connection.broker) {
                Some(at) if self.paused.contains(&at) => self.held.push(reply),
                Some(_) => self.replies.push_back(reply),
                None => {}
            }
        }
        let here = self.connections.iter().filter(|(_, connection)| connection.broker == broker);
        let waiting = here.filter(|(_, connection)| !connection.is_muted() && !connection.waiting.is_empty());
        let waiting: Vec<ConnectionId> = waiting.map(|(id, _)| *id).collect();
        self.unmuted.extend(waiting);
        self.settle(now);
    }
}
