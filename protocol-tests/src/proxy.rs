//! A TCP proxy between a client and its brokers that understands frames: it loses, delays and holds what a test says.
//!
//! A client is led through it by [`Proxy::dial`], whatever addresses the brokers advertise. What it does fits what TCP
//! can do: the bytes of a connection keep their order, so a request that is held holds what is behind it, and a lost answer
//! is the last of its connection.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use milena_protocol::{
    ApiKey,
    frame::{LENGTH_PREFIX, decode_request, decode_response, encode_request, encode_response, frame_len},
    messages::{Request, Response},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{Instant, sleep, timeout},
};

const LONGEST_FRAME: usize = 100 << 20;
/// How long a broker may take to answer a request that was stranded.
const LATE: Duration = Duration::from_secs(30);

/// What is done to a request, or to its answer.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// The broker does not get it, and the connection ends.
    CutRequest,
    /// It waits for [`Proxy::release`], and everything behind it; then the broker gets it, even if the client has left.
    HoldRequest,
    /// The client's connection ends, and the broker gets the request all the same, at [`Proxy::release`]: as if it had been
    /// on its way for so long.
    StrandRequest,
    /// The broker gets another request, and the client another answer, than was sent. What the broker says to it comes in
    /// its turn, as nothing that was made up here would.
    Change(fn(&mut Request), fn(&mut Response)),
    /// The broker does it, and the answer waits for [`Proxy::release`], and everything behind it.
    HoldReply,
    /// The broker does it, and the connection ends before the answer.
    CutReply,
    /// The broker does it, and nothing comes back any more over a connection that stays open.
    MuteReply,
    /// The answer comes so much later, and everything behind it.
    DelayReply(Duration),
}

/// The proxy. Cloning shares it; it lasts as long as its runtime.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How many requests have met a rule.
    met: watch::Sender<usize>,
    /// How many times what is held was let go.
    released: watch::Sender<usize>,
    /// How many stranded requests were answered.
    late: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// Our port for each broker.
    ports: BTreeMap<(String, u16), u16>,
    rules: Vec<Rule>,
    asked: Vec<Asked>,
    /// Bytes of answers to fetches, by the port of the broker.
    fetched: BTreeMap<u16, usize>,
}

#[derive(Debug)]
struct Rule {
    api: ApiKey,
    act: Act,
    /// Requests it has not met yet.
    times: usize,
}

/// A request that went through, but for those that fetch records.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The port of the broker that it went to.
    pub broker: u16,
    /// When it came.
    pub at: Instant,
    /// Its version.
    pub version: i16,
    /// The request, as the client sent it.
    pub request: Request,
    /// What the broker has answered so far and when, whether the client has got it or not.
    pub answer: Option<(Instant, Response)>,
}

/// What is to be done to a request, and which of those that were noted it is.
#[derive(Clone, Copy, Debug, Default)]
struct Judgement {
    act: Option<Act>,
    noted: Option<usize>,
}

/// The requests of a connection that are not answered, by their correlation ids.
type Replies = Mutex<BTreeMap<i32, (ApiKey, i16, Judgement)>>;

/// How a connection through the proxy ends.
enum End {
    Closed,
    /// With a request that is still to reach the broker, at the next release.
    Stranded(Bytes, watch::Receiver<usize>),
}

impl Default for Proxy {
    fn default() -> Self {
        let [met, released, late] = std::array::from_fn(|_| watch::Sender::new(0));
        Self { shared: Arc::new(Shared { state: Mutex::default(), met, released, late }) }
    }
}

impl Proxy {
    /// From here on so many requests of this API meet with `act`.
    pub fn rule(&self, api: ApiKey, act: Act, times: usize) {
        self.shared.state().rules.push(Rule { api, act, times });
    }

    /// No rule is left.
    pub fn pass_all(&self) {
        self.shared.state().rules.clear();
    }

    /// Lets go what is held.
    pub fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// The requests of this API that went through so far.
    #[must_use]
    pub fn asked(&self, api: ApiKey) -> Vec<Asked> {
        let state = self.shared.state();
        state.asked.iter().filter(|asked| asked.request.api_key() == api).cloned().collect()
    }

