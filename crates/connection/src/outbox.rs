//! The sending half of a connection, and who writes.
//!
//! A request is written by the connection's writer task, which waits where the socket has no room. When nothing is ahead of a
//! small request, whoever has it writes it instead, at once and without waiting: a task that is woken first, on another
//! thread perhaps, costs a request more than its own writing. What the socket has no room for is left to the task. So the
//! order stays that of sending, and nobody who gives up leaves half a frame behind.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Buf;
use milena_protocol::{messages::Request, wire::Writer};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    ConnectionError,
    connection::{Queued, Shared, Task},
    frame_stream::write_all,
    stream::Sending,
};

/// How many bytes of the room that requests are written into are kept for the next ones: they are small, but for the
/// payloads, which do not go through it.
const KEPT_ROOM: usize = 64 * 1024;

/// Larger requests are left to the writer task: copying them into the socket would hold up whoever has others.
const AT_ONCE: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Outbox {
    pen: Mutex<Pen>,
    /// Requests that the writer task has been given and has not written.
    queued: AtomicUsize,
}

/// What one needs to write.
#[derive(Debug)]
pub(crate) struct Pen {
    /// Until the connection has ended. Whoever writes waits for [`Self::at_the_start_of_a_frame`], or knows that nothing is left.
    sending: Option<Sending>,
    room: Writer<'static>,
    /// What the socket had no room for.
    rest: Vec<u8>,
}

/// What is left of writing at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// The writer task has to write the rest.
    Rest,
}

impl Outbox {
    pub(crate) fn new(sending: Sending) -> Self {
        let pen = Pen { sending: Some(sending), room: Writer::new(), rest: Vec::new() };
        Self { pen: Mutex::new(pen), queued: AtomicUsize::new(0) }
    }

    /// Something more for the writer task.
    pub(crate) fn add(&self) {
        self.queued.fetch_add(1, Ordering::AcqRel);
    }

    /// So many less.
    pub(crate) fn done(&self, count: usize) {
        self.queued.fetch_sub(count, Ordering::AcqRel);
    }

    /// For the writer task: nobody else writes while it has it.
    pub(crate) async fn pen(&self) -> MutexGuard<'_, Pen> {
        self.pen.lock().await
    }

    /// Writes a request if that can be done at once and in its turn; gives it back if not.
    pub(crate) fn write_now(&self, shared: &Shared, queued: Queued) -> Result<Left, Box<Queued>> {
        if self.queued.load(Ordering::Acquire) > 0 || payload_len(&queued.request) > AT_ONCE {
            return Err(Box::new(queued));
        }
        match self.pen.try_lock() {
            Ok(mut pen) if pen.may_write_now() => Ok(pen.write_now(shared, queued)),
            _ => Err(Box::new(queued)),
        }
    }
}

/// Closes the sending half when the writer task ends, however it does.
#[derive(Debug)]
pub(crate) struct Closing(pub(crate) Arc<Outbox>);

impl Drop for Closing {
    fn drop(&mut self) {
        // Whoever holds it for a write at once finds the connection over; then it closes with the last handle.
        if let Ok(mut pen) = self.0.pen.try_lock() {
            pen.sending = None;
        }
    }
}

/// Bytes of a request that do not go through the room for small ones.
fn payload_len(request: &Request) -> usize {
    let Request::Produce(produce) = request else { return 0 };
    let mut len = 0usize;
    for topic in &produce.topic_data {
        for partition in &topic.partition_data {
            len = len.saturating_add(partition.records.as_ref().map_or(0, bytes::Bytes::len));
        }
    }
    len
}

impl Pen {
    fn may_write_now(&self) -> bool {
        self.rest.is_empty() && self.sending.as_ref().is_some_and(Sending::has_try_write)
    }

    fn write_now(&mut self, shared: &Shared, queued: Queued) -> Left {
        let Some((fitted, waiting)) = shared.fit(queued) else { return Left::Nothing };
        let mut frames = std::mem::take(&mut self.room).recycle(KEPT_ROOM);
        shared.enter(&fitted, waiting, &mut frames);
        let mut chunks = frames.chunks();
        let written = self.sending.as_ref().map_or(Ok(()), |sending| sending.try_write(&mut chunks));
        while chunks.has_remaining() {
            let chunk = chunks.chunk();
            self.rest.extend_from_slice(chunk);
            chunks.advance(chunk.len());
        }
        self.room = frames.recycle(KEPT_ROOM);
        match written {
            Err(error) => {
                shared.break_off(&ConnectionError::Io(error));
                Left::Nothing
            }
            Ok(()) if self.rest.is_empty() => {
                shared.all_written();
                Left::Nothing
            }
            Ok(()) => Left::Rest,
        }
    }

