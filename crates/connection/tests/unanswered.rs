//! Requests that brokers do not answer: Produce with acks 0.
//!
//! The letter and number in a test's description is the row of the table of corner cases that it stands for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_cluster::{Deadline, Failure, FailureKind, Machine, Outgoing, RequestId, RequestIds, Target};
use milena_connection::{Address, ConnectionConfig, Driven, Network, drive};
use milena_protocol::{
    ApiKey,
    frame::{decode_request, encode_response},
    messages::{
        ApiVersionsResponse, MetadataRequest, MetadataResponse, ProduceRequest, Request, Response,
        api_versions::ApiVersion,
        produce::{PartitionProduceData, TopicProduceData},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);
/// More than the buffers of both ends of a socket take.
const LARGE: usize = 48 << 20;

/// What the loop told of a request, by its number.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Answered(u64),
    Written(u64),
    Failed(u64, FailureKind, String),
    HungUp(u64, String),
}

/// Sends what it is given and notes what it hears.
#[derive(Default)]
struct Postman {
    ids: RequestIds,
    sent: Vec<RequestId>,
    outbox: VecDeque<Outgoing>,
    heard: VecDeque<Heard>,
}

impl Postman {
    fn send(&mut self, request: impl Into<Request>, timeout: Duration, expects_answer: bool) {
        let id = self.ids.allocate();
        self.sent.push(id);
        let outgoing = Outgoing::new(id, Target::AnyBroker, request, timeout);
        self.outbox.push_back(Outgoing { expects_answer, ..outgoing });
    }

    fn number(&self, id: RequestId) -> u64 {
        self.sent.iter().position(|sent| *sent == id).unwrap() as u64
    }
}

impl Machine for Postman {
    type Event = Heard;

    fn handle_response(&mut self, _: Instant, id: RequestId, result: Result<Response, Failure>) {
        let number = self.number(id);
        self.heard.push_back(match result {
            Ok(_) => Heard::Answered(number),
            Err(failure) => Heard::Failed(number, failure.kind, failure.to_string()),
        });
    }

    fn handle_written(&mut self, _: Instant, id: RequestId) {
        self.heard.push_back(Heard::Written(self.number(id)));
    }

