//! Requests that were on their way when something ended: each is answered.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use milena_cluster::{BrokerId, Failure, FailureKind, Target};
use milena_connection::{Address, ConnectionConfig, Dial, Network};
use milena_protocol::{
    frame::{decode_request, encode_response},
    messages::{
        ApiVersionsResponse, MetadataRequest, MetadataResponse, Request, Response, api_versions::ApiVersion,
        metadata::MetadataResponseBroker,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

const SOON: Duration = Duration::from_secs(5);

fn address(port: u16) -> Address {
    Address { host: "127.0.0.1".to_owned(), port }
}

/// Accepts connections, reads, and says nothing.
async fn silent() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    address(port)
}

/// A broker that names broker 1 at `brokers`, one address after the other, the last for ever.
async fn broker(brokers: Vec<Address>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let asked: &AtomicUsize = Box::leak(Box::default());
        let brokers: &[Address] = brokers.leak();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, brokers, asked));
        }
    });
    address(port)
}

async fn serve(mut stream: TcpStream, brokers: &[Address], asked: &AtomicUsize) {
    let mut prefix = [0; 4];
    while stream.read_exact(&mut prefix).await.is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let request = decode_request(&frame.into()).unwrap();
        let response: Response = match request.body {
            Ok(Request::ApiVersions(_)) => {
                let range = |api_key, max_version| ApiVersion {
                    api_key,
                    min_version: 0,
                    max_version,
                    ..Default::default()
                };
                ApiVersionsResponse { api_keys: vec![range(3, 12), range(18, 4)], ..Default::default() }
                    .into()
            }
            _ => {
                let turn = asked.fetch_add(1, Ordering::Relaxed);
                let named = brokers.get(turn).or(brokers.last()).into_iter();
                let brokers = named.map(|address| MetadataResponseBroker {
                    node_id: 1,
                    host: address.host.as_str().into(),
                    port: address.port.into(),
                    ..Default::default()
                });
                MetadataResponse { brokers: brokers.collect(), ..Default::default() }.into()
            }
        };
        let header = request.header;
        let frame = encode_response(&response, header.request_api_version, header.correlation_id).unwrap();
        stream.write_all(&frame.to_bytes()).await.unwrap();
    }
}

fn network(bootstrap: Address, setup_timeout: Duration) -> Network {
    Network::new(vec![bootstrap], ConnectionConfig { setup_timeout, ..Default::default() })
}

async fn ask(network: Network, target: Target) -> Result<MetadataResponse, Failure> {
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    tokio::time::timeout(SOON, network.call(target, request, Duration::MAX)).await.unwrap()
}

async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn closing_answers_what_waits_for_a_connection() {
    let network = network(silent().await, Duration::MAX);
    let asked = tokio::spawn(ask(network.clone(), Target::AnyBroker));
    a_moment().await;
    network.close();
    for failure in [asked.await.unwrap(), ask(network, Target::AnyBroker).await] {
        let failure = failure.unwrap_err();
        assert_eq!(
            (failure.kind, failure.to_string().as_str()),
            (FailureKind::NotSent, "the client is closed")
        );
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_runtime_that_ends_leaves_nothing_waiting_for_a_connection() {
    let (ours, theirs) = (runtime(), runtime());
    ours.block_on(async {
        let network = network(silent().await, Duration::from_secs(3));
        // The connection is the other runtime's; whoever waits for it is not.
        drop(theirs.spawn(ask(network.clone(), Target::AnyBroker)));
        a_moment().await;
        let asked = tokio::spawn(ask(network.clone(), Target::AnyBroker));
        a_moment().await;
        theirs.shutdown_background();
        let failure = asked.await.unwrap().unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotSent);
        assert_eq!(failure.to_string(), "the runtime of the client has ended");
        // The next one tries again.
        let failure = ask(network, Target::AnyBroker).await.unwrap_err();
        assert!(failure.to_string().contains("within 3s"), "{failure}");
    });
}

/// M5: whoever waits for a broker that is being connected goes where the broker is by then.
#[tokio::test]
async fn a_broker_that_moves_while_it_is_connected_is_found() {
    let there = broker(Vec::new()).await;
    let bootstrap = broker(vec![silent().await, there]).await;
    let network = network(bootstrap, Duration::from_millis(500));
    ask(network.clone(), Target::AnyBroker).await.unwrap();
    let first = tokio::spawn(ask(network.clone(), Target::Broker(BrokerId(1))));
    a_moment().await;
    ask(network.clone(), Target::AnyBroker).await.unwrap();
    let second = tokio::spawn(ask(network.clone(), Target::Broker(BrokerId(1))));
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn every_address_that_fails_is_named() {
    let closed = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        address(listener.local_addr().unwrap().port())
    };
    let (first, second) = (closed().await, closed().await);
    let network = Network::new(vec![first.clone(), second.clone()], ConnectionConfig::default());
    let text = ask(network, Target::AnyBroker).await.unwrap_err().to_string();
    let texts: Vec<_> = text.split("; ").collect();
    assert_eq!(texts.len(), 2, "{text}");
    assert!(texts[0].starts_with(&format!("{first}: can't connect")), "{text}");
    assert!(texts[1].starts_with(&format!("{second}: can't connect")), "{text}");
}

/// Which half of a stream is told by the system why it broke. The other one finds it closed.
#[derive(Clone, Copy, Debug)]
enum Told {
    Reader,
    Writer,
}

/// A connection that breaks at its third frame, and tells one half later than the other.
struct Breaking {
    stream: TcpStream,
    frames: usize,
    told: Told,
    late: Pin<Box<tokio::time::Sleep>>,
    reader: Option<Waker>,
}

impl Breaking {
    const FRAMES: usize = 2;

    /// What the half that is told hears, when its time has come.
    fn poll_cause(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.late.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.frames <= Self::FRAMES {
            self.reader = Some(cx.waker().clone());
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        match self.told {
            Told::Reader => self.poll_cause(cx).map(Err),
            Told::Writer => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.frames < Self::FRAMES {
            self.frames += 1;
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        if self.frames == Self::FRAMES {
            self.frames += 1;
            self.late.as_mut().reset(tokio::time::Instant::now() + Duration::from_millis(20));
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        match self.told {
            Told::Writer => self.poll_cause(cx).map(Err),
            Told::Reader => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The system gives the reason to whoever asks first: it is what the caller reads, and not that the other half found the
/// connection closed.
#[tokio::test]
async fn the_half_that_knows_why_a_connection_broke_is_heard() {
    for told in [Told::Reader, Told::Writer] {
        let dial = Dial::new(move |address: Address| async move {
            let stream = TcpStream::connect((address.host, address.port)).await?;
            let late = Box::pin(tokio::time::sleep(Duration::ZERO));
            Ok(Breaking { stream, frames: 0, told, late, reader: None })
        });
        let config = ConnectionConfig { dial: Some(dial), ..Default::default() };
        let network = Network::new(vec![broker(Vec::new()).await], config);
        ask(network.clone(), Target::AnyBroker).await.unwrap();
        let failure = ask(network, Target::AnyBroker).await.unwrap_err();
        assert!(failure.to_string().contains("timed out"), "{told:?}: {failure}");
    }
}
