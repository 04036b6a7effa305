//! Peers that are no broker, or a broken one: each is named within its deadline.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{future::Future, net::SocketAddr, time::Duration};

use milena_cluster::{Backoff, BrokerId, Failure, FailureKind, Target};
use milena_connection::{Address, ConnectionConfig, Network};
use milena_protocol::{
    ErrorCode,
    frame::{decode_request, encode_response},
    messages::{
        ApiVersionsResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, Request,
        Response,
        api_versions::ApiVersion,
        metadata::{MetadataRequestTopic, MetadataResponseBroker},
        produce::{PartitionProduceData, TopicProduceData},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const TIMEOUT: Duration = Duration::from_millis(300);

/// A peer that answers each connection with `behave`.
async fn peer<F: Future<Output = ()> + Send + 'static>(behave: fn(TcpStream, SocketAddr) -> F) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream, local));
        }
    });
    Address { host: "127.0.0.1".to_owned(), port: local.port() }
}

fn network(bootstrap: Vec<Address>) -> Network {
    let config = ConnectionConfig {
        setup_timeout: Duration::from_millis(500),
        reconnect_backoff: Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(1) },
        ..Default::default()
    };
    Network::new(bootstrap, config)
}

async fn ask(network: &Network, target: Target) -> Result<MetadataResponse, Failure> {
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    network.call(target, request, TIMEOUT).await
}

async fn failure(address: Address) -> Failure {
    ask(&network(vec![address]), Target::AnyBroker).await.unwrap_err()
}

async fn read_frame(stream: &mut TcpStream) -> bytes::Bytes {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.unwrap();
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame).await.unwrap();
    frame.into()
}

async fn reply(stream: &mut TcpStream, response: impl Into<Response>, version: i16, correlation_id: i32) {
    let frame = encode_response(&response.into(), version, correlation_id).unwrap();
    stream.write_all(&frame.to_bytes()).await.unwrap();
}

fn versions() -> ApiVersionsResponse {
    let range =
        |api_key, max_version| ApiVersion { api_key, min_version: 0, max_version, ..Default::default() };
    ApiVersionsResponse { api_keys: vec![range(3, 12), range(18, 4)], ..Default::default() }
}

/// Answers the first request, about versions, as a broker does.
async fn agree(stream: &mut TcpStream) {
    let request = decode_request(&read_frame(stream).await).unwrap();
    reply(stream, versions(), request.header.request_api_version, request.header.correlation_id).await;
}

#[tokio::test]
async fn a_closed_port_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = failure(Address { host: "127.0.0.1".to_owned(), port }).await;
    assert_eq!(failure.kind, FailureKind::NotSent);
    let text = failure.to_string();
    assert!(text.starts_with(&format!("127.0.0.1:{port}: can't connect: ")), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_name_without_address_is_said_so() {
    let failure = failure(Address { host: "no-such-host.invalid".to_owned(), port: 9092 }).await;
    let text = failure.to_string();
    assert!(text.starts_with("no-such-host.invalid:9092: the host name can't be resolved"), "{text}");
}

/// C1.
#[tokio::test]
async fn an_http_server_is_named() {
    let address = peer(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let text = failure(address.await).await.to_string();
    assert!(text.ends_with("the peer speaks HTTP, not Kafka"), "{text}");
}

/// C1.
#[tokio::test]
async fn a_tls_server_is_named() {
    let address = peer(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(&[0x15, 3, 3, 0, 2, 2, 22]).await;
    });
    let text = failure(address.await).await.to_string();
    assert!(text.ends_with("the peer speaks TLS; this connection is in plaintext"), "{text}");
}

/// C1.
#[tokio::test]
async fn a_frame_over_the_limit_is_refused() {
    let address = peer(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(&[0x7f, 0, 0, 0, 1]).await;
    });
    let text = failure(address.await).await.to_string();
    assert!(text.contains("a frame of 2130706432 bytes is announced, over the limit of 104857600"), "{text}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_at_once_may_want_tls() {
    let text = failure(peer(|stream, _| async move { drop(stream) }).await).await.to_string();
    // Depending on who is faster the peer's end of file or its reset comes first.
    let named = text.contains("is this a TLS or SASL port?") || text.contains("the connection broke");
    assert!(named, "{text}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let address = peer(|stream, _| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(stream);
    });
    let text = failure(address.await).await.to_string();
    assert!(text.contains("no answer to the first request within 500ms"), "{text}");
}

