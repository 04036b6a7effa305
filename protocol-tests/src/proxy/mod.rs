//! A TCP proxy between a client and its brokers that understands frames: it loses, delays and holds what a test says.
//!
//! A client is led through it by [`Proxy::dial`], whatever addresses the brokers advertise; or, also one of another language
//! that knows nothing of it, by [`Proxy::front`], from where on brokers advertise the proxy. What it does fits what TCP
//! can do: the bytes of a connection keep their order, so a request that is held holds what is behind it, and a lost answer
//! is the last of its connection.
//!
//! - [`Act`]: faults of single requests, by [`Proxy::rule`];
//! - [`Weather`]: what the network does to everything, by [`Proxy::weather`], and what happens in it: [`Proxy::reset`],
//!   [`Proxy::half_close`], [`Proxy::cut`].

mod advertised;
mod carry;
#[cfg(test)]
mod tests;
mod weather;

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
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::{Instant, sleep, timeout},
};

pub use self::weather::{Way, Weather};
use self::{
    advertised::{lead_elsewhere, tells_addresses},
    carry::{Sender, one_way, send},
    weather::{Event, Sky},
};

const LOCAL: &str = "127.0.0.1";
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
    sky: Sky,
}

#[derive(Debug, Default)]
struct State {
    /// Our port for each broker.
    ports: BTreeMap<(String, u16), u16>,
    rules: Vec<Rule>,
    asked: Vec<Asked>,
    /// Bytes of answers to fetches, by the port of the broker.
    fetched: BTreeMap<u16, usize>,
    /// Clients are told our ports in place of the brokers'.
    is_front: bool,
    /// Frames that are to be cut, after how many bytes.
    cuts: Vec<(Option<u16>, Way, usize)>,
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
    /// With a reset for both sides.
    Reset,
    /// With a request that is still to reach the broker, at the next release.
    Stranded(Bytes, watch::Receiver<usize>),
}

impl Default for Proxy {
    fn default() -> Self {
        let [met, released, late] = std::array::from_fn(|_| watch::Sender::new(0));
        Self {
            shared: Arc::new(Shared { state: Mutex::default(), met, released, late, sky: Sky::default() }),
        }
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
        let port = self.shared.port((host, port))?;
        TcpStream::connect((LOCAL, port)).await
    }

