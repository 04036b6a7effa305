use milena::{Client, Record, TransactionalProducer};
use milena_embedded_broker::EmbeddedBroker;

use super::*;

async fn producer(proxy: &Proxy, broker: &EmbeddedBroker) -> TransactionalProducer {
    let through = proxy.clone();
    let dial = move |host, port| {
        let through = through.clone();
        async move { through.dial(host, port).await }
    };
    let client = Client::builder(broker.bootstrap()).dial_with(dial).connect().await.unwrap();
    let builder = client.transactional_producer("proxied");
    let quick = |builder: milena::ProducerBuilder| builder.request_timeout(Duration::from_secs(2));
    builder.configure(quick).build().await.unwrap()
}

async fn commit(producer: &mut TransactionalProducer) {
    let transaction = producer.begin().unwrap();
    transaction.send(Record::new("t").value("v")).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Each fault is met, and the client gets over it: the same is asked again.
#[tokio::test]
async fn what_is_cut_muted_or_late_is_asked_again() {
    let broker = EmbeddedBroker::builder().topic("t", 1).start().await.unwrap();
    let proxy = Proxy::default();
    let mut producer = producer(&proxy, &broker).await;
    let acts = [Act::CutRequest, Act::CutReply, Act::MuteReply, Act::DelayReply(Duration::from_secs(3))];
    for (number, act) in acts.into_iter().enumerate() {
        let before = proxy.asked(ApiKey::EndTxn).len();
        proxy.rule(ApiKey::EndTxn, act, 1);
        commit(&mut producer).await;
        proxy.until_met(number + 1).await;
        assert_eq!(proxy.asked(ApiKey::EndTxn).len(), before + 2, "{act:?}");
    }
    commit(&mut producer).await;
    assert_eq!(proxy.asked(ApiKey::EndTxn).len(), 9);
}

/// What is held waits for its release, and what is stranded comes to the broker behind the client's retry.
#[tokio::test]
async fn what_is_held_waits_and_what_is_stranded_comes_late() {
    let broker = EmbeddedBroker::builder().topic("t", 1).start().await.unwrap();
    let proxy = Proxy::default();
    let mut producer = producer(&proxy, &broker).await;
    proxy.rule(ApiKey::Produce, Act::HoldRequest, 1);
    let transaction = producer.begin().unwrap();
    let delivery = transaction.enqueue(Record::new("t").value("held")).await.unwrap();
    proxy.until_met(1).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(delivery.result(), None);
    proxy.release();
    delivery.await.unwrap();
    transaction.commit().await.unwrap();
    proxy.rule(ApiKey::Produce, Act::StrandRequest, 1);
    let transaction = producer.begin().unwrap();
    transaction.send(Record::new("t").value("stranded")).await.unwrap();
    proxy.release();
    proxy.until_late(1).await;
    transaction.commit().await.unwrap();
}

/// The broker is asked for what the client did not ask for and the client told what the broker did not say; what the
/// broker said is noted, though it is held back.
#[tokio::test]
async fn what_is_changed_is_taken_for_what_was_said_and_what_is_held_back_is_noted() {
    let broker = EmbeddedBroker::builder().topic("t", 1).start().await.unwrap();
    let proxy = Proxy::default();
    let mut producer = producer(&proxy, &broker).await;
    let abort = |request: &mut Request| {
        let Request::EndTxn(end) = request else { panic!("{request:?}") };
        end.committed = false;
    };
    let another = |response: &mut Response| {
        let Response::EndTxn(end) = response else { panic!("{response:?}") };
        end.producer_epoch += 100;
    };
    proxy.rule(ApiKey::EndTxn, Act::Change(abort, another), 1);
    commit(&mut producer).await;
    let asked = proxy.asked(ApiKey::EndTxn).remove(0);
    let Request::EndTxn(end) = asked.request else { panic!("{asked:?}") };
    let Some((_, Response::EndTxn(said))) = asked.answer else { panic!("{:?}", asked.answer) };
    assert_eq!((end.committed, said.error_code, said.producer_epoch), (true, 0, 1));

    proxy.rule(ApiKey::Produce, Act::HoldReply, 1);
    let transaction = producer.begin().unwrap();
    let delivery = transaction.enqueue(Record::new("t").value("of no epoch")).await.unwrap();
    let is_answered = || proxy.asked(ApiKey::Produce).last().is_some_and(|last| last.answer.is_some());
    while proxy.asked(ApiKey::Produce).len() < 2 || !is_answered() {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(delivery.result(), None);
    proxy.release();
    delivery.await.unwrap_err();
}

/// A peer that sends back what it gets, and how many bytes that were.
async fn echo() -> (u16, watch::Receiver<usize>) {
    let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    count.send_modify(|count| *count += len);
                    // Whoever does not listen any more may still speak.
                    let _ = stream.write_all(&buffer[..len]).await;
                }
            });
        }
    });
    (port, counted)
}