/// C8.
#[tokio::test]
async fn a_broker_that_falls_silent_is_given_up_and_the_request_is_uncertain() {
    let address = peer(|mut stream, _| async move {
        agree(&mut stream).await;
        read_frame(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let failure = failure(address.await).await;
    assert_eq!(failure.kind, FailureKind::Unanswered);
    assert!(failure.to_string().ends_with("no answer to Metadata within 300ms"), "{failure}");
}

/// C2.
#[tokio::test]
async fn an_answer_to_something_else_ends_the_connection() {
    let address = peer(|mut stream, _| async move {
        agree(&mut stream).await;
        read_frame(&mut stream).await;
        reply(&mut stream, MetadataResponse::default(), 12, 77).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let failure = failure(address.await).await;
    assert_eq!(failure.kind, FailureKind::Unanswered);
    assert!(failure.to_string().contains("correlation id 77 came in where 0 was expected"), "{failure}");
}

/// C2.
#[tokio::test]
async fn garbage_behind_a_good_header_is_named_with_its_api() {
    let address = peer(|mut stream, _| async move {
        agree(&mut stream).await;
        read_frame(&mut stream).await;
        let _ = stream.write_all(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff]).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let failure = failure(address.await).await;
    assert!(failure.to_string().contains("the answer to Metadata version 12 can't be read"), "{failure}");
}

/// C3.
#[tokio::test]
async fn an_old_broker_is_asked_again_in_its_own_version() {
    let address = peer(|mut stream, local| async move {
        let first = decode_request(&read_frame(&mut stream).await).unwrap();
        assert_eq!(first.header.request_api_version, 4);
        let refusal = ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION.0, ..versions() };
        let refusal = ApiVersionsResponse {
            api_keys: vec![ApiVersion { api_key: 18, max_version: 2, ..Default::default() }],
            ..refusal
        };
        reply(&mut stream, refusal, 0, first.header.correlation_id).await;
        let second = decode_request(&read_frame(&mut stream).await).unwrap();
        assert_eq!(second.header.request_api_version, 2);
        reply(&mut stream, versions(), 2, second.header.correlation_id).await;
        let asked = decode_request(&read_frame(&mut stream).await).unwrap();
        let broker = MetadataResponseBroker {
            node_id: 7,
            host: "127.0.0.1".into(),
            port: local.port().into(),
            ..Default::default()
        };
        let answer = MetadataResponse { brokers: vec![broker], ..Default::default() };
        reply(&mut stream, answer, asked.header.request_api_version, asked.header.correlation_id).await;
    });
    let network = network(vec![address.await]);
    let answer = ask(&network, Target::AnyBroker).await.unwrap();
    assert_eq!(answer.brokers[0].node_id, 7);
    let unknown = ask(&network, Target::Broker(BrokerId(8))).await.unwrap_err();
    assert_eq!(unknown.to_string(), "where the broker listens is not known");
}

/// C6.
#[tokio::test]
async fn a_dead_bootstrap_address_does_not_matter_while_another_answers() {
    let dead = Address { host: "no-such-host.invalid".to_owned(), port: 1 };
    let good = peer(|mut stream, _| async move {
        agree(&mut stream).await;
        loop {
            let asked = decode_request(&read_frame(&mut stream).await).unwrap();
            reply(&mut stream, MetadataResponse::default(), 12, asked.header.correlation_id).await;
        }
    })
    .await;
    for order in [vec![dead.clone(), good.clone()], vec![good, dead]] {
        ask(&network(order), Target::AnyBroker).await.unwrap();
    }
}

/// Requests that wait for a connection go out in the order in which they came.
#[tokio::test]
async fn what_waits_for_a_connection_keeps_its_order() {
    let address = peer(|mut stream, _| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        agree(&mut stream).await;
        for expected in 0..50 {
            let asked = decode_request(&read_frame(&mut stream).await).unwrap();
            assert_eq!(asked.header.correlation_id, expected);
            reply(&mut stream, MetadataResponse::default(), 12, expected).await;
        }
    });
    let network = network(vec![address.await]);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let network = network.clone();
        calls.spawn(async move { ask(&network, Target::AnyBroker).await });
    }
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
    }
}

/// C9: a caller that gives up leaves the connection whole: the next caller is answered.
#[tokio::test]
async fn a_dropped_call_breaks_nothing() {
    let address = peer(|mut stream, _| async move {
        agree(&mut stream).await;
        loop {
            let asked = decode_request(&read_frame(&mut stream).await).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            reply(&mut stream, MetadataResponse::default(), 12, asked.header.correlation_id).await;
        }
    });
    let network = network(vec![address.await]);
    ask(&network, Target::AnyBroker).await.unwrap();
    for _ in 0..5 {
        let call = ask(&network, Target::AnyBroker);
        assert!(tokio::time::timeout(Duration::from_millis(5), call).await.is_err());
    }
    ask(&network, Target::AnyBroker).await.unwrap();
}

#[tokio::test]
async fn a_closed_network_answers_everything() {
    let address = peer(|mut stream, _| async move {
        agree(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let network = network(vec![address.await]);
    let open = tokio::spawn({
        let network = network.clone();
        async move { ask(&network, Target::AnyBroker).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    network.close();
    assert_eq!(open.await.unwrap().unwrap_err().kind, FailureKind::Unanswered);
    let late = ask(&network, Target::AnyBroker).await.unwrap_err();
    assert_eq!(late.to_string(), "the client is closed");
}

/// Requests are written at once as long as there is room; what there is no room for is written later, whole and in order.
#[tokio::test]
async fn requests_that_a_slow_reader_has_no_room_for_arrive_whole_and_in_order() {
    const COUNT: usize = 400;
    // The requests together are many times what a socket takes.
    const TOPICS: usize = 200;
    let address = peer(|mut stream, local| async move {
        agree(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        for number in 0..COUNT {
            let request = decode_request(&read_frame(&mut stream).await).unwrap();
            let Ok(Request::Metadata(metadata)) = request.body else { unreachable!() };
            let topics: Vec<_> =
                metadata.topics.iter().flatten().filter_map(|topic| topic.name.clone()).collect();
            assert_eq!(topics.len(), TOPICS);
            assert!(
                topics.iter().all(|topic| topic.starts_with(&format!("{number}-"))),
                "{number}: {}",
                topics[0]
            );
            let header = request.header;
            let broker = MetadataResponseBroker {
                node_id: number as i32,
                host: "127.0.0.1".into(),
                port: local.port().into(),
                ..Default::default()
            };
            let response = MetadataResponse { brokers: vec![broker], ..Default::default() };
            reply(&mut stream, response, header.request_api_version, header.correlation_id).await;
        }
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let network = network(vec![address]);
    let asked = (0..COUNT).map(|number| {
        let name = |topic| MetadataRequestTopic {
            name: Some(format!("{number}-{topic}-{}", "x".repeat(100)).into()),
            ..Default::default()
        };
        let request = MetadataRequest { topics: Some((0..TOPICS).map(name).collect()), ..Default::default() };
        let network = network.clone();
        async move { network.call(Target::AnyBroker, request, Duration::from_secs(10)).await }
    });
    // In the order of asking, without waiting for answers in between.
    let mut answers = Vec::new();
    for (ask, number) in asked.zip(0i32..) {
        let mut ask = Box::pin(ask);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(ask.as_mut().poll(&mut context).is_pending());
        if number == 0 {
            // The connection is there for all that follow.
            let first = tokio::time::timeout(Duration::from_millis(100), &mut ask).await;
            assert!(first.is_err(), "nothing is read yet");
        }
        answers.push(ask);
    }
    for (answer, number) in answers.into_iter().zip(0i32..) {
        assert_eq!(answer.await.unwrap().brokers[0].node_id, number);
    }
}

/// A large request is left to the connection's task: a small one behind it waits for its turn.
#[tokio::test]
async fn a_small_request_does_not_overtake_a_large_one() {
    const ROUNDS: usize = 20;
    let address = peer(|mut stream, _| async move {
        let request = decode_request(&read_frame(&mut stream).await).unwrap();
        let mut answer = versions();
        answer.api_keys.push(ApiVersion { api_key: 0, min_version: 3, max_version: 9, ..Default::default() });
        reply(&mut stream, answer, request.header.request_api_version, request.header.correlation_id).await;
        for number in 0..1 + 2 * ROUNDS {
            let request = decode_request(&read_frame(&mut stream).await).unwrap();
            let header = request.header;
            let (version, id) = (header.request_api_version, header.correlation_id);
            assert_eq!(header.request_api_key, if number % 2 == 1 { 0 } else { 3 }, "request {number}");
            match number % 2 {
                1 => reply(&mut stream, ProduceResponse::default(), version, id).await,
                _ => reply(&mut stream, MetadataResponse::default(), version, id).await,
            }
        }
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let network = network(vec![address]);
    ask(&network, Target::AnyBroker).await.unwrap();
    for _ in 0..ROUNDS {
        let data = PartitionProduceData { records: Some(vec![0; 100_000].into()), ..Default::default() };
        let topic =
            TopicProduceData { name: "t".into(), partition_data: vec![data].into(), ..Default::default() };
        let large = ProduceRequest { topic_data: vec![topic].into(), ..Default::default() };
        let large = network.call(Target::AnyBroker, large, TIMEOUT);
        let (large, small) = tokio::join!(large, ask(&network, Target::AnyBroker));
        large.unwrap();
        small.unwrap();
    }
}
