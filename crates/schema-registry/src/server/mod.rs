//! A registry in the process, on loopback: for tests and demonstrations.
//!
//! It imitates Confluent Schema Registry as documented: ids, versions, references, configuration, soft and hard deletes, error
//! codes. Compatibility is enforced for Avro; schemas in JSON and Protobuf are taken as they are, and compatible with all.
//! Nothing is kept on disk, there is no TLS, and modes, contexts, rules and exporters are not there.

mod compatibility;
mod faults;
mod routes;
mod state;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};

use self::{faults::Faults, state::State};
use milena_transport::HyperStream;

const MOST_BODY: usize = 8 << 20;
const MOST_CONNECTIONS: usize = 256;
const LONGEST_EXCHANGE: Duration = Duration::from_secs(30);
const CONTENT: HeaderValue = HeaderValue::from_static("application/vnd.schemaregistry.v1+json");

/// A registry that serves until it is dropped. See the [module](self) for what it imitates.
pub struct InProcessRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    faults: Mutex<Faults>,
}

impl InProcessRegistry {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::default(), faults: Mutex::default() });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, serving })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.faults(|faults| faults.requests)
    }

    /// Answers the next `count` requests with this status, and does nothing.
    pub fn fail_next(&self, count: usize, status: u16) {
        self.faults(|faults| faults.failing = (count, status));
    }

    /// Waits before every answer.
    pub fn delay(&self, delay: Duration) {
        self.faults(|faults| faults.delay = delay);
    }

    /// Answers 401 unless this is the request's `Authorization` header.
    pub fn require_authorization(&self, value: impl Into<String>) {
        let value = value.into();
        self.faults(|faults| faults.authorization = Some(value));
    }

    fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        change(&mut self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for InProcessRegistry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _ = timeout(LONGEST_EXCHANGE, exchange(stream, shared)).await;
            drop(permit);
        });
    }
}

async fn exchange(stream: TcpStream, shared: Arc<Shared>) {
    let answer = service_fn(|request| answer(request, Arc::clone(&shared)));
    // A client that goes away is its own business.
    let _ = http1::Builder::new().serve_connection(HyperStream(Box::new(stream)), answer).await;
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let authorization =
        request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (delay, failing) = {
        let mut faults = shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        (faults.delay, faults.next(authorization.as_deref()))
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let (parts, body) = request.into_parts();
    let (status, body) = match failing {
        Some(status) => routes::refusal(status, i32::from(status), "as a fault was asked for"),
        None => match Limited::new(body, MOST_BODY).collect().await {
            Ok(body) => {
                let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                routes::answer(&mut state, &parts.method, &parts.uri, &body.to_bytes())
            }
            Err(_) => routes::refusal(413, 413, "the request is too long"),
        },
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    Ok(response)
}
