//! One request to a token endpoint and its answer, over a connection of its own.
//!
//! Nothing is sized by what the endpoint says, no redirect is followed, and the caller bounds the time.

use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT},
};
use milena_transport::HyperStream;
use zeroize::Zeroizing;

use super::{OidcError, endpoint::Endpoint};
use crate::{Tls, TlsError, handshake::connect, stream::ByteStream};

/// A token with its frills takes a few KiB.
const MOST_BODY: usize = 64 << 10;
/// So long may the status and the headers be together, in bytes and in lines.
const MOST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 100;

/// What is sent.
pub(super) struct Question {
    /// The value of the `Authorization` header, if there is one.
    pub(super) authorization: Option<Zeroizing<String>>,
    /// A form.
    pub(super) body: String,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<HeaderValue>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Asks. `timeout`: what is left until `deadline`, which only connecting looks at.
pub(super) async fn ask(
    endpoint: &Endpoint,
    tls: &Tls,
    question: Question,
    timeout: Duration,
    deadline: Instant,
) -> Result<Answer, OidcError> {
    let request = request(endpoint, question)
        .map_err(|error| OidcError::Http { endpoint: endpoint.to_string(), error: error.to_string() })?;
    let stream = stream(endpoint, tls, timeout, deadline)
        .await
        .map_err(|error| OidcError::Unreachable { endpoint: endpoint.to_string(), error })?;
    exchange(endpoint, HyperStream(stream), request).await
}

fn request(endpoint: &Endpoint, question: Question) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::post(&endpoint.path)
        .header(HOST, endpoint.host())
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("milena/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(CONNECTION, "close");
    if let Some(authorization) = question.authorization {
        let mut value = HeaderValue::from_str(&authorization)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Full::new(question.body.into()))
}

async fn stream(
    endpoint: &Endpoint,
    tls: &Tls,
    timeout: Duration,
    deadline: Instant,
) -> Result<Box<dyn ByteStream>, String> {
    let connected = connect(&endpoint.address, timeout, deadline).await.map_err(|error| error.to_string())?;
    if !endpoint.is_encrypted {
        // Whatever the name resolved to.
        let peer = connected.peer_addr().map_err(|error| error.to_string())?;
        return match peer.ip().to_canonical() {
            IpAddr::V4(address) if address.is_loopback() => Ok(Box::new(connected)),
            IpAddr::V6(address) if address.is_loopback() => Ok(Box::new(connected)),
            address => Err(format!("without TLS only this machine is asked, which {address} is not")),
        };
    }
    let text = |error: TlsError| error.to_string();
    let name = tls.name(&endpoint.address.host).map_err(text)?;
    let connector = tls.connector().map_err(text)?;
    let encrypted = connector.connect(name, connected).await;
    let failed = |error: io::Error| format!("the TLS handshake failed: {}", tls.describe(&error));
    Ok(Box::new(encrypted.map_err(failed)?))
}

async fn exchange(
    endpoint: &Endpoint,
    stream: HyperStream<Box<dyn ByteStream>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, OidcError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD).max_headers(MOST_HEADERS);
    let (mut sender, connection) =
        builder.handshake(stream).await.map_err(|error| broken(endpoint, &error))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| broken(endpoint, &error))?;
        read(endpoint, response).await
    };
    // The connection does the work while the answer is waited for. When it is over, the answer is there or has failed.
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        _ = connection => answered.await,
    }
}

async fn read(endpoint: &Endpoint, response: Response<Incoming>) -> Result<Answer, OidcError> {
    let status = response.status();
    let location = response.headers().get(LOCATION).cloned();
    let mut body = Zeroizing::new(Vec::new());
    let mut incoming = response.into_body();
    // What stands beside a redirect is of no interest.
    while !status.is_redirection()
        && let Some(frame) = incoming.frame().await
    {
        let frame = frame.map_err(|error| broken(endpoint, &error))?;
        let Some(data) = frame.data_ref() else { continue };
        if body.len() + data.len() > MOST_BODY {
            return Err(OidcError::TooLong { endpoint: endpoint.to_string(), limit: MOST_BODY });
        }
        body.extend_from_slice(data);
    }
    Ok(Answer { status: status.as_u16(), location, body })
}

fn broken(endpoint: &Endpoint, error: &hyper::Error) -> OidcError {
    let error = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    OidcError::Http { endpoint: endpoint.to_string(), error }
}