    fn handle_hangup(&mut self, _: Instant, id: RequestId, cause: &Arc<str>) {
        self.heard.push_back(Heard::HungUp(self.number(id), cause.to_string()));
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_request(&mut self, _: Instant) -> Option<Outgoing> {
        self.outbox.pop_front()
    }

    fn poll_event(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
}

/// A postman at work, and what it hears.
struct Post {
    driven: Arc<Driven<Postman>>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Post {
    fn to(address: Address) -> Self {
        let driven = Driven::new(Postman::default());
        let network = Network::new(vec![address], ConnectionConfig::default());
        let (told, heard) = mpsc::unbounded_channel();
        let driving = drive(Arc::clone(&driven), network, move |event| match told.send(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        tokio::spawn(driving);
        Self { driven, heard }
    }

    /// Sends a batch without waiting for an answer.
    fn throw(&self, records: Bytes, timeout: Duration) {
        let data = PartitionProduceData { records: Some(records), ..Default::default() };
        let topic = TopicProduceData {
            name: "letters".into(),
            partition_data: vec![data].into(),
            ..Default::default()
        };
        let request = ProduceRequest { acks: 0, topic_data: vec![topic].into(), ..Default::default() };
        self.driven.change(|postman, _| postman.send(request, timeout, false));
    }

    fn ask(&self) {
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        self.driven.change(|postman, _| postman.send(request, SOON, true));
    }

    async fn hears(&mut self) -> Heard {
        timeout(SOON, self.heard.recv()).await.expect("nothing is heard").unwrap()
    }

    async fn hears_nothing(&mut self, wait: Duration) {
        let heard = timeout(wait, self.heard.recv()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

/// A broker of one's own: it has told its versions, and the rest is up to the test.
async fn broker() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Address { host: "127.0.0.1".to_owned(), port })
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.expect("nobody connects").unwrap();
    let (_, version, correlation_id) = receive(&mut stream).await;
    let range =
        |api_key, max_version| ApiVersion { api_key, min_version: 0, max_version, ..Default::default() };
    let versions =
        ApiVersionsResponse { api_keys: vec![range(0, 9), range(3, 12), range(18, 4)], ..Default::default() };
    reply(&mut stream, versions, version, correlation_id).await;
    stream
}

/// API, version and correlation id of the next request.
async fn receive(stream: &mut TcpStream) -> (ApiKey, i16, i32) {
    let mut prefix = [0; 4];
    timeout(SOON, stream.read_exact(&mut prefix)).await.expect("nothing comes").unwrap();
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame).await.unwrap();
    let request = decode_request(&frame.into()).unwrap();
    let api = request.body.unwrap().api_key();
    (api, request.header.request_api_version, request.header.correlation_id)
}

async fn reply(stream: &mut TcpStream, response: impl Into<Response>, version: i16, correlation_id: i32) {
    let frame = encode_response(&response.into(), version, correlation_id).unwrap();
    stream.write_all(&frame.to_bytes()).await.unwrap();
}

/// Bytes that tell when nobody holds them any more.
fn watched(len: usize) -> (Bytes, Arc<AtomicBool>) {
    struct Watched(Vec<u8>, Arc<AtomicBool>);
    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Watched {
        fn drop(&mut self) {
            self.1.store(true, Ordering::SeqCst);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    (Bytes::from_owner(Watched(vec![7; len], Arc::clone(&gone))), gone)
}

/// P17.
#[tokio::test]
async fn p17_answers_find_their_requests_among_those_that_are_not_answered() {
    let (listener, address) = broker().await;
    let mut post = Post::to(address);
    for _ in 0..3 {
        post.throw(Bytes::from_static(b"batch"), SOON);
        post.ask();
    }
    let mut stream = accept(&listener).await;
    for number in 0..3 {
        assert_eq!(receive(&mut stream).await, (ApiKey::Produce, 9, 2 * number));
        assert_eq!(receive(&mut stream).await, (ApiKey::Metadata, 12, 2 * number + 1));
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(post.hears().await);
    }
    assert_eq!(heard, [Heard::Written(0), Heard::Written(2), Heard::Written(4)]);
    for number in 0..3 {
        reply(&mut stream, MetadataResponse::default(), 12, 2 * number + 1).await;
        assert_eq!(post.hears().await, Heard::Answered(2 * number as u64 + 1));
    }
}

/// P17: nobody waits for an answer, so none is ever late.
#[tokio::test]
async fn p17_a_peer_that_never_answers_keeps_its_connection_past_the_timeout() {
    let (listener, address) = broker().await;
    let mut post = Post::to(address);
    let short = Duration::from_millis(50);
    post.throw(Bytes::from_static(b"batch"), short);
    let mut stream = accept(&listener).await;
    for number in 0..4 {
        assert_eq!(receive(&mut stream).await, (ApiKey::Produce, 9, number));
        assert_eq!(post.hears().await, Heard::Written(number as u64));
        post.hears_nothing(3 * short).await;
        post.throw(Bytes::from_static(b"batch"), short);
    }
    assert!(timeout(short, listener.accept()).await.is_err(), "there is one connection");
}

/// P11, P17: what the socket has not taken is not done, and is held.
#[tokio::test]
async fn p11_the_bytes_of_a_request_are_held_until_the_socket_has_them() {
    let (listener, address) = broker().await;
    let mut post = Post::to(address);
    let (records, gone) = watched(LARGE);
    post.throw(records, SOON);
    let mut stream = accept(&listener).await;
    post.hears_nothing(Duration::from_millis(200)).await;
    assert!(!gone.load(Ordering::SeqCst), "the peer has not read them");
    assert_eq!(receive(&mut stream).await, (ApiKey::Produce, 9, 0));
    assert_eq!(post.hears().await, Heard::Written(0));
    // The writer lets go of them when it has told.
    post.ask();
    assert_eq!(receive(&mut stream).await.0, ApiKey::Metadata);
    assert!(gone.load(Ordering::SeqCst));
}

/// P11, P17.
#[tokio::test]
async fn p17_a_connection_that_dies_while_a_request_is_written_fails_it() {
    let (listener, address) = broker().await;
    let mut post = Post::to(address);
    let (records, gone) = watched(LARGE);
    post.throw(records, SOON);
    let stream = accept(&listener).await;
    post.hears_nothing(Duration::from_millis(100)).await;
    assert!(!gone.load(Ordering::SeqCst));
    drop(stream);
    let heard = post.hears().await;
    assert!(matches!(heard, Heard::Failed(0, FailureKind::Unanswered, _)), "{heard:?}");
    post.hears_nothing(Duration::from_millis(50)).await;
    assert!(gone.load(Ordering::SeqCst), "the connection is gone, and so are they");
}

/// P17: a peer that takes nothing does not hold a request for ever.
#[tokio::test]
async fn p17_a_peer_that_does_not_read_is_given_up_after_the_timeout() {
    let (listener, address) = broker().await;
    let mut post = Post::to(address);
    post.throw(vec![7; LARGE].into(), Duration::from_millis(300));
    post.throw(Bytes::from_static(b"behind"), SOON);
    let stream = accept(&listener).await;
    let heard = post.hears().await;
    let Heard::Failed(0, FailureKind::Unanswered, cause) = heard else { panic!("{heard:?}") };
    assert!(
        cause.ends_with("Produce could not be written within 300ms: the broker does not read"),
        "{cause}"
    );
    // What was queued behind it may be part of the same write; either way it has not been written.
    let behind = post.hears().await;
    assert!(matches!(behind, Heard::Failed(1, ..)), "{behind:?}");
    drop(stream);
}

/// P17: a broker that refuses what it does not answer hangs up.
#[tokio::test]
async fn p17_the_end_of_the_connection_is_told_to_who_sent_what_was_not_answered() {
    let (listener, address) = broker().await;
    let mut post = Post::to(address);
    post.throw(Bytes::from_static(b"first"), SOON);
    let mut stream = accept(&listener).await;
    assert_eq!(post.hears().await, Heard::Written(0));
    post.throw(Bytes::from_static(b"second"), SOON);
    assert_eq!(post.hears().await, Heard::Written(1));
    receive(&mut stream).await;
    receive(&mut stream).await;
    drop(stream);
    let heard = post.hears().await;
    let Heard::HungUp(1, cause) = heard else { panic!("{heard:?}") };
    // Nothing was answered on it, which is no sign of a broker that wants a login.
    assert!(cause.ends_with(": the broker closed the connection"), "{cause}");
    // The next one has a connection of its own.
    post.throw(Bytes::from_static(b"third"), SOON);
    let mut stream = accept(&listener).await;
    assert_eq!(receive(&mut stream).await, (ApiKey::Produce, 9, 0));
    assert_eq!(post.hears().await, Heard::Written(2));
}

/// A connection on which everything was answered ends without a word: there is nothing to learn from it.
#[tokio::test]
async fn the_end_of_a_connection_with_answers_only_is_told_to_nobody() {
    let (listener, address) = broker().await;
    let mut post = Post::to(address);
    post.ask();
    let mut stream = accept(&listener).await;
    let (_, version, correlation_id) = receive(&mut stream).await;
    reply(&mut stream, MetadataResponse::default(), version, correlation_id).await;
    assert_eq!(post.hears().await, Heard::Answered(0));
    drop(stream);
    post.hears_nothing(Duration::from_millis(100)).await;
}
