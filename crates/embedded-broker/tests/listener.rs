//! The broker over TCP: frames, limits, and its end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

use std::{io, time::Duration};

use bytes::Bytes;
use milena_embedded_broker::{EmbeddedBroker, StartError, core::BrokerId};
use milena_protocol::{
    ErrorCode,
    frame::{decode_response, encode_request},
    messages::{
        ApiKey, FetchRequest, FetchResponse, MetadataRequest, ProduceRequest, Request, Response,
        fetch::{FetchPartition, FetchTopic},
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::{BatchBuilder, Compression, ProducerStamp},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(5);

struct Client(TcpStream);

impl Client {
    async fn connect(broker: &EmbeddedBroker) -> Self {
        Self(TcpStream::connect(broker.addresses()[0]).await.unwrap())
    }

    async fn send(&mut self, version: i16, request: impl Into<Request>) {
        let frame = encode_request(&request.into(), version, 1, None).unwrap();
        self.0.write_all(&frame.to_bytes()).await.unwrap();
    }

    async fn receive(&mut self, api: ApiKey, version: i16) -> Response {
        let len = timeout(SOON, self.0.read_i32()).await.expect("no reply").unwrap();
        let mut frame = vec![0; len as usize];
        self.0.read_exact(&mut frame).await.unwrap();
        decode_response(api, version, &frame.into()).unwrap()
    }

    async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(timeout(SOON, self.0.read(&mut byte)).await.expect("neither reply nor end"), Ok(0) | Err(_))
    }
}

fn produce(value: &[u8]) -> ProduceRequest {
    let mut batch = BatchBuilder::new(16 << 20);
    batch.append(0, None, Some(value), []).unwrap();
    let records = batch.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE);
    let data = PartitionProduceData { records: Some(records), ..Default::default() };
    let partition_data = vec![data].into();
    let topic = TopicProduceData { name: "orders".into(), partition_data, ..Default::default() };
    ProduceRequest { acks: 1, topic_data: vec![topic].into(), ..Default::default() }
}

fn fetch(max_wait_ms: i32) -> FetchRequest {
    let partitions = vec![FetchPartition { partition_max_bytes: 64 << 20, ..Default::default() }];
    let topics = vec![FetchTopic { topic: "orders".into(), partitions, ..Default::default() }];
    FetchRequest { max_wait_ms, min_bytes: 1, topics, ..Default::default() }
}

fn fetched(response: Response) -> Bytes {
    let Response::Fetch(FetchResponse { responses, .. }) = response else { panic!("not a fetch") };
    responses.get(0).unwrap().partitions.get(0).unwrap().records.unwrap()
}

async fn one_topic() -> EmbeddedBroker {
    EmbeddedBroker::builder().topic("orders", 1).start().await.unwrap()
}

#[tokio::test]
async fn every_broker_has_its_port() {
    let broker = EmbeddedBroker::builder().brokers(3).start().await.unwrap();
    assert_eq!(broker.bootstrap().split(',').count(), 3);
    let mut client = Client::connect(&broker).await;
    client.send(12, MetadataRequest::default()).await;
    let Response::Metadata(metadata) = client.receive(ApiKey::Metadata, 12).await else {
        panic!("not metadata")
    };
    let told: Vec<i32> = metadata.brokers.iter().map(|broker| broker.port).collect();
    let ports: Vec<i32> = broker.addresses().iter().map(|address| address.port().into()).collect();
    assert_eq!(told, ports);
}

#[tokio::test]
async fn a_batch_larger_than_any_buffer_goes_in_and_out() {
    let broker = EmbeddedBroker::builder()
        .topic_with("orders", 1, &[("max.message.bytes", "20000000")])
        .start()
        .await
        .unwrap();
    let value: Vec<u8> = (0..10_000_000u32).map(|byte| byte as u8).collect();
    let mut client = Client::connect(&broker).await;
    client.send(9, produce(&value)).await;
    let Response::Produce(response) = client.receive(ApiKey::Produce, 9).await else {
        panic!("not a produce")
    };
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    client.send(12, fetch(0)).await;
    let records = fetched(client.receive(ApiKey::Fetch, 12).await);
    assert!(records.windows(value.len()).any(|window| window == value));
}

