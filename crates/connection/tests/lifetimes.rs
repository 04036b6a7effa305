//! How long connections are kept, when they are quiet, and when the brokers they lead to are no longer believed.
//!
//! The letter and number in a test's description is the row of the table of corner cases that it stands for.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use milena_cluster::{Backoff, BrokerId, Failure, FailureKind, Target};
use milena_connection::{Address, ConnectionConfig, Network};
use milena_protocol::{
    ApiKey, ErrorCode,
    frame::{decode_request, encode_response},
    messages::{
        ApiVersionsResponse, MetadataRequest, MetadataResponse, Response, api_versions::ApiVersion,
        metadata::MetadataResponseBroker,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

const SOON: Duration = Duration::from_secs(5);

/// What a scripted broker has seen.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// Of them, those that the client has ended.
    ended: usize,
    /// When a request came, besides those that begin a connection.
    asked: Vec<Instant>,
}

/// A broker that answers what it is asked for metadata with what the script makes of the number of the request.
#[derive(Clone)]
struct Scripted {
    address: Address,
    seen: Arc<Mutex<Seen>>,
}

type Script = Arc<dyn Fn(usize, &Address) -> MetadataResponse + Send + Sync>;

impl Scripted {
    async fn start(script: impl Fn(usize, &Address) -> MetadataResponse + Send + Sync + 'static) -> Self {
        Self::start_slow(|_| Duration::ZERO, script).await
    }

    /// Takes so long for each answer, one behind the other.
    async fn start_slow(
        takes: fn(usize) -> Duration,
        script: impl Fn(usize, &Address) -> MetadataResponse + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scripted = Self { address: Address { host: "127.0.0.1".to_owned(), port }, seen: Arc::default() };
        let (script, broker): (Script, _) = (Arc::new(script), scripted.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                broker.seen.lock().unwrap().connections += 1;
                let (broker, script) = (broker.clone(), Arc::clone(&script));
                tokio::spawn(async move {
                    let _ = broker.serve(stream, script, takes).await;
                    broker.seen.lock().unwrap().ended += 1;
                });
            }
        });
        scripted
    }

    async fn serve(
        &self,
        mut stream: TcpStream,
        script: Script,
        takes: fn(usize) -> Duration,
    ) -> std::io::Result<()> {
        loop {
            let mut frame = vec![0; stream.read_u32().await? as usize];
            stream.read_exact(&mut frame).await?;
            let header = decode_request(&frame.into()).unwrap().header;
            let response: Response = if header.request_api_key == ApiKey::ApiVersions.code() {
                let range = |api_key, max_version| ApiVersion { api_key, max_version, ..Default::default() };
                ApiVersionsResponse { api_keys: vec![range(3, 13), range(18, 4)], ..Default::default() }
                    .into()
            } else {
                let number = {
                    let mut seen = self.seen.lock().unwrap();
                    seen.asked.push(Instant::now());
                    seen.asked.len() - 1
                };
                tokio::time::sleep(takes(number)).await;
                script(number, &self.address).into()
            };
            let frame =
                encode_response(&response, header.request_api_version, header.correlation_id).unwrap();
            stream.write_all(&frame.to_bytes()).await?;
        }
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    fn ended(&self) -> usize {
        self.seen.lock().unwrap().ended
    }

    fn asked(&self) -> Vec<Instant> {
        self.seen.lock().unwrap().asked.clone()
    }
}

/// A cluster of one broker, 1, at this address.
fn at(address: &Address) -> MetadataResponse {
    let (host, port) = (address.host.as_str().into(), address.port.into());
    let broker = MetadataResponseBroker { node_id: 1, host, port, ..Default::default() };
    MetadataResponse { brokers: vec![broker], ..Default::default() }
}

fn network(bootstrap: &Address, turn: impl FnOnce(&mut ConnectionConfig)) -> Network {
    let mut config = ConnectionConfig {
        reconnect_backoff: Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(1) },
        ..Default::default()
    };
    turn(&mut config);
    Network::new(vec![bootstrap.clone()], config)
}

async fn ask(network: &Network, target: Target, timeout: Duration) -> Result<MetadataResponse, Failure> {
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    network.call(target, request, timeout).await
}

