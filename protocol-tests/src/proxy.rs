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
    frame::{LENGTH_PREFIX, decode_request, frame_len},
    messages::Request,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{sleep, timeout},
};

const LONGEST_FRAME: usize = 100 << 20;
/// How long a broker may take to answer a request that was stranded.
const LATE: Duration = Duration::from_secs(30);

/// What is done to a request, or to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The broker does not get it, and the connection ends.
    CutRequest,
    /// It waits for [`Proxy::release`], and everything behind it; then the broker gets it, even if the client has left.
    HoldRequest,
    /// The client's connection ends, and the broker gets the request all the same, at [`Proxy::release`]: as if it had been
    /// on its way for so long.
    StrandRequest,
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
}

#[derive(Debug)]
struct Rule {
    api: ApiKey,
    act: Act,
    /// Requests it has not met yet.
    times: usize,
}

/// A request that went through, but for those that carry records.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its version.
    pub version: i16,
    /// The request.
    pub request: Request,
}

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

    /// Notes a request: its correlation id and what is to be done to it.
    fn judge(&self, frame: &Bytes) -> Option<(i32, Option<Act>)> {
        let [key, version, id] = [frame.get(..2)?, frame.get(2..4)?, frame.get(4..8)?];
        let api = ApiKey::from_code(i16::from_be_bytes(key.try_into().ok()?))?;
        let version = i16::from_be_bytes(version.try_into().ok()?);
        let mut state = self.state();
        if !matches!(api, ApiKey::Produce | ApiKey::Fetch)
            && let Ok(request) = decode_request(frame).map_err(drop).and_then(|seen| seen.body.map_err(drop))
        {
            state.asked.push(Asked { version, request });
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
        Some((i32::from_be_bytes(id.try_into().ok()?), act))
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, (host, port): (String, u16)) {
    while let Ok((client, _)) = listener.accept().await {
        let (shared, host) = (Arc::clone(&shared), host.clone());
        tokio::spawn(async move {
            // A broker that can't be reached shows as a connection that ends.
            if let Ok(broker) = TcpStream::connect((host.as_str(), port)).await {
                let _ = connect(client, broker, &shared).await;
            }
        });
    }
}

/// One connection, from its beginning to its end.
async fn connect(client: TcpStream, broker: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let replies = Mutex::new(BTreeMap::new());
    // Both halves of the client's stream end with this statement.
    let end = tokio::select! {
        end = upwards(from_client, &mut to_broker, shared, &replies) => end?,
        end = downwards(&mut from_broker, to_client, &replies) => end?,
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
    shared: &Shared,
    replies: &Mutex<BTreeMap<i32, Act>>,
) -> io::Result<End> {
    loop {
        let frame = read(&mut client).await?;
        let mut released = shared.released.subscribe();
        match shared.judge(&frame) {
            Some((_, Some(Act::CutRequest))) => return Ok(End::Closed),
            Some((_, Some(Act::StrandRequest))) => return Ok(End::Stranded(frame, released)),
            Some((_, Some(Act::HoldRequest))) => {
                let _ = released.changed().await;
            }
            Some((id, Some(act))) => {
                replies.lock().unwrap_or_else(PoisonError::into_inner).insert(id, act);
            }
            Some((_, None)) | None => {}
        }
        write(broker, &frame).await?;
    }
}

async fn downwards(
    broker: &mut OwnedReadHalf,
    mut client: OwnedWriteHalf,
    replies: &Mutex<BTreeMap<i32, Act>>,
) -> io::Result<End> {
    loop {
        let frame = read(broker).await?;
        let id = frame.get(..4).and_then(|id| id.try_into().ok()).map(i32::from_be_bytes);
        let act = id.and_then(|id| replies.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
        match act {
            Some(Act::CutReply) => return Ok(End::Closed),
            Some(Act::MuteReply) => loop {
                read(broker).await?;
            },
            Some(Act::DelayReply(delay)) => sleep(delay).await,
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
}
