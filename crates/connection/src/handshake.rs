//! From an address to a connection that knows what its broker speaks.
//!
//! # References
//! KIP-302 (every address of a name is tried), KIP-511 (the versions are asked for in the newest version; a broker too
//! old for it answers in the oldest one and names what it has).

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_cluster::later;
use milena_protocol::{
    ApiKey, ErrorCode,
    frame::{correlation_id, decode_response, encode_request_into},
    messages::{ApiVersionsRequest, ApiVersionsResponse, Request, Response},
    wire::Writer,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout_at,
};

use crate::{
    Address, ConnectionConfig, ConnectionError, Stage,
    authentication::{Ask, authenticate},
    frame_stream::{FrameReader, write_all},
    now,
    stream::{Receiving, Sending},
    versions::Versions,
};
#[cfg(feature = "_tls")]
use crate::{Tls, stream::ByteStream};

/// A stream that is ready for requests.
pub(crate) struct Established {
    pub(crate) reader: FrameReader<Receiving>,
    pub(crate) writer: Sending,
    pub(crate) versions: Versions,
    /// How long the broker believes who the client is, if not for ever.
    pub(crate) session: Option<Duration>,
}

/// Connects, asks for the versions and says who the client is, all within `timeout`.
pub(crate) async fn establish(
    address: &Address,
    config: &ConnectionConfig,
    timeout: Duration,
) -> Result<Established, ConnectionError> {
    let deadline = later(now(), timeout);
    let (reader, writer) = stream(address, config, timeout, deadline).await?;
    let mut talk =
        Talk { reader: FrameReader::new(reader, config.max_frame_len), writer, config, correlation_id: 0 };
    let versions = timeout_at(deadline.into(), talk.versions())
        .await
        .unwrap_or(Err(ConnectionError::Silent(timeout)))
        .map_err(|error| error.at(Stage::ApiVersions))?;
    let session = match &config.sasl {
        Some(sasl) => timeout_at(deadline.into(), authenticate(&mut talk, sasl, &versions))
            .await
            .unwrap_or(Err(ConnectionError::LoginTimeout(timeout)))
            .map_err(|error| error.at(Stage::Sasl))?,
        None => None,
    };
    Ok(Established { reader: talk.reader, writer: talk.writer, versions, session })
}

/// A byte stream to the broker, encrypted if it is to be.
async fn stream(
    address: &Address,
    config: &ConnectionConfig,
    timeout: Duration,
    deadline: Instant,
) -> Result<(Receiving, Sending), ConnectionError> {
    let plain = match &config.dial {
        Some(dial) => {
            let dialed = timeout_at(deadline.into(), dial.dial(address.clone())).await;
            dialed.map_err(|_| ConnectionError::SetupTimeout(timeout))?.map_err(ConnectionError::Connect)?
        }
        None => {
            let stream = tcp(address, config, timeout, deadline).await?;
            #[cfg(feature = "_tls")]
            let is_plain = config.tls.is_none();
            #[cfg(not(feature = "_tls"))]
            let is_plain = true;
            if is_plain {
                let (reader, writer) = stream.into_split();
                return Ok((Receiving::Tcp(reader), Sending::Tcp(writer)));
            }
            Box::new(stream)
        }
    };
    #[cfg(feature = "_tls")]
    let plain = match &config.tls {
        Some(tls) => encrypt(plain, tls, address, timeout, deadline).await?,
        None => plain,
    };
    let (reader, writer) = tokio::io::split(plain);
    Ok((Receiving::Other(reader), Sending::Other(writer)))
}

#[cfg(feature = "_tls")]
async fn encrypt(
    plain: Box<dyn ByteStream>,
    tls: &Tls,
    address: &Address,
    timeout: Duration,
    deadline: Instant,
) -> Result<Box<dyn ByteStream>, ConnectionError> {
    let name = tls.name(&address.host)?;
    let connector = tls.connector()?;
    let overdue = |_| {
        ConnectionError::TlsHandshake(format!(
            "the peer was silent for {timeout:?}; is this a Kafka port, with TLS?"
        ))
    };
    let encrypted = timeout_at(deadline.into(), connector.connect(name, plain)).await.map_err(overdue)?;
    let encrypted = encrypted.map_err(|error| ConnectionError::TlsHandshake(tls.describe(&error)))?;
    Ok(Box::new(encrypted))
}

