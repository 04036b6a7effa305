//! One connection: requests go out in a row, answers come back in the same order.
//!
//! The sending half is in an [`Outbox`], whose writer task writes what can't be written at once, so that a caller who gives
//! up can never leave half a frame behind. A reader task matches answers to requests, decodes them and watches their
//! deadlines. When either fails, every request that is still open is answered at once with the cause.
//!
//! Requests that brokers do not answer (Produce with acks 0) have a correlation id like the others and are not among those that
//! wait for an answer. They are done when they have been written.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use milena_cluster::{Failure, FailureKind, later, shape};
use milena_protocol::{
    ApiKey,
    frame::{correlation_id, decode_response, encode_request_into},
    messages::{Request, Response},
    wire::{ByteString, Writer},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use crate::{
    Address, ConnectionConfig, ConnectionError, Observe, Observer,
    frame_stream::FrameReader,
    handshake::{Established, establish},
    login::{Login, login_is_due},
    now,
    open_requests::{Broken, Leaving, Open, Sent},
    outbox::{Closing, Left, Outbox, Pen},
    reply::Reply,
    stream::Receiving,
    throttle::throttle,
    versions::Versions,
};

/// The most requests that one vectored write gathers.
const WRITE_BATCH: usize = 64;

/// How long one half of a connection waits for what the other one has to say of its end.
const OTHER_HALF: Duration = Duration::from_millis(50);

/// A request on its way, with whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) request: Request,
    pub(crate) min_version: i16,
    pub(crate) max_version: i16,
    pub(crate) timeout: Duration,
    /// The broker answers it.
    pub(crate) expects_answer: bool,
    pub(crate) reply: Reply,
}

/// A request as the broker is to read it.
#[derive(Debug)]
pub(crate) struct Fitted {
    request: Request,
    version: i16,
}

/// Who waits for the answer, or for the request to be written if none comes, and how long.
#[derive(Debug)]
pub(crate) struct Waiting {
    timeout: Duration,
    expects_answer: bool,
    reply: Reply,
}

/// A handle to a connection. The connection ends when the last one is dropped and nothing is open, or when it breaks.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    queue: mpsc::UnboundedSender<Task>,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
}

/// What the writer task is given.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are requests")]
pub(crate) enum Task {
    Write(Queued),
    /// A request was written in part.
    WriteRest,
}

impl Task {
    pub(crate) fn into_request(self) -> Option<Queued> {
        match self {
            Self::Write(queued) => Some(queued),
            Self::WriteRest => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: Address,
    client_id: ByteString,
    pub(crate) versions: Versions,
    max_idle: Duration,
    observer: Option<Observer>,
    open: Mutex<Open>,
    /// Tells the reader that the earliest deadline has changed.
    deadline_changed: Notify,
    /// Tells both tasks that the connection is over.
    over: watch::Sender<bool>,
    /// The writer task may be the one that learns why the connection broke.
    is_writing: AtomicBool,
}

impl Connection {
    /// Connects to `address` and finds out what the broker there speaks.
    pub(crate) async fn open(
        address: &Address,
        config: &ConnectionConfig,
        timeout: Duration,
    ) -> Result<Self, ConnectionError> {
        let Established { reader, writer, versions, session } = establish(address, config, timeout).await?;
        let mut shared = Shared::new(address.clone(), config.client_id.clone(), versions);
        shared.max_idle = config.max_idle;
        shared.observer = config.observer.clone();
        shared.observe(Observe::opened);
        let shared = Arc::new(shared);
        // The queue holds what the machines allow themselves in flight, which is bounded there.
        let (queue, requests) = mpsc::unbounded_channel();
        let is_known = config.sasl.is_some();
        let login = config.sasl.clone().map(|sasl| Login::new(sasl, session, config));
        let outbox = Arc::new(Outbox::new(writer));
        tokio::spawn(Half(Arc::clone(&shared)).write(Closing(Arc::clone(&outbox)), requests, login));
        tokio::spawn(Half(Arc::clone(&shared)).read(reader, is_known));
        Ok(Self { queue, outbox, shared })
    }

    /// Writes a request, or puts it behind those that wait to be written. When the connection has ended the request comes
    /// back.
    pub(crate) fn send(&self, queued: Queued) -> Result<(), Box<Queued>> {
        let is_muted = {
            let open = self.shared.open();
            if open.broken.is_some() || self.queue.is_closed() {
                return Err(Box::new(queued));
            }
            open.muted_until().is_some()
        };
        let written =
            if is_muted { Err(Box::new(queued)) } else { self.outbox.write_now(&self.shared, queued) };
        let task = match written {
            Ok(Left::Nothing) => return Ok(()),
            Ok(Left::Rest) => Task::WriteRest,
            Err(queued) => Task::Write(*queued),
        };
        self.outbox.add();
        match self.queue.send(task) {
            Err(mpsc::error::SendError(Task::Write(queued))) => {
                self.outbox.done(1);
                Err(Box::new(queued))
            }
            // Whose rest can't be written is answered with the end of the connection.
            Err(mpsc::error::SendError(Task::WriteRest)) | Ok(()) => Ok(()),
        }
    }

    /// True when nothing can be sent any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.queue.is_closed() || self.shared.open().broken.is_some()
    }

    /// How many requests wait for an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.open().requests.len()
    }

