//! Breaks the brokers of the real cluster, one after the other, and mends them again.
#![expect(
    clippy::expect_used,
    reason = "a cluster that can't be broken or mended fails the test that needs it"
)]

use std::{fmt, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{cluster::Cluster, observer::Observer};

/// What is done to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Killed as by a crash (SIGKILL), and started again after the outage.
    Kill,
    /// Frozen (SIGSTOP): its connections stay open, and it goes on after the outage.
    Pause,
}

impl Fault {
    const fn breaks(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
        }
    }

    const fn mends(self) -> &'static str {
        match self {
            Self::Kill => "start",
            Self::Pause => "resume",
        }
    }
}

/// A fault that was.
#[derive(Clone, Debug)]
pub struct Past {
    /// What was done.
    pub fault: Fault,
    /// To which broker.
    pub broker: i32,
    /// From the fault until all replicas were in sync again.
    pub took: Duration,
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, broker, took } = self;
        write!(f, "{fault:?} of broker {broker}, whole again after {:.1} s", took.as_secs_f64())
    }
}

/// Breaks and mends. Whatever is broken when a test ends is mended then.
#[derive(Debug)]
pub struct Nemesis {
    cluster: Cluster,
    observer: Observer,
    topics: Vec<String>,
    past: Vec<Past>,
}

/// A broker that is broken. Dropping this mends it.
#[derive(Debug)]
pub struct Broken {
    cluster: Cluster,
    fault: Fault,
    node: String,
    is_mended: bool,
}

impl Nemesis {
    /// One that waits, after each fault, until these topics have all of their replicas in sync.
    #[must_use]
    pub fn new(cluster: Cluster, topics: Vec<String>) -> Self {
        let observer = Observer::new(&cluster.bootstrap);
        Self { cluster, observer, topics, past: Vec::new() }
    }

    /// Breaks a broker for as long as the outage, mends it and waits until the cluster is whole.
    ///
    /// # Panics
    /// When it can't be broken or mended, or the cluster does not become whole.
    pub async fn strike(&mut self, fault: Fault, broker: i32, outage: Duration) {
        let begin = Instant::now();
        let broken = Broken::by(&self.cluster, fault, broker).await;
        sleep(outage).await;
        broken.mend().await;
        self.observer.await_whole(&self.topics).await;
        self.past.push(Past { fault, broker, took: begin.elapsed() });
    }

    /// What was done so far.
    #[must_use]
    pub fn past(&self) -> &[Past] {
        &self.past
    }

    /// The cluster as it says itself.
    #[must_use]
    pub const fn observer(&self) -> &Observer {
        &self.observer
    }
}

impl Broken {
    /// Breaks a broker.
    ///
    /// # Panics
    /// When it can't be broken.
    pub async fn by(cluster: &Cluster, fault: Fault, broker: i32) -> Self {
        let node = format!("kafka{broker}");
        cluster.break_node(&[fault.breaks(), &node]).await.expect("a node to break");
        Self { cluster: cluster.clone(), fault, node, is_mended: false }
    }

    /// Mends it.
    ///
    /// # Panics
    /// When it can't be mended.
    pub async fn mend(mut self) {
        self.cluster.break_node(&[self.fault.mends(), &self.node]).await.expect("a node to mend");
        self.is_mended = true;
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if !self.is_mended {
            // The test fails already; the ones after it need the node.
            let _ = self.cluster.xtask(&[self.fault.mends(), &self.node]);
        }
    }
}