    /// Stands in front of the brokers: addresses of ours for a client's bootstrap, in place of theirs. From now on every
    /// answer that tells where brokers are tells where we are.
    ///
    /// # Errors
    /// Those of sockets, and when an address is none.
    pub fn front(&self, bootstrap: &str) -> io::Result<String> {
        self.shared.state().is_front = true;
        let ours = bootstrap.split(',').map(|address| {
            let (host, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
            let port = self.shared.port((host.to_owned(), port.parse().map_err(io::Error::other)?))?;
            Ok(format!("{LOCAL}:{port}"))
        });
        ours.collect::<io::Result<Vec<_>>>().map(|ours| ours.join(","))
    }

    /// Has the network be like this from now on: everywhere, or on the way to the broker with this port alone.
    pub fn weather(&self, broker: Option<u16>, weather: Weather) {
        self.shared.sky.set(broker, weather);
    }

    /// Resets all connections, or those to the broker with this port: both sides get an RST.
    pub fn reset(&self, broker: Option<u16>) {
        self.shared.sky.happen(broker, Event::Reset);
    }

    /// Ends one direction of all connections, or of those to the broker with this port. The other one goes on.
    pub fn half_close(&self, broker: Option<u16>, way: Way) {
        self.shared.sky.happen(broker, Event::HalfClose(way));
    }

    /// Cuts the next frame that goes this way after so many bytes, its length included and one less than there are at
    /// most, and the connection with it.
    pub fn cut(&self, broker: Option<u16>, way: Way, bytes: usize) {
        self.shared.state().cuts.push((broker, way, bytes));
    }

    /// How many frames are still to be [cut](Self::cut).
    #[must_use]
    pub fn cuts_left(&self) -> usize {
        self.shared.state().cuts.len()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our port for a broker, where it is taken care of from now on.
    fn port(self: &Arc<Self>, broker: (String, u16)) -> io::Result<u16> {
        let mut state = self.state();
        if let Some(port) = state.ports.get(&broker) {
            return Ok(*port);
        }
        let listener = std::net::TcpListener::bind((LOCAL, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        state.ports.insert(broker.clone(), port);
        drop(state);
        tokio::spawn(listen(TcpListener::from_std(listener)?, Arc::clone(self), broker));
        Ok(port)
    }

    /// After how many bytes the next frame is to be cut, if it is.
    fn take_cut(&self, broker: u16, way: Way) -> Option<usize> {
        let mut state = self.state();
        let fits = |cut: &(Option<u16>, Way, usize)| cut.1 == way && cut.0.is_none_or(|of| of == broker);
        let at = state.cuts.iter().position(fits)?;
        Some(state.cuts.remove(at).2)
    }

    /// The answer with our addresses in place of the brokers', where it tells any.
    fn fronted(self: &Arc<Self>, (api, version, id): (ApiKey, i16, i32), frame: Bytes) -> io::Result<Bytes> {
        if !tells_addresses(api) || !self.state().is_front {
            return Ok(frame);
        }
        let mut response = decode_response(api, version, &frame).map_err(io::Error::other)?;
        let mut failure = None;
        let told = lead_elsewhere(&mut response, |host, port| {
            let broker = u16::try_from(*port).map_err(io::Error::other);
            match broker.and_then(|port| self.port((host.to_string(), port))) {
                Ok(ours) => (*host, *port) = (LOCAL.into(), ours.into()),
                Err(error) => failure = Some(error),
            }
        });
        match failure {
            Some(error) => Err(error),
            None if told => {
                let changed = encode_response(&response, version, id).map_err(io::Error::other)?;
                Ok(changed.to_bytes().slice(LENGTH_PREFIX..))
            }
            None => Ok(frame),
        }
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
async fn connect(
    mut client: TcpStream,
    mut broker: TcpStream,
    port: u16,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let replies = Mutex::new(BTreeMap::new());
    let mut news = shared.sky.over(port);
    let end = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_broker, mut to_broker) = broker.split();
        let (replies, place) = (&replies, (&**shared, port));
        let up = one_way(Way::Up, &mut to_broker, place, |sender| {
            upwards(&mut from_client, sender, port, shared, replies)
        });
        let down = one_way(Way::Down, &mut to_client, place, |sender| {
            downwards(&mut from_broker, sender, port, shared, replies)
        });
        let reset = async { while news.event().await != Event::Reset {} };
        tokio::select! {
            end = up => end?,
            end = down => end?,
            () = reset => End::Reset,
        }
    };
    match end {
        End::Closed => {}
        End::Reset => {
            client.set_zero_linger()?;
            broker.set_zero_linger()?;
        }
        End::Stranded(frame, mut released) => {
            drop(client);
            // The sender lives in `shared`.
            let _ = released.changed().await;
            let (mut from_broker, mut to_broker) = broker.split();
            write(&mut to_broker, &frame).await?;
            if let Ok(Ok(_)) = timeout(LATE, read(&mut from_broker)).await {
                shared.late.send_modify(|count| *count += 1);
            }
        }
    }
    Ok(())
}

async fn upwards(
    client: &mut ReadHalf<'_>,
    broker: Sender,
    port: u16,
    shared: &Shared,
    replies: &Replies,
) -> io::Result<End> {
    let mut network = shared.sky.over(port);
    loop {
        // What is not read fills the sockets: the client's system finds that nothing is taken any more.
        network.until_open(Way::Up).await;
        let mut frame = read(client).await?;
        let mut released = shared.released.subscribe();
        let Some((api, version, id)) = head(&frame) else {
            send(&broker, &frame).await?;
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
        send(&broker, &frame).await?;
    }
}

async fn downwards(
    broker: &mut ReadHalf<'_>,
    client: Sender,
    port: u16,
    shared: &Arc<Shared>,
    replies: &Replies,
) -> io::Result<End> {
    loop {
        let mut frame = read(broker).await?;
        let mut released = shared.released.subscribe();
        let id = frame.get(..4).and_then(|id| id.try_into().ok()).map_or(-1, i32::from_be_bytes);
        let known = replies.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Some((api, version, Judgement { act, noted })) = known else {
            send(&client, &frame).await?;
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
        let frame = shared.fronted((api, version, id), frame)?;
        send(&client, &frame).await?;
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

async fn write(stream: &mut WriteHalf<'_>, frame: &Bytes) -> io::Result<()> {
    let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(frame).await
}