#[tokio::test]
async fn a_long_poll_ends_with_data_from_another_connection_or_with_its_time() {
    let broker = one_topic().await;
    let mut consumer = Client::connect(&broker).await;
    consumer.send(12, fetch(60_000)).await;
    let mut producer = Client::connect(&broker).await;
    producer.send(9, produce(b"a")).await;
    assert!(!fetched(consumer.receive(ApiKey::Fetch, 12).await).is_empty());
    producer.receive(ApiKey::Produce, 9).await;

    let mut at_end = fetch(50);
    at_end.topics[0].partitions[0].fetch_offset = 1;
    let sent = std::time::Instant::now();
    consumer.send(12, at_end).await;
    assert!(fetched(consumer.receive(ApiKey::Fetch, 12).await).is_empty());
    assert!(sent.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_around_a_parked_one() {
    let broker = one_topic().await;
    let mut client = Client::connect(&broker).await;
    for _ in 0..100 {
        client.send(12, MetadataRequest::default()).await;
    }
    client.send(12, fetch(50)).await;
    for _ in 0..100 {
        client.send(12, MetadataRequest::default()).await;
    }
    for _ in 0..100 {
        client.receive(ApiKey::Metadata, 12).await;
    }
    client.receive(ApiKey::Fetch, 12).await;
    for _ in 0..100 {
        client.receive(ApiKey::Metadata, 12).await;
    }
}

#[tokio::test]
async fn hostile_bytes_end_the_connection_before_memory_is_taken() {
    let broker = EmbeddedBroker::builder().max_frame_bytes(1 << 20).start().await.unwrap();
    let too_long = (1i32 << 20) + 1;
    for bytes in [
        &i32::MAX.to_be_bytes()[..],
        &too_long.to_be_bytes(),
        &(-1i32).to_be_bytes(),
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 2, 0, 1, 0, 1],
        &[0, 0, 0, 0],
        &[0, 0, 0, 4, 0x7f, 0xff, 0, 0],
    ] {
        let mut client = Client::connect(&broker).await;
        client.0.write_all(bytes).await.unwrap();
        assert!(client.is_closed().await, "{bytes:?}");
    }
    let mut client = Client::connect(&broker).await;
    client.send(12, MetadataRequest::default()).await;
    client.receive(ApiKey::Metadata, 12).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed() {
    let broker = EmbeddedBroker::builder().max_connections(1).start().await.unwrap();
    let mut first = Client::connect(&broker).await;
    first.send(12, MetadataRequest::default()).await;
    first.receive(ApiKey::Metadata, 12).await;
    assert!(Client::connect(&broker).await.is_closed().await);
    drop(first);
    timeout(SOON, async {
        loop {
            let mut next = Client::connect(&broker).await;
            let frame = encode_request(&MetadataRequest::default().into(), 12, 1, None).unwrap().to_bytes();
            if next.0.write_all(&frame).await.is_ok() && next.0.read_i32().await.is_ok() {
                break;
            }
        }
    })
    .await
    .expect("a place is free again");
}

#[tokio::test]
async fn a_stopped_broker_ends_its_connections_and_refuses_new_ones() {
    let broker = EmbeddedBroker::builder().brokers(2).topic("orders", 1).start().await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.send(12, fetch(60_000)).await;
    broker.stop_broker(BrokerId(1));
    assert!(client.is_closed().await);
    assert!(Client::connect(&broker).await.is_closed().await);
    broker.start_broker(BrokerId(1));
    let mut client = Client::connect(&broker).await;
    client.send(9, produce(b"a")).await;
    let Response::Produce(response) = client.receive(ApiKey::Produce, 9).await else {
        panic!("not a produce")
    };
    let code = ErrorCode(response.responses[0].partition_responses[0].error_code);
    assert_eq!(code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let port = broker.addresses()[0].port();
    let error = EmbeddedBroker::builder().port(port).start().await.unwrap_err();
    assert!(matches!(&error, StartError::Listen { address, .. } if address.port() == port), "{error}");
}

/// Whether nothing listens there and the connection is gone.
async fn is_over(mut client: Client, address: std::net::SocketAddr) {
    assert!(client.is_closed().await);
    timeout(SOON, async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it still listens");
}

#[tokio::test]
async fn shutdown_and_drop_end_everything() {
    for graceful in [true, false] {
        let broker = one_topic().await;
        let address = broker.addresses()[0];
        let mut client = Client::connect(&broker).await;
        client.send(12, fetch(60_000)).await;
        // So that the connection is being served.
        let mut other = Client::connect(&broker).await;
        other.send(12, MetadataRequest::default()).await;
        other.receive(ApiKey::Metadata, 12).await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert!(tasks >= 4, "{tasks}");
        if graceful {
            timeout(SOON, broker.shutdown()).await.expect("shutdown is bounded");
        } else {
            drop(broker);
        }
        is_over(client, address).await;
        assert!(other.is_closed().await);
        timeout(SOON, async {
            while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("a task is left");
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_back_only_itself() {
    let broker = one_topic().await;
    let value = vec![7; 900_000];
    let mut producer = Client::connect(&broker).await;
    for _ in 0..20 {
        producer.send(9, produce(&value)).await;
        producer.receive(ApiKey::Produce, 9).await;
    }
    let mut greedy = Client::connect(&broker).await;
    let frame = encode_request(&fetch(0).into(), 12, 1, None).unwrap().to_bytes();
    // It asks until nobody reads its requests any more.
    let mut asked = 0u32;
    while let Ok(written) = timeout(Duration::from_millis(200), greedy.0.write(&frame)).await {
        let written: io::Result<usize> = written;
        written.unwrap();
        asked += 1;
        if asked == 500_000 {
            panic!("the broker reads on");
        }
    }
    producer.send(12, MetadataRequest::default()).await;
    producer.receive(ApiKey::Metadata, 12).await;
}

#[tokio::test]
async fn a_paused_broker_answers_nobody_until_it_goes_on() {
    let broker = one_topic().await;
    let mut client = Client::connect(&broker).await;
    broker.pause_broker(BrokerId(1));
    // A request without an answer, and more behind it than is taken in at once.
    let silent = ProduceRequest { acks: 0, ..produce(b"a") };
    client.send(9, silent).await;
    let value = vec![b'b'; 100_000];
    client.send(9, produce(&value)).await;
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(100), client.0.read(&mut byte)).await.is_err());
    assert_eq!(broker.with_cluster(|cluster, _| cluster.offsets("orders", 0)), Some(0..0));
    broker.resume_broker(BrokerId(1));
    client.receive(ApiKey::Produce, 9).await;
    assert_eq!(broker.with_cluster(|cluster, _| cluster.offsets("orders", 0)), Some(0..2));
}

#[tokio::test]
async fn a_connection_that_only_sends_what_is_not_answered_is_read_on_after_a_pause() {
    let broker = one_topic().await;
    let mut client = Client::connect(&broker).await;
    broker.pause_broker(BrokerId(1));
    client.send(9, ProduceRequest { acks: 0, ..produce(b"a") }).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    broker.resume_broker(BrokerId(1));
    client.send(9, ProduceRequest { acks: 0, ..produce(b"b") }).await;
    timeout(SOON, async {
        while broker.with_cluster(|cluster, _| cluster.offsets("orders", 0)) != Some(0..2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("what was sent after the pause is not carried out");
}

#[tokio::test(start_paused = true)]
async fn in_memory_minutes_pass_in_no_time() {
    let broker = EmbeddedBroker::builder().in_memory().brokers(2).topic("orders", 1).start().await.unwrap();
    assert!(broker.addresses().is_empty());
    assert_eq!(broker.bootstrap(), "broker-1.embedded:9092,broker-2.embedded:9092");
    let dialer = broker.dialer();
    let mut stream = dialer.dial("broker-1.embedded", 9092).unwrap();
    let begin = tokio::time::Instant::now();
    let frame = encode_request(&fetch(500_000).into(), 12, 1, None).unwrap();
    stream.write_all(&frame.to_bytes()).await.unwrap();
    let len = stream.read_i32().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(500), "{:?}", begin.elapsed());
    stream.read_exact(&mut vec![0; len as usize]).await.unwrap();

    assert_eq!(dialer.dial("broker-3.embedded", 9092).unwrap_err().kind(), io::ErrorKind::NotFound);
    broker.stop_broker(BrokerId(2));
    assert_eq!(dialer.dial("broker-2.embedded", 9092).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    drop(broker);
    assert_eq!(dialer.dial("broker-1.embedded", 9092).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0, "connections end with the broker");
}

#[tokio::test]
async fn brokers_that_listen_can_be_dialed_too() {
    let broker = one_topic().await;
    let address = broker.addresses()[0];
    assert!(broker.dialer().dial(&address.ip().to_string(), address.port()).is_ok());
}
