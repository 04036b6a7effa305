//! One request and its answer, over a connection of its own. Caches make requests rare.
//!
//! Nothing is sized by what the peer says, no redirect is followed, and the caller bounds the time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
};
use milena_transport::HyperStream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use zeroize::Zeroizing;

use crate::base_url::BaseUrl;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// So long may the status and the headers be together, in bytes and in lines.
const MOST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 100;
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Dialing {
    pub(crate) connect_timeout: Duration,
    pub(crate) most_answer: usize,
    pub(crate) authorization: Option<Zeroizing<String>>,
    /// The name in the URL may say that it is this machine, and the resolver otherwise.
    pub(crate) must_be_this_machine: bool,
    #[cfg(feature = "_tls")]
    pub(crate) tls: milena_transport::Tls,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// What is asked of a registry, whichever it is.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    /// What comes after the base URL, encoded.
    pub(crate) path: String,
    pub(crate) body: Option<Bytes>,
}

/// Asks. The error is for a person, and has no secret in it.
pub(crate) async fn ask(url: &BaseUrl, dialing: &Dialing, question: &Question) -> Result<Answer, String> {
    let request = request(url, dialing, question).map_err(|error| error.to_string())?;
    let stream = timeout(dialing.connect_timeout, connect(url, dialing))
        .await
        .map_err(|_| format!("no connection within {:?}", dialing.connect_timeout))??;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD).max_headers(MOST_HEADERS);
    let (mut sender, connection) =
        builder.handshake(HyperStream(stream)).await.map_err(|error| words(&error))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        read(response, dialing.most_answer).await
    };
    // The connection does the work while the answer is waited for. When it is over, the answer is there or has failed.
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        _ = connection => answered.await,
    }
}

fn request(
    url: &BaseUrl,
    dialing: &Dialing,
    question: &Question,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(question.method.clone())
        .uri(format!("{}{}", url.path, question.path))
        .header(HOST, url.host_header())
        .header(ACCEPT, format!("{CONTENT}, application/json"))
        .header(USER_AGENT, concat!("milena/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    if question.body.is_some() {
        request = request.header(CONTENT_TYPE, CONTENT);
    }
    if let Some(authorization) = &dialing.authorization {
        let mut value = HeaderValue::from_str(authorization)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Full::new(question.body.clone().unwrap_or_default()))
}

async fn connect(url: &BaseUrl, dialing: &Dialing) -> Result<Box<dyn Stream>, String> {
    let connected =
        TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|error| error.to_string())?;
    if !url.is_encrypted {
        let peer = connected.peer_addr().map_err(|error| error.to_string())?.ip();
        if dialing.must_be_this_machine && !peer.to_canonical().is_loopback() {
            return Err(format!("without TLS secrets are sent to this machine only, which {peer} is not"));
        }
        return Ok(Box::new(connected));
    }
    encrypt(url, dialing, connected).await
}

#[cfg(feature = "_tls")]
async fn encrypt(url: &BaseUrl, dialing: &Dialing, connected: TcpStream) -> Result<Box<dyn Stream>, String> {
    let tls = &dialing.tls;
    let name = tls.name(&url.host).map_err(|error| error.to_string())?;
    let connector = tls.connector().map_err(|error| error.to_string())?;
    let encrypted = connector.connect(name, connected).await;
    Ok(Box::new(encrypted.map_err(|error| format!("the TLS handshake failed: {}", tls.describe(&error)))?))
}

#[cfg(not(feature = "_tls"))]
async fn encrypt(_: &BaseUrl, _: &Dialing, _: TcpStream) -> Result<Box<dyn Stream>, String> {
    Err("this was built without TLS".to_owned())
}

async fn read(response: Response<Incoming>, most: usize) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut incoming = response.into_body();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| words(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        if body.len().saturating_add(data.len()) > most {
            return Err(format!("the answer is longer than {most} bytes"));
        }
        body.extend_from_slice(data);
    }
    Ok(Answer { status, body })
}

fn words(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