/// A socket to the broker, by itself or through a proxy.
async fn tcp(
    address: &Address,
    config: &ConnectionConfig,
    timeout: Duration,
    deadline: Instant,
) -> Result<TcpStream, ConnectionError> {
    #[cfg(feature = "socks5")]
    if let Some(socks5) = &config.socks5 {
        let proxy = socks5.proxy();
        let unreachable = |error: ConnectionError| ConnectionError::Proxy {
            proxy: proxy.clone(),
            error: error.to_string(),
        };
        let stream = connect(proxy, timeout, deadline).await.map_err(unreachable)?;
        tune(&stream, config).map_err(ConnectionError::Connect)?;
        let led = timeout_at(deadline.into(), socks5.lead(stream, address)).await;
        let silent = |_| ConnectionError::Proxy {
            proxy: proxy.clone(),
            error: format!("it was silent for {timeout:?}; is this a SOCKS5 port?"),
        };
        return led.map_err(silent)?;
    }
    let stream = connect(address, timeout, deadline).await?;
    tune(&stream, config).map_err(ConnectionError::Connect)?;
    Ok(stream)
}

/// Has the system look after the socket.
fn tune(stream: &TcpStream, config: &ConnectionConfig) -> std::io::Result<()> {
    // Requests are written whole, so waiting for more to send would only add latency.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some(quiet) = config.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(quiet).with_interval(quiet / 4))?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(config.user_timeout)?;
    Ok(())
}

pub(crate) async fn connect(
    address: &Address,
    timeout: Duration,
    deadline: Instant,
) -> Result<TcpStream, ConnectionError> {
    let overdue = |_| ConnectionError::SetupTimeout(timeout).at(Stage::Dns);
    let found = timeout_at(deadline.into(), lookup_host((address.host.as_str(), address.port)));
    let found = found.await.map_err(overdue)?.map_err(ConnectionError::Resolve)?;
    connect_to_one(found.collect(), timeout, deadline).await
}

/// Tries every address of a name. None may use up the time of those behind it: one that swallows everything, as an
/// IPv6 address without a route often does, would hide the others.
async fn connect_to_one(
    mut left: VecDeque<SocketAddr>,
    timeout: Duration,
    deadline: Instant,
) -> Result<TcpStream, ConnectionError> {
    let nowhere = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let mut failure = ConnectionError::Connect(nowhere);
    while let Some(candidate) = left.pop_front() {
        let share = deadline.saturating_duration_since(now()) / (left.len() as u32).saturating_add(1);
        failure = match tokio::time::timeout(share, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) if is_connected_to_itself(&stream) => {
                let nobody = std::io::ErrorKind::ConnectionRefused;
                ConnectionError::Connect(std::io::Error::new(nobody, "nobody listens there"))
            }
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => ConnectionError::Connect(error),
            Err(_) => ConnectionError::SetupTimeout(timeout),
        };
    }
    Err(failure)
}

/// Connecting again and again to a closed port of this machine in the range of local ports, one try in the end draws
/// that very port for its own side, and TCP connects the socket to itself.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// One request at a time, before the connection is shared.
struct Talk<'c> {
    reader: FrameReader<Receiving>,
    writer: Sending,
    config: &'c ConnectionConfig,
    correlation_id: i32,
}