/// A frame of so many bytes, its length included.
fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![b'x'; len];
    frame[..LENGTH_PREFIX].copy_from_slice(&((len - LENGTH_PREFIX) as u32).to_be_bytes());
    frame
}

/// A connection that has carried a frame there and back.
async fn open(proxy: &Proxy, port: u16) -> TcpStream {
    let mut stream = proxy.dial(LOCAL.to_owned(), port).await.unwrap();
    round(&mut stream, 100).await;
    stream
}

/// How long a frame takes there and back.
async fn round(stream: &mut TcpStream, len: usize) -> Duration {
    let begin = Instant::now();
    stream.write_all(&frame(len)).await.unwrap();
    let mut back = vec![0; len];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, frame(len));
    begin.elapsed()
}

/// What takes longer hangs.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(10), future).await.unwrap_or_else(|_| panic!("it hangs"))
}

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn latency_is_added_each_way_and_does_not_add_up() {
    let (proxy, (port, _)) = (Proxy::default(), echo().await);
    let mut stream = open(&proxy, port).await;
    proxy.weather(None, Weather { latency_up: SHORT, ..Weather::default() });
    assert!(round(&mut stream, 10).await >= SHORT);
    proxy.weather(Some(port), Weather::round_trip(SHORT * 2));
    let begin = Instant::now();
    for _ in 0..5 {
        stream.write_all(&frame(10)).await.unwrap();
    }
    stream.read_exact(&mut [0; 50]).await.unwrap();
    assert!((SHORT * 2..SHORT * 4).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    // What is so of one broker is so of no other.
    let (other, _) = echo().await;
    proxy.weather(None, Weather::default());
    proxy.weather(Some(port), Weather::round_trip(SHORT * 2));
    assert!(round(&mut open(&proxy, other).await, 10).await < SHORT);
}

#[tokio::test]
async fn no_more_bytes_a_second_go_through_than_may() {
    let (proxy, (port, _)) = (Proxy::default(), echo().await);
    let mut stream = open(&proxy, port).await;
    proxy.weather(None, Weather { bytes_per_second: Some(50_000), ..Weather::default() });
    let took = round(&mut stream, 20_000).await;
    assert!((Duration::from_millis(700)..Duration::from_secs(3)).contains(&took), "{took:?}");
    proxy.weather(None, Weather { piece: Some(7), ..Weather::default() });
    round(&mut stream, 5_000).await;
}

#[tokio::test]
async fn a_reset_ends_connections_in_the_middle() {
    let (proxy, (port, _)) = (Proxy::default(), echo().await);
    let mut stream = open(&proxy, port).await;
    proxy.reset(Some(port + 1));
    round(&mut stream, 10).await;
    proxy.reset(Some(port));
    let error = soon(stream.read(&mut [0; 10])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    open(&proxy, port).await;
}

#[tokio::test]
async fn a_black_hole_keeps_connections_and_lets_nothing_through_until_it_is_over() {
    let (proxy, (port, counted)) = (Proxy::default(), echo().await);
    let mut known = open(&proxy, port).await;
    for (weather, arrives) in [
        (Weather::black_hole(), false),
        (Weather { is_hole_up: true, ..Weather::default() }, false),
        (Weather { is_hole_down: true, ..Weather::default() }, true),
    ] {
        proxy.weather(None, weather);
        let mut new = proxy.dial(LOCAL.to_owned(), port).await.unwrap();
        let before = *counted.borrow();
        for stream in [&mut known, &mut new] {
            stream.write_all(&frame(10)).await.unwrap();
            assert!(timeout(SHORT, stream.read(&mut [0; 10])).await.is_err(), "{weather:?}");
        }
        let expected = if arrives { 20 } else { 0 };
        assert_eq!(*counted.borrow() - before, expected, "{weather:?}");
        proxy.weather(None, Weather::default());
        for stream in [&mut known, &mut new] {
            soon(stream.read_exact(&mut [0; 10])).await.unwrap();
        }
    }
}

#[tokio::test]
async fn one_direction_may_end_alone() {
    let (proxy, (port, mut counted)) = (Proxy::default(), echo().await);
    let mut stream = open(&proxy, port).await;
    proxy.half_close(None, Way::Down);
    assert_eq!(soon(stream.read(&mut [0; 10])).await.unwrap(), 0);
    stream.write_all(&frame(10)).await.unwrap();
    soon(counted.wait_for(|count| *count == 110)).await.unwrap();
    // The peer takes it for the end of the connection, and ends the other direction.
    let mut stream = open(&proxy, port).await;
    proxy.half_close(None, Way::Up);
    assert_eq!(soon(stream.read(&mut [0; 10])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_frame_may_be_cut_in_the_middle() {
    let (proxy, (port, mut counted)) = (Proxy::default(), echo().await);
    for (bytes, comes) in [(0, 0), (3, 3), (7, 7), (1000, 19)] {
        let mut stream = open(&proxy, port).await;
        proxy.cut(Some(port), Way::Down, bytes);
        stream.write_all(&frame(20)).await.unwrap();
        let mut got = Vec::new();
        soon(stream.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, frame(20)[..comes]);
    }
    let mut stream = open(&proxy, port).await;
    let before = *counted.borrow_and_update();
    proxy.cut(None, Way::Up, 5);
    stream.write_all(&frame(20)).await.unwrap();
    assert_eq!(soon(stream.read(&mut [0; 10])).await.unwrap(), 0);
    soon(counted.wait_for(|count| *count == before + 5)).await.unwrap();
    assert_eq!(proxy.cuts_left(), 0);
}

/// A client that knows nothing of the proxy goes through it to all brokers.
#[tokio::test]
async fn brokers_advertise_the_proxy_that_stands_in_front_of_them() {
    let broker = EmbeddedBroker::builder().brokers(3).topic("t", 6).start().await.unwrap();
    let proxy = Proxy::default();
    let first = broker.bootstrap().split(',').next().unwrap().to_owned();
    let client = Client::connect(proxy.front(&first).unwrap()).await.unwrap();
    let producer = client.producer().request_timeout(SHORT * 2).build().unwrap();
    for partition in 0..6 {
        producer.send(Record::new("t").partition(partition).value("v")).await.unwrap();
    }
    let asked: std::collections::BTreeSet<_> =
        proxy.asked(ApiKey::Produce).iter().map(|asked| asked.broker).collect();
    let brokers = broker.addresses().iter().map(std::net::SocketAddr::port).collect();
    assert_eq!(asked, brokers);
    proxy.weather(None, Weather::black_hole());
    let delivery = producer.enqueue(Record::new("t").value("v")).await.unwrap();
    assert!(timeout(SHORT, delivery).await.is_err(), "there is another way to the brokers");
}