    /// Bytes of all answers to fetches so far, by the port of the broker.
    #[must_use]
    pub fn fetched(&self) -> BTreeMap<u16, usize> {
        self.shared.state().fetched.clone()
    }

    /// Waits until so many requests have met a rule, since the beginning.
    pub async fn until_met(&self, count: usize) {
        // The sender lives in `self`.
        let _ = self.shared.met.subscribe().wait_for(|met| *met >= count).await;
    }

    /// Waits until brokers have answered so many stranded requests.
    pub async fn until_late(&self, count: usize) {
        let _ = self.shared.late.subscribe().wait_for(|late| *late >= count).await;
    }

    /// A byte stream to a broker, through the proxy.
    ///
    /// # Errors
    /// Those of sockets.
    ///
    /// # Cancellation
    /// Dropping the future drops the connection.
    pub async fn dial(&self, host: String, port: u16) -> io::Result<TcpStream> {
        let broker = (host, port);
        let known = self.shared.state().ports.get(&broker).copied();
        let port = match known {
            Some(port) => port,
            None => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
                let port = listener.local_addr()?.port();
                // Two that dial a broker first make two ports of it, which does no harm.
                self.shared.state().ports.insert(broker.clone(), port);
                tokio::spawn(listen(listener, Arc::clone(&self.shared), broker));
                port
            }
        };
        TcpStream::connect(("127.0.0.1", port)).await
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request, and says what is to be done to it.
    fn judge(&self, broker: u16, api: ApiKey, version: i16, frame: &Bytes) -> Judgement {
        let mut state = self.state();
        let mut noted = None;
        if api != ApiKey::Fetch
            && let Ok(request) = decode_request(frame).map_err(drop).and_then(|seen| seen.body.map_err(drop))
        {
            noted = Some(state.asked.len());
            state.asked.push(Asked { broker, at: Instant::now(), version, request, answer: None });
        }
        let rule = state.rules.iter_mut().find(|rule| rule.api == api && rule.times > 0);
        let act = rule.map(|rule| {
            rule.times -= 1;
            rule.act
        });
        drop(state);
        if act.is_some() {
            self.met.send_modify(|count| *count += 1);
        }
        Judgement { act, noted }
    }

    /// Notes what a request was answered.
    fn note_answer(&self, noted: usize, api: ApiKey, version: i16, frame: &Bytes) {
        let answer = decode_response(api, version, frame).ok().map(|answer| (Instant::now(), answer));
        if let Some(asked) = self.state().asked.get_mut(noted) {
            asked.answer = answer;
        }
    }
}

/// The API, the version and the correlation id of a request.
fn head(frame: &Bytes) -> Option<(ApiKey, i16, i32)> {
    let [key, version, id] = [frame.get(..2)?, frame.get(2..4)?, frame.get(4..8)?];
    let api = ApiKey::from_code(i16::from_be_bytes(key.try_into().ok()?))?;
    Some((api, i16::from_be_bytes(version.try_into().ok()?), i32::from_be_bytes(id.try_into().ok()?)))
}

/// The request as `change` leaves it.
fn changed_request(frame: &Bytes, change: fn(&mut Request)) -> io::Result<Bytes> {
    let received = decode_request(frame).map_err(io::Error::other)?;
    let mut request = received.body.map_err(io::Error::other)?;
    change(&mut request);
    let header = received.header;
    let (version, id) = (header.request_api_version, header.correlation_id);
    let changed = encode_request(&request, version, id, header.client_id).map_err(io::Error::other)?;
    Ok(changed.to_bytes().slice(LENGTH_PREFIX..))
}