    /// How and when it ended, if it has.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.shared.open().broken.clone()
    }

    /// For how long the broker wants to hear nothing.
    pub(crate) fn muted_for(&self) -> Option<Duration> {
        self.shared.open().muted_until().map(|until| until - Instant::now())
    }

    /// The oldest request that waits for an answer, and how long its answer may still take.
    pub(crate) fn oldest(&self) -> Option<(ApiKey, Duration)> {
        let open = self.shared.open();
        let oldest = open.requests.front()?;
        Some((oldest.api, oldest.deadline.saturating_duration_since(Instant::now())))
    }

    /// What the broker speaks.
    pub(crate) fn versions(&self) -> &Versions {
        &self.shared.versions
    }

    /// Ends the connection; open requests are answered with a failure.
    pub(crate) fn close(&self) {
        self.shared.break_off(&ConnectionError::Released);
    }
}

impl Shared {
    pub(crate) fn new(address: Address, client_id: ByteString, versions: Versions) -> Self {
        Self {
            address,
            client_id,
            versions,
            max_idle: Duration::MAX,
            observer: None,
            open: Mutex::new(Open { used: Some(Instant::now()), ..Open::default() }),
            deadline_changed: Notify::new(),
            over: watch::Sender::new(false),
            is_writing: AtomicBool::new(false),
        }
    }

    fn observe(&self, tell: impl FnOnce(&dyn Observe)) {
        if let Some(observer) = &self.observer {
            tell(&**observer);
        }
    }

    /// Locked to look or to change, never across an await.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The system tells why a connection broke to whichever half asks first. The other one finds it closed, and waits a moment
    /// for the better answer before it gives its own.
    async fn break_off_after_the_other_half(&self, error: &ConnectionError, may_know_more: bool) {
        let is_vague = match error {
            ConnectionError::Closed | ConnectionError::ClosedUnknown => true,
            ConnectionError::Io(error) => error.kind() == std::io::ErrorKind::BrokenPipe,
            _ => false,
        };
        if is_vague && may_know_more {
            let _ = tokio::time::timeout(OTHER_HALF, is_over(&mut self.over.subscribe())).await;
        }
        self.break_off(error);
    }

    /// Ends the connection once and answers every open request.
    pub(crate) fn break_off(&self, error: &ConnectionError) {
        let cause: Arc<str> = format!("{}: {error}", self.address).into();
        let (requests, leaving, listener) = {
            let mut open = self.open();
            if open.broken.is_some() {
                return;
            }
            open.broken = Some(Broken {
                cause: Arc::clone(&cause),
                stage: error.stage(),
                at: Instant::now(),
                is_planned: matches!(error, ConnectionError::Idle(_) | ConnectionError::Released),
            });
            (std::mem::take(&mut open.requests), std::mem::take(&mut open.leaving), open.listener.take())
        };
        self.observe(Observe::closed);
        tracing::debug!(broker = %self.address, %error, unanswered = requests.len(), "connection over");
        let replies = requests.into_iter().map(|sent| sent.reply);
        for reply in replies.chain(leaving.into_iter().map(|leaving| leaving.reply)) {
            reply.answer(Err(Failure::new(FailureKind::Unanswered, Arc::clone(&cause))));
        }
        // A broker that refuses does so at once, and not when the connection has been idle for long.
        if let Some(listener) = listener.filter(|_| !matches!(error, ConnectionError::Idle(_))) {
            listener.hung_up(cause);
        }
        self.over.send_replace(true);
    }

