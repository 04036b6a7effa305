//! Saying again who the client is, on a connection that is in use (KIP-368).
//!
//! The broker ends a connection whose session is over. Before that the writer holds back what is to be sent, says again
//! who the client is, and goes on. Answers to what was asked before come in meanwhile, in their order.

use std::time::Duration;

use milena_cluster::later;
use milena_protocol::{
    messages::{Request, Response},
    wire::Writer,
};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    ConnectionConfig, ConnectionError, Sasl,
    address_book::AddressBook,
    authentication::{Ask, authenticate},
    connection::{Queued, Shared},
    frame_stream::write_all,
    now,
    reply::Reply,
    stream::Sending,
};

/// The share of a session, in percent, after which the client says again who it is.
const DUE: std::ops::Range<u32> = 85..95;

/// Who the client is, and until when the broker believes it.
pub(crate) struct Login {
    sasl: Sasl,
    timeout: Duration,
    random: fastrand::Rng,
    due: Option<Instant>,
}

impl Login {
    /// A login that has just been believed for the length of `session`.
    pub(crate) fn new(sasl: Sasl, session: Option<Duration>, config: &ConnectionConfig) -> Self {
        let random = fastrand::Rng::with_seed(config.seed);
        let mut login = Self { sasl, timeout: config.setup_timeout, random, due: None };
        login.believed(session);
        login
    }

    /// True when it is time to say again who the client is.
    pub(crate) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    fn believed(&mut self, session: Option<Duration>) {
        // Connections that began together do not all come back together.
        let share = self.random.u32(DUE);
        self.due = session.map(|session| later(now(), session.saturating_mul(share) / 100).into());
    }

    /// Says again who the client is.
    pub(crate) async fn again(
        &mut self,
        shared: &Shared,
        writer: &mut Sending,
    ) -> Result<(), ConnectionError> {
        let mut talk = Talk { shared, writer, timeout: self.timeout };
        let session = authenticate(&mut talk, &self.sasl, &shared.versions).await?;
        self.believed(session);
        Ok(())
    }
}

/// Ends when it is time to say again who the client is, which may be never.
pub(crate) async fn login_is_due(login: Option<&Login>) {
    match login.and_then(|login| login.due) {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Asks among the requests of others.
struct Talk<'t> {
    shared: &'t Shared,
    writer: &'t mut Sending,
    timeout: Duration,
}

impl Ask for Talk<'_> {
    async fn ask(&mut self, request: Request, version: i16) -> Result<Response, ConnectionError> {
        let (caller, answer) = oneshot::channel();
        let reply = Reply::to_caller(caller, AddressBook::default());
        let queued = Queued {
            request,
            min_version: version,
            max_version: version,
            timeout: self.timeout,
            expects_answer: true,
            reply,
        };
        if let Some((fitted, waiting)) = self.shared.fit(queued) {
            let mut frames = Writer::new();
            self.shared.enter(&fitted, waiting, &mut frames);
            write_all(self.writer, &mut frames.chunks()).await.map_err(ConnectionError::Io)?;
        }
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(failure)) => Err(ConnectionError::Login(failure.cause)),
            // An answer that is dropped is one.
            Err(_) => Err(ConnectionError::TaskEnded),
        }
    }
}