async fn until(what: impl Fn() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(begin.elapsed() < SOON, "it does not come to pass");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// C7.
#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_and_made_again() {
    let broker = Scripted::start(|_, address| at(address)).await;
    let network = network(&broker.address, |config| config.max_idle = Duration::from_millis(400));
    // In use it stays, longer than that.
    for _ in 0..6 {
        ask(&network, Target::AnyBroker, SOON).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((broker.connections(), broker.ended()), (1, 0));
    until(|| broker.ended() == 1).await;
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
    assert_eq!(broker.connections(), 2);
}

/// C7.
#[tokio::test]
async fn an_answer_that_takes_longer_than_a_connection_may_be_idle_is_waited_for() {
    let broker = Scripted::start_slow(|_| Duration::from_millis(600), |_, address| at(address)).await;
    let network = network(&broker.address, |config| config.max_idle = Duration::from_millis(100));
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
}

/// C5: nothing is sent while the broker does not want it, and what comes after has all of its time.
#[tokio::test]
async fn a_broker_that_throttles_is_left_alone_for_so_long() {
    const PAUSE: Duration = Duration::from_millis(400);
    let broker = Scripted::start(|number, address| MetadataResponse {
        throttle_time_ms: if number == 0 { PAUSE.as_millis() as i32 } else { 0 },
        ..at(address)
    })
    .await;
    let network = network(&broker.address, |_| {});
    let begin = Instant::now();
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
    assert!(begin.elapsed() < PAUSE, "the answer itself came at once");
    // Less time than the pause.
    let shorter = PAUSE / 2;
    let (second, third) =
        tokio::join!(ask(&network, Target::AnyBroker, shorter), ask(&network, Target::AnyBroker, shorter));
    second.unwrap();
    third.unwrap();
    let asked = broker.asked();
    assert!(asked[1] - asked[0] >= PAUSE - Duration::from_millis(20), "{asked:?}");
    assert_eq!((asked.len(), broker.connections()), (3, 1));
}

/// C5: the broker may have read nothing of what was on its way already.
#[tokio::test]
async fn what_was_on_its_way_has_so_much_more_time() {
    let broker = Scripted::start_slow(
        |number| Duration::from_millis(if number == 1 { 500 } else { 100 }),
        |number, address| MetadataResponse {
            throttle_time_ms: if number == 0 { 600 } else { 0 },
            ..at(address)
        },
    )
    .await;
    let network = network(&broker.address, |_| {});
    let timeout = Duration::from_millis(400);
    let connected = ask(&network, Target::AnyBroker, SOON);
    let (first, second) = tokio::join!(connected, async {
        until(|| broker.asked().len() == 1).await;
        ask(&network, Target::AnyBroker, timeout).await
    });
    first.unwrap();
    second.unwrap();
}

/// A connection that ends while the broker wants to hear nothing is over for what waits as well.
#[tokio::test]
async fn closing_does_not_wait_until_a_broker_wants_to_hear_again() {
    let broker =
        Scripted::start(|_, address| MetadataResponse { throttle_time_ms: 60_000, ..at(address) }).await;
    let network = network(&broker.address, |_| {});
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
    let waiting = tokio::spawn({
        let network = network.clone();
        async move { ask(&network, Target::AnyBroker, SOON).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    network.close();
    let failure = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent, "{failure}");
}

/// M4: the cluster behind the addresses is another one, says a broker of it.
#[tokio::test]
async fn a_client_that_is_told_to_begin_anew_does() {
    let new = Scripted::start(|_, address| at(address)).await;
    let (old_calls, moved) = (Arc::new(Mutex::new(0)), new.address.clone());
    let old = Scripted::start({
        let calls = Arc::clone(&old_calls);
        move |number, address| {
            *calls.lock().unwrap() += 1;
            match number {
                0 => at(address),
                1 => MetadataResponse {
                    error_code: ErrorCode::REBOOTSTRAP_REQUIRED.0,
                    ..MetadataResponse::default()
                },
                // The bootstrap address leads to the new cluster now.
                _ => at(&moved),
            }
        }
    })
    .await;
    let network = network(&old.address, |_| {});
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
    let told = ask(&network, Target::AnyBroker, SOON).await.unwrap_err();
    assert!(told.to_string().contains("the bootstrap addresses are asked again"), "{told}");
    let unknown = ask(&network, Target::Broker(BrokerId(1)), SOON).await.unwrap_err();
    assert_eq!(unknown.to_string(), "where the broker listens is not known");
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
    ask(&network, Target::Broker(BrokerId(1)), SOON).await.unwrap();
    assert_eq!(new.asked().len(), 1);
    // Over a connection of its own: the old one led to a cluster that is given up.
    assert_eq!(old.connections(), 2);
}

/// M4: a broker that has lost its cluster answers, and names nobody.
#[tokio::test]
async fn brokers_are_forgotten_when_metadata_does_not_come_for_long() {
    let patience = Duration::from_millis(300);
    let broker = Scripted::start(|number, address| match number {
        0 => at(address),
        _ => MetadataResponse::default(),
    })
    .await;
    let network = network(&broker.address, |config| config.rebootstrap_after = patience);
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
    let begin = Instant::now();
    // One that it names itself is asked directly.
    while ask(&network, Target::Broker(BrokerId(1)), SOON).await.is_ok() {
        assert!(begin.elapsed() < SOON, "it is never forgotten");
        ask(&network, Target::AnyBroker, SOON).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begin.elapsed() >= patience, "{:?}", begin.elapsed());
    // The connections for any broker were made anew.
    assert_eq!(broker.connections(), 3);
}

/// M5: an address that was one broker's is another's now.
#[tokio::test]
async fn a_broker_with_another_id_at_the_same_address_is_another_broker() {
    let broker = Scripted::start(|number, address| {
        let mut cluster = at(address);
        cluster.brokers[0].node_id = if number < 2 { 1 } else { 2 };
        cluster
    })
    .await;
    let network = network(&broker.address, |_| {});
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
    ask(&network, Target::Broker(BrokerId(1)), SOON).await.unwrap();
    ask(&network, Target::AnyBroker, SOON).await.unwrap();
    ask(&network, Target::Broker(BrokerId(2)), SOON).await.unwrap();
    let gone = ask(&network, Target::Broker(BrokerId(1)), SOON).await.unwrap_err();
    assert_eq!(gone.to_string(), "where the broker listens is not known");
    assert_eq!(broker.connections(), 3);
}

/// Accepts connections and says nothing.
async fn silent() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    Address { host: "127.0.0.1".to_owned(), port }
}

/// C6 (KIP-601): the time for a connection doubles with each failure, up to its bound.
#[tokio::test]
async fn each_try_to_connect_has_more_time_than_the_one_before() {
    let network = network(&silent().await, |config| {
        config.setup_timeout = Duration::from_millis(50);
        config.max_setup_timeout = Some(Duration::from_millis(150));
    });
    for expected in ["50ms", "100ms", "150ms", "150ms"] {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let failure = ask(&network, Target::AnyBroker, SOON).await.unwrap_err();
        assert!(
            failure.to_string().ends_with(&format!("within {expected}; is this a Kafka port, in plaintext?")),
            "{failure}"
        );
    }
}