/// The answer as `change` leaves it.
fn changed_reply(
    (api, version, id): (ApiKey, i16, i32),
    frame: &Bytes,
    change: fn(&mut Response),
) -> io::Result<Bytes> {
    let mut response = decode_response(api, version, frame).map_err(io::Error::other)?;
    change(&mut response);
    let changed = encode_response(&response, version, id).map_err(io::Error::other)?;
    Ok(changed.to_bytes().slice(LENGTH_PREFIX..))
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, (host, port): (String, u16)) {
    while let Ok((client, _)) = listener.accept().await {
        let (shared, host) = (Arc::clone(&shared), host.clone());
        tokio::spawn(async move {
            // A broker that can't be reached shows as a connection that ends.
            if let Ok(broker) = TcpStream::connect((host.as_str(), port)).await {
                let _ = connect(client, broker, port, &shared).await;
            }
        });
    }
}

/// One connection, from its beginning to its end.
async fn connect(client: TcpStream, broker: TcpStream, port: u16, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let replies = Mutex::new(BTreeMap::new());
    // Both halves of the client's stream end with this statement.
    let end = tokio::select! {
        end = upwards(from_client, &mut to_broker, port, shared, &replies) => end?,
        end = downwards(&mut from_broker, to_client, port, shared, &replies) => end?,
    };
    if let End::Stranded(frame, mut released) = end {
        // The sender lives in `shared`.
        let _ = released.changed().await;
        write(&mut to_broker, &frame).await?;
        if let Ok(Ok(_)) = timeout(LATE, read(&mut from_broker)).await {
            shared.late.send_modify(|count| *count += 1);
        }
    }
    Ok(())
}

async fn upwards(
    mut client: OwnedReadHalf,
    broker: &mut OwnedWriteHalf,
    port: u16,
    shared: &Shared,
    replies: &Replies,
) -> io::Result<End> {
    loop {
        let mut frame = read(&mut client).await?;
        let mut released = shared.released.subscribe();
        let Some((api, version, id)) = head(&frame) else {
            write(broker, &frame).await?;
            continue;
        };
        let judgement = shared.judge(port, api, version, &frame);
        replies.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (api, version, judgement));
        match judgement.act {
            Some(Act::CutRequest) => return Ok(End::Closed),
            Some(Act::StrandRequest) => return Ok(End::Stranded(frame, released)),
            Some(Act::HoldRequest) => {
                let _ = released.changed().await;
            }
            Some(Act::Change(change, _)) => frame = changed_request(&frame, change)?,
            _ => {}
        }
        write(broker, &frame).await?;
    }
}

async fn downwards(
    broker: &mut OwnedReadHalf,
    mut client: OwnedWriteHalf,
    port: u16,
    shared: &Shared,
    replies: &Replies,
) -> io::Result<End> {
    loop {
        let mut frame = read(broker).await?;
        let mut released = shared.released.subscribe();
        let id = frame.get(..4).and_then(|id| id.try_into().ok()).map_or(-1, i32::from_be_bytes);
        let known = replies.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Some((api, version, Judgement { act, noted })) = known else {
            write(&mut client, &frame).await?;
            continue;
        };
        if api == ApiKey::Fetch {
            *shared.state().fetched.entry(port).or_default() += frame.len();
        }
        if let Some(noted) = noted {
            shared.note_answer(noted, api, version, &frame);
        }
        match act {
            Some(Act::CutReply) => return Ok(End::Closed),
            Some(Act::MuteReply) => loop {
                read(broker).await?;
            },
            Some(Act::HoldReply) => {
                let _ = released.changed().await;
            }
            Some(Act::DelayReply(delay)) => sleep(delay).await,
            Some(Act::Change(_, change)) => frame = changed_reply((api, version, id), &frame, change)?,
            _ => {}
        }
        write(&mut client, &frame).await?;
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut prefix = [0; LENGTH_PREFIX];
    stream.read_exact(&mut prefix).await?;
    let len = frame_len(prefix, LONGEST_FRAME).map_err(io::Error::other)?;
    let mut frame = Vec::new();
    stream.take(len as u64).read_to_end(&mut frame).await?;
    if frame.len() < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(frame.into()) }
}

async fn write(stream: &mut OwnedWriteHalf, frame: &Bytes) -> io::Result<()> {
    let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(frame).await
}

#[cfg(test)]
mod tests {
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
}