impl Talk<'_> {
    async fn versions(&mut self) -> Result<Versions, ConnectionError> {
        let newest = *ApiKey::ApiVersions.stable_versions().end();
        let first = self.ask_versions(newest).await?;
        let response = match ErrorCode(first.error_code) {
            ErrorCode::UNSUPPORTED_VERSION => {
                let known = Versions::new(&first).pick(ApiKey::ApiVersions, i16::MAX).unwrap_or(0);
                self.ask_versions(known).await?
            }
            _ => first,
        };
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => Ok(Versions::new(&response)),
            code => Err(ConnectionError::Versions(code)),
        }
    }

    /// Sends a request and reads the frame that answers it.
    async fn exchange(&mut self, request: &Request, version: i16) -> Result<Bytes, ConnectionError> {
        self.correlation_id += 1;
        let client_id = Some(&*self.config.client_id);
        let mut frame = Writer::new();
        encode_request_into(&mut frame, request, version, self.correlation_id, client_id)
            .map_err(ConnectionError::Encode)?;
        let written = write_all(&mut self.writer, &mut frame.chunks()).await.map_err(ConnectionError::Io);
        // Who hangs up may have said why before it did.
        let answer = match (written, self.reader.next().await) {
            (Ok(()), Ok(answer)) => answer,
            (Err(error), Ok(_)) => return Err(error),
            (written, Err(error)) => {
                return Err(self.alert(&error).or(written.err()).unwrap_or(error));
            }
        };
        let api = request.api_key();
        let got = correlation_id(&answer).map_err(|error| ConnectionError::Decode { api, version, error })?;
        if got != self.correlation_id {
            return Err(ConnectionError::Correlation { expected: self.correlation_id, got });
        }
        Ok(answer)
    }

    /// What a peer says of the client's certificate when the client has taken the handshake for done.
    #[cfg(feature = "_tls")]
    fn alert(&self, error: &ConnectionError) -> Option<ConnectionError> {
        let (ConnectionError::Io(error), Some(tls)) = (error, &self.config.tls) else { return None };
        milena_transport::is_alert(error).then(|| ConnectionError::TlsHandshake(tls.describe(error)))
    }

    #[cfg(not(feature = "_tls"))]
    #[expect(clippy::unused_self, reason = "it is the same call")]
    const fn alert(&self, _: &ConnectionError) -> Option<ConnectionError> {
        None
    }

    async fn ask_versions(&mut self, version: i16) -> Result<ApiVersionsResponse, ConnectionError> {
        let request = ApiVersionsRequest {
            client_software_name: "milena".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        let answer = self.exchange(&request.into(), version).await.map_err(|error| match error {
            ConnectionError::Closed if self.correlation_id == 1 => ConnectionError::ClosedAtOnce,
            other => other,
        })?;
        decode(version, &answer).map_err(|error| ConnectionError::Decode {
            api: ApiKey::ApiVersions,
            version,
            error,
        })
    }
}

impl Ask for Talk<'_> {
    async fn ask(&mut self, request: Request, version: i16) -> Result<Response, ConnectionError> {
        let api = request.api_key();
        let answer = self.exchange(&request, version).await?;
        decode_response(api, version, &answer).map_err(|error| ConnectionError::Decode {
            api,
            version,
            error,
        })
    }
}

/// An answer in the version asked for, or the oldest one: the form in which an old broker refuses a newer version.
fn decode(version: i16, answer: &Bytes) -> Result<ApiVersionsResponse, milena_protocol::DecodeError> {
    let read = |version| match decode_response(ApiKey::ApiVersions, version, answer)? {
        Response::ApiVersions(response) => Ok(response),
        // The catalogue pairs the API with its response.
        _ => Ok(ApiVersionsResponse::default()),
    };
    read(version).or_else(|error| match read(0) {
        Ok(refusal) if refusal.error_code == ErrorCode::UNSUPPORTED_VERSION.0 => Ok(refusal),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// C7, C8: the system asks quiet peers for a sign, and gives up on those that do not acknowledge.
    #[tokio::test]
    async fn sockets_are_looked_after_by_the_system() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async |config: &ConnectionConfig| {
            let address = Address { host: address.ip().to_string(), port: address.port() };
            let timeout = Duration::from_secs(5);
            tcp(&address, config, timeout, later(now(), timeout)).await.unwrap()
        };
        let stream = connect(&ConnectionConfig::default()).await;
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
        let config = ConnectionConfig { keepalive: None, user_timeout: None, ..Default::default() };
        let stream = connect(&config).await;
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }

    /// C6.
    #[tokio::test]
    async fn an_address_that_swallows_everything_leaves_time_for_the_next() {
        let full = TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let swallows = full.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(swallows)).await
        {
            queue.push(stream.unwrap());
        }
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = good.local_addr().unwrap();
        let timeout = Duration::from_secs(1);
        let connect =
            |to: &[SocketAddr]| connect_to_one(to.iter().copied().collect(), timeout, later(now(), timeout));
        assert_eq!(connect(&[swallows, good]).await.unwrap().peer_addr().unwrap(), good);
        assert!(matches!(connect(&[swallows]).await, Err(ConnectionError::SetupTimeout(_))));
        assert!(matches!(connect(&[]).await, Err(ConnectionError::Connect(_))));
    }
}