    /// The socket, once what was left of a frame has been written.
    ///
    /// # Cancellation
    /// Dropping the future may leave half a frame behind: the connection has to end with it.
    pub(crate) async fn at_the_start_of_a_frame(&mut self) -> std::io::Result<&mut Sending> {
        let sending = self.sending.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
        if !self.rest.is_empty() {
            write_all(sending, &mut &*self.rest).await?;
            self.rest = Vec::new();
        }
        Ok(sending)
    }

    /// Writes what was left, and what there is to do. A request is taken out of `tasks` when it is opened, so that those that
    /// stay there were not sent.
    ///
    /// # Cancellation
    /// Dropping the future may leave half a frame behind: the connection has to end with it.
    pub(crate) async fn write(&mut self, shared: &Shared, tasks: &mut Vec<Task>) -> std::io::Result<()> {
        self.at_the_start_of_a_frame().await?;
        let requests = tasks.drain(..).filter_map(Task::into_request);
        let fitting = requests.filter_map(|queued| shared.fit(queued));
        let (fitted, waiting): (Vec<_>, Vec<_>) = fitting.unzip();
        // The frames borrow their payloads from the requests until they are written.
        let mut frames = std::mem::take(&mut self.room).recycle(KEPT_ROOM);
        for (fitted, waiting) in fitted.iter().zip(waiting) {
            shared.enter(fitted, waiting, &mut frames);
        }
        let sending = self.sending.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
        let written = write_all(sending, &mut frames.chunks()).await;
        self.room = frames.recycle(KEPT_ROOM);
        written?;
        shared.all_written();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll, time::Duration};

    use milena_cluster::FailureKind;
    use milena_protocol::messages::{
        ApiVersionsResponse, MetadataRequest, api_versions::ApiVersion, metadata::MetadataRequestTopic,
    };
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
        sync::oneshot,
    };

    use super::*;
    use crate::{
        Address, address_book::AddressBook, connection::Answered, frame_stream::FrameReader, reply::Reply,
        versions::Versions,
    };

    fn shared() -> Shared {
        let metadata = ApiVersion { api_key: 3, min_version: 0, max_version: 12, ..Default::default() };
        let versions = Versions::new(&ApiVersionsResponse { api_keys: vec![metadata], ..Default::default() });
        Shared::new(Address { host: "here".to_owned(), port: 1 }, "test".into(), versions)
    }

    /// A request of some 30 kB.
    fn question() -> (Queued, oneshot::Receiver<Answered>) {
        let (caller, answer) = oneshot::channel();
        let topic = MetadataRequestTopic { name: Some("t".repeat(200).into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic; 150]), ..Default::default() };
        let queued = Queued {
            request: request.into(),
            min_version: 0,
            max_version: i16::MAX,
            timeout: Duration::MAX,
            expects_answer: true,
            reply: Reply::to_caller(caller, AddressBook::default()),
        };
        (queued, answer)
    }

    /// An outbox that holds half a frame, for the other end has not read anything, and how many frames were begun.
    async fn stuck(shared: &Shared) -> (Outbox, TcpStream, Vec<oneshot::Receiver<Answered>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let (_, sending) = near.into_split();
        let outbox = Outbox::new(Sending::Tcp(sending));
        let mut answers = Vec::new();
        loop {
            let (queued, answer) = question();
            answers.push(answer);
            if outbox.write_now(shared, queued).unwrap() == Left::Rest {
                return (outbox, far, answers);
            }
        }
    }

    /// C9: who logs in again does so behind the frame that is half written.
    #[tokio::test]
    async fn nothing_gets_into_the_middle_of_a_frame() {
        let shared = shared();
        let (outbox, far, begun) = stuck(&shared).await;
        let reading = tokio::spawn(async move {
            let mut reader = FrameReader::new(far, 1 << 20);
            for _ in &begun {
                assert!(reader.next().await.unwrap().len() > 30_000);
            }
            assert_eq!(&reader.next().await.unwrap()[..], b"who I am");
        });
        let mut pen = outbox.pen().await;
        let sending = pen.at_the_start_of_a_frame().await.unwrap();
        write_all(sending, &mut &b"\0\0\0\x08who I am"[..]).await.unwrap();
        reading.await.unwrap();
    }

    /// What waits behind a frame that the socket does not take was not sent, and can be told so.
    #[tokio::test]
    async fn what_is_behind_a_stuck_frame_stays_with_its_owner() {
        let shared = shared();
        let (outbox, mut far, begun) = stuck(&shared).await;
        let (queued, mut behind) = question();
        let mut tasks = vec![Task::WriteRest, Task::Write(queued)];
        {
            let mut pen = outbox.pen().await;
            let mut writing = std::pin::pin!(pen.write(&shared, &mut tasks));
            poll_fn(|cx| {
                assert!(writing.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(tasks.len(), 2);
        shared.break_off(&ConnectionError::Closed);
        for answer in begun {
            assert_eq!(answer.await.unwrap().unwrap_err().kind, FailureKind::Unanswered);
        }
        assert!(behind.try_recv().is_err(), "its owner says what became of it");
        drop(outbox);
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        assert!(!received.is_empty());
    }
}