    fn cause(&self) -> Option<Arc<str>> {
        self.open().broken.as_ref().map(|broken| Arc::clone(&broken.cause))
    }

    /// Waits until the broker wants to hear something again.
    async fn rest(&self) {
        let muted_until = || self.open().muted_until();
        while let Some(until) = muted_until() {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Renews the session, behind what was written last.
async fn log_in_again(shared: &Shared, pen: &mut Pen, login: &mut Login) -> Result<(), ConnectionError> {
    let sending = pen.at_the_start_of_a_frame().await.map_err(ConnectionError::Io)?;
    login.again(shared, sending).await
}

/// Ends with the connection.
async fn is_over(over: &mut watch::Receiver<bool>) {
    // Without a sender there is no connection either.
    let _ = over.wait_for(|over| *over).await;
}

/// One of the two tasks. However it ends, the connection ends with it: a runtime that shuts down drops its tasks.
struct Half(Arc<Shared>);

impl Drop for Half {
    fn drop(&mut self) {
        self.0.break_off(&ConnectionError::TaskEnded);
    }
}

impl Half {
    async fn write(
        self,
        outbox: Closing,
        mut tasks: mpsc::UnboundedReceiver<Task>,
        mut login: Option<Login>,
    ) {
        let (shared, outbox) = (&self.0, &*outbox.0);
        let mut over = shared.over.subscribe();
        let mut batch = Vec::with_capacity(WRITE_BATCH);
        loop {
            let received = tokio::select! {
                biased;
                () = is_over(&mut over) => break,
                () = login_is_due(login.as_ref()) => None,
                received = tasks.recv_many(&mut batch, WRITE_BATCH) => Some(received),
            };
            if received == Some(0) {
                shared.open().draining = true;
                shared.deadline_changed.notify_one();
                // Closing the sending half would make the broker hang up before it has answered.
                is_over(&mut over).await;
                break;
            }
            let writing = async {
                let _writing = Writing::begin(&shared.is_writing);
                shared.rest().await;
                // What is asked meanwhile waits in the queue.
                let mut pen = outbox.pen().await;
                // The session may have run out while the broker wanted to hear nothing.
                if let Some(login) = login.as_mut().filter(|login| login.is_due()) {
                    log_in_again(shared, &mut pen, login).await?;
                }
                pen.write(shared, &mut batch).await.map_err(ConnectionError::Io)
            };
            let written = tokio::select! {
                biased;
                () = is_over(&mut over) => break,
                written = writing => written,
            };
            outbox.done(received.unwrap_or(0));
            if let Err(error) = written {
                shared.break_off_after_the_other_half(&error, true).await;
                break;
            }
        }
        tasks.close();
        let cause = shared.cause().unwrap_or_else(|| Arc::from("the connection ended"));
        let queued = std::iter::from_fn(|| tasks.try_recv().ok());
        for queued in batch.into_iter().chain(queued).filter_map(Task::into_request) {
            queued.reply.answer(Err(Failure::new(FailureKind::NotSent, Arc::clone(&cause))));
        }
    }

    /// `is_known`: the broker has let the client in, or answered it.
    async fn read(self, mut reader: FrameReader<Receiving>, mut is_known: bool) {
        let shared = &self.0;
        let mut over = shared.over.subscribe();
        let mut alarm = std::pin::pin!(tokio::time::sleep_until(Instant::now()));
        loop {
            let (due, done) = {
                let mut open = shared.open();
                (open.set_alarm(shared.max_idle), open.draining && open.requests.is_empty())
            };
            if done {
                return shared.break_off(&ConnectionError::Released);
            }
            if let Some(due) = due.filter(|due| *due != alarm.deadline()) {
                alarm.as_mut().reset(due);
            }
            let result = tokio::select! {
                biased;
                () = is_over(&mut over) => return,
                frame = reader.next() => match frame {
                    Ok(frame) => {
                        is_known = true;
                        shared.take_answer(&frame)
                    }
                    // After what is not answered it may have refused that.
                    Err(ConnectionError::Closed) if !is_known && shared.open().listener.is_none() => {
                        Err(ConnectionError::ClosedUnknown)
                    }
                    Err(error) => Err(error),
                },
                () = shared.deadline_changed.notified() => Ok(()),
                () = &mut alarm, if due.is_some() => shared.check_deadlines(),
            };
            if let Err(error) = result {
                let may_know_more = shared.is_writing.load(Ordering::Acquire);
                return shared.break_off_after_the_other_half(&error, may_know_more).await;
            }
        }
    }
}

/// Set while the writer task has to do with the socket.
struct Writing<'a>(&'a AtomicBool);

impl<'a> Writing<'a> {
    fn begin(is_writing: &'a AtomicBool) -> Self {
        is_writing.store(true, Ordering::Release);
        Self(is_writing)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Words a request in the version that both sides speak, or answers that there is none.
    pub(crate) fn fit(&self, queued: Queued) -> Option<(Fitted, Waiting)> {
        let Queued { request, min_version, max_version, timeout, expects_answer, reply } = queued;
        let api = request.api_key();
        let version = self.versions.pick(api, max_version).filter(|version| *version >= min_version);
        let Some(version) = version else {
            let cause = format!(
                "{}: the broker speaks {} of {api}, this request needs {} to {}",
                self.address,
                self.versions.describe(api),
                min_version.max(*api.stable_versions().start()),
                max_version.min(*api.stable_versions().end()),
            );
            reply.answer(Err(Failure::new(FailureKind::Unsupported, cause)));
            return None;
        };
        let request = shape::to_version(request, version);
        Some((Fitted { request, version }, Waiting { timeout, expects_answer, reply }))
    }

    /// Encodes a request and opens it, or answers that it can't be sent.
    pub(crate) fn enter<'r>(&self, fitted: &'r Fitted, waiting: Waiting, frames: &mut Writer<'r>) {
        let Fitted { request, version } = fitted;
        let Waiting { timeout, expects_answer, reply } = waiting;
        let (version, api) = (*version, request.api_key());
        let mut open = self.open();
        if let Some(cause) = open.broken.as_ref().map(|broken| Arc::clone(&broken.cause)) {
            drop(open);
            return reply.answer(Err(Failure::new(FailureKind::NotSent, cause)));
        }
        let correlation_id = open.next_correlation_id;
        let encoded = encode_request_into(frames, request, version, correlation_id, Some(&self.client_id));
        if let Err(error) = encoded {
            drop(open);
            let cause = format!("{}: {error}", self.address);
            return reply.answer(Err(Failure::new(FailureKind::Unsupported, cause)));
        }
        open.next_correlation_id = correlation_id.wrapping_add(1);
        let now = now();
        // That the client says again who it is is no use made of the connection.
        if !matches!(api, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate) {
            open.used = Some(now.into());
        }
        let deadline = later(now, timeout).into();
        let rings_too_late = open.alarm.is_none_or(|alarm| deadline < alarm);
        if expects_answer {
            let at = now.into();
            open.requests.push_back(Sent { correlation_id, api, version, at, timeout, deadline, reply });
        } else {
            open.leaving.push(Leaving { api, timeout, deadline, reply });
        }
        drop(open);
        if rings_too_late {
            self.deadline_changed.notify_one();
        }
    }

    /// All that was entered has been written: what is not answered is done.
    pub(crate) fn all_written(&self) {
        let mut open = self.open();
        if open.leaving.is_empty() {
            return;
        }
        let leaving = std::mem::take(&mut open.leaving);
        drop(open);
        let listener = leaving.into_iter().filter_map(|leaving| leaving.reply.written()).last();
        let Some(listener) = listener else { return };
        let mut open = self.open();
        match open.broken.as_ref().map(|broken| Arc::clone(&broken.cause)) {
            None => open.listener = Some(listener),
            Some(cause) => {
                drop(open);
                listener.hung_up(cause);
            }
        }
    }

    fn take_answer(&self, frame: &Bytes) -> Result<(), ConnectionError> {
        let mut open = self.open();
        let got = correlation_id(frame).unwrap_or(-1);
        let sent = match open.requests.pop_front() {
            Some(sent) if sent.correlation_id == got => sent,
            other => {
                let expected = other.as_ref().map_or(-1, |sent| sent.correlation_id);
                // It is still unanswered, and break_off tells its owner.
                open.requests.extend(other);
                return Err(ConnectionError::Correlation { expected, got });
            }
        };
        drop(open);
        let Sent { api, version, at, reply, .. } = sent;
        self.observe(|observer| observer.answered(api, at.elapsed()));
        match decode_response(api, version, frame) {
            Ok(response) => {
                let pause = throttle(&response, version);
                if !pause.is_zero() {
                    tracing::debug!(broker = %self.address, ?pause, %api, "throttled");
                    self.observe(|observer| observer.throttled(api, pause));
                    // Before the answer is known, for that may have more to be asked at once.
                    self.open().mute(pause);
                }
                reply.answer(Ok(shape::from_version(response, version)));
                Ok(())
            }
            Err(error) => {
                let error = ConnectionError::Decode { api, version, error };
                let cause = format!("{}: {error}", self.address);
                reply.answer(Err(Failure::new(FailureKind::Unanswered, cause)));
                Err(error)
            }
        }
    }

    /// A request that is overdue ends the connection: the answers behind it would come in late as well.
    fn check_deadlines(&self) -> Result<(), ConnectionError> {
        let now = Instant::now();
        let open = self.open();
        if let Some(late) = open.requests.iter().find(|sent| sent.deadline <= now) {
            return Err(ConnectionError::RequestTimeout { api: late.api, timeout: late.timeout });
        }
        if let Some(late) = open.leaving.iter().find(|leaving| leaving.deadline <= now) {
            return Err(ConnectionError::WriteTimeout { api: late.api, timeout: late.timeout });
        }
        match open.idle_at(self.max_idle) {
            Some(idle_at) if idle_at <= now => Err(ConnectionError::Idle(self.max_idle)),
            _ => Ok(()),
        }
    }
}

/// An answer, or why there is none.
pub(crate) type Answered = Result<Response, Failure>;

#[cfg(test)]
mod tests {
    use milena_protocol::messages::{
        ApiVersionsResponse, MetadataRequest, ProduceRequest, api_versions::ApiVersion,
    };
    use tokio::sync::oneshot;

    use super::*;
    use crate::address_book::AddressBook;

    /// The reader may find the connection broken while the writer encodes: the request that comes too late is answered
    /// like those before it.
    #[tokio::test]
    async fn a_request_behind_the_end_is_answered() {
        let metadata = ApiVersion { api_key: 3, min_version: 0, max_version: 12, ..Default::default() };
        let versions = Versions::new(&ApiVersionsResponse { api_keys: vec![metadata], ..Default::default() });
        let here = Address { host: "here".to_owned(), port: 1 };
        let shared = Shared::new(here, ByteString::default(), versions);
        let send = || {
            let (caller, answer) = oneshot::channel();
            let reply = Reply::to_caller(caller, AddressBook::default());
            let request = MetadataRequest::default().into();
            let queued = Queued {
                request,
                min_version: 0,
                max_version: i16::MAX,
                timeout: Duration::MAX,
                expects_answer: true,
                reply,
            };
            let (fitted, waiting) = shared.fit(queued).unwrap();
            let mut frames = Writer::new();
            shared.enter(&fitted, waiting, &mut frames);
            (answer, frames.is_empty())
        };
        let (before, nothing_written) = send();
        assert!(!nothing_written);
        shared.break_off(&ConnectionError::Closed);
        let (after, nothing_written) = send();
        assert!(nothing_written);
        assert_eq!(before.await.unwrap().unwrap_err().kind, FailureKind::Unanswered);
        let failure = after.await.unwrap().unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotSent);
        assert_eq!(failure.to_string(), "here:1: the broker closed the connection");
    }

    /// A broker that is too old for what the request says is named, with what it would need.
    #[tokio::test]
    async fn a_request_that_needs_a_newer_broker_is_refused() {
        let produce = ApiVersion { api_key: 0, min_version: 0, max_version: 6, ..Default::default() };
        let versions = Versions::new(&ApiVersionsResponse { api_keys: vec![produce], ..Default::default() });
        let here = Address { host: "here".to_owned(), port: 1 };
        let shared = Shared::new(here, ByteString::default(), versions);
        let fits = |min_version| {
            let (caller, answer) = oneshot::channel();
            let reply = Reply::to_caller(caller, AddressBook::default());
            let request = ProduceRequest::default().into();
            let fitted = shared.fit(Queued {
                request,
                min_version,
                max_version: 12,
                timeout: Duration::MAX,
                expects_answer: true,
                reply,
            });
            (fitted.is_some(), answer)
        };
        assert!(fits(6).0);
        let (fitted, answer) = fits(7);
        assert!(!fitted);
        let failure = answer.await.unwrap().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unsupported);
        let expected = "here:1: the broker speaks versions 0 to 6 of Produce, this request needs 7 to 12";
        assert_eq!(failure.to_string(), expected);
    }
}
