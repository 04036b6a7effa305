//! Tokens from an endpoint: what it is sent, and what becomes of whatever it answers.
#![cfg(feature = "oidc")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_cluster::Target;
use milena_connection::{
    Address, ConnectionConfig, InvalidOidc, Network, Oidc, OidcBuilder, OidcError, Sasl, Tls, Token,
    TokenProvider,
};
use milena_protocol::{
    frame::{decode_request, encode_response},
    messages::{
        ApiVersionsResponse, MetadataRequest, Request, Response, SaslHandshakeResponse,
        api_versions::ApiVersion,
    },
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::fmt::MakeWriter;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tls");
const SECRET: &str = "canary-4711 s=cr&t:%+\u{20ac}/";
const TOKEN: &str = "canary.0815-token";

/// What a server does when it has read a request.
#[derive(Clone)]
enum Reply {
    /// Says this and hangs up.
    Text(String),
    /// Waits before that.
    Late(Duration, String),
    /// Says this, and then the same again and again, after such waits.
    Endless(&'static str, String, Duration),
    /// Says nothing.
    Silence,
}

/// A token endpoint on this machine.
struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `reply`: to each request, counted from 0.
    async fn start(acceptor: Option<TlsAcceptor>, reply: impl Fn(usize) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, requests) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default());
        let server = Self { port, asked: Arc::clone(&asked), requests: Arc::clone(&requests) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let reply = reply(asked.fetch_add(1, Ordering::Relaxed));
                let (acceptor, requests) = (acceptor.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &requests, reply).await;
                            }
                        }
                        None => serve(stream, &requests, reply).await,
                    }
                });
            }
        });
        server
    }

    async fn plain(reply: Reply) -> Self {
        Self::start(None, move |_| reply.clone()).await
    }

    fn oidc(&self) -> OidcBuilder {
        Oidc::builder(format!("http://127.0.0.1:{}/token", self.port), "order-service", SECRET)
            .allow_loopback_in_the_clear()
            .timeout(Duration::from_secs(5))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn request(&self) -> String {
        self.requests.lock().unwrap().last().cloned().unwrap()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, requests: &Mutex<Vec<String>>, reply: Reply) {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                break;
            }
        }
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    requests.lock().unwrap().push(String::from_utf8(request).unwrap());
    match reply {
        Reply::Text(text) => _ = stream.write_all(text.as_bytes()).await,
        Reply::Late(wait, text) => {
            tokio::time::sleep(wait).await;
            _ = stream.write_all(text.as_bytes()).await;
        }
        Reply::Endless(head, text, wait) => {
            _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(text.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(wait).await;
            }
        }
        Reply::Silence => tokio::time::sleep(Duration::from_secs(60)).await,
    }
    _ = stream.shutdown().await;
}

fn acceptor(name: &str) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(format!("{FIXTURES}/{name}.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FIXTURES}/{name}.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()))
}

fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn token_for(seconds: u32) -> String {
    json("200 OK", &format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":{seconds}}}"#))
}

fn token() -> Token {
    Token::new(TOKEN).unwrap()
}

/// Why there is no token, which names the endpoint and takes no longer than a moment to find out.
async fn failure(oidc: &Oidc) -> OidcError {
    let begin = Instant::now();
    let error = *oidc.token().await.unwrap_err().downcast::<OidcError>().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{error} after {:?}", begin.elapsed());
    let text = error.to_string();
    assert!(text.contains("://127.0.0.1:") || text.contains("://localhost:"), "{text}");
    assert!(!text.contains("canary") && !text.contains("/token?"), "{text}");
    error
}

#[tokio::test]
async fn a_token_is_asked_for_over_tls_and_carries_the_extensions() {
    let server = Server::start(Some(acceptor("server")), |_| Reply::Text(token_for(300))).await;
    let oidc =
        Oidc::builder(format!("https://localhost:{}/a/token?tenant=b", server.port), "order service", SECRET)
            .tls(Tls::ca_file(format!("{FIXTURES}/ca.pem")))
            .scope("kafka orders:write")
            .audience("https://kafka.example")
            .extension("logicalCluster", "lkc-1")
            .build()
            .unwrap();
    let expected = token().with_extension("logicalCluster", "lkc-1").unwrap();
    assert_eq!(oidc.token().await.unwrap(), expected);
    let request = server.request();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /a/token?tenant=b HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("host: localhost:{}", server.port),
        "accept: application/json".to_owned(),
        "content-type: application/x-www-form-urlencoded".to_owned(),
        // order+service:canary-4711+s%3Dcr%26t%3A%25%2B%E2%82%AC%2F
        "authorization: Basic b3JkZXIrc2VydmljZTpjYW5hcnktNDcxMStzJTNEY3IlMjZ0JTNBJTI1JTJCJUUyJTgyJUFDJTJG"
            .to_owned(),
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    assert_eq!(
        body,
        "grant_type=client_credentials&scope=kafka+orders%3Awrite&audience=https%3A%2F%2Fkafka.example"
    );
}

#[tokio::test]
async fn the_secret_goes_into_the_body_where_that_is_wanted() {
    let server = Server::plain(Reply::Text(token_for(300))).await;
    let oidc = server.oidc().secret_in_body().build().unwrap();
    assert_eq!(oidc.token().await.unwrap(), token());
    let request = server.request();
    assert!(!request.contains("authorization"), "{request}");
    let body = "grant_type=client_credentials&client_id=order-service&\
                client_secret=canary-4711+s%3Dcr%26t%3A%25%2B%E2%82%AC%2F";
    assert!(request.ends_with(body), "{request}");
}

#[tokio::test]
async fn a_token_is_kept_and_those_who_ask_at_once_share_a_request() {
    let server = Server::plain(Reply::Late(Duration::from_millis(100), token_for(300))).await;
    let oidc = server.oidc().build().unwrap();
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let oidc = oidc.clone();
            tokio::spawn(async move { oidc.token().await.unwrap() })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), token());
    }
    assert_eq!(oidc.token().await.unwrap(), token());
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_token_of_unknown_life_is_not_kept() {
    let server =
        Server::plain(Reply::Text(json("200 OK", &format!(r#"{{"access_token":"{TOKEN}"}}"#)))).await;
    let oidc = server.oidc().build().unwrap();
    for asked in 1..4 {
        assert_eq!(oidc.token().await.unwrap(), token());
        assert_eq!(server.asked(), asked);
    }
}

#[tokio::test]
async fn a_token_that_ran_out_is_replaced() {
    let server = Server::plain(Reply::Text(token_for(1))).await;
    let oidc = server.oidc().build().unwrap();
    assert_eq!(oidc.token().await.unwrap(), token());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(oidc.token().await.unwrap(), token());
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn whoever_gives_up_leaves_the_request_to_the_others() {
    let server = Server::plain(Reply::Late(Duration::from_millis(300), token_for(300))).await;
    let oidc = server.oidc().build().unwrap();
    let gave_up = tokio::time::timeout(Duration::from_millis(50), oidc.token()).await;
    assert!(gave_up.is_err());
    assert_eq!(oidc.token().await.unwrap(), token());
    assert_eq!(server.asked(), 1);
}

#[test]
fn a_runtime_that_ends_takes_its_request_with_it_and_no_other() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let servers = runtime();
    let server = servers.block_on(Server::start(None, |turn| match turn {
        0 => Reply::Silence,
        _ => Reply::Text(token_for(300)),
    }));
    let oidc = server.oidc().build().unwrap();
    let first = runtime();
    first.block_on(async {
        _ = tokio::time::timeout(Duration::from_millis(100), oidc.token()).await;
    });
    drop(first);
    assert_eq!(runtime().block_on(oidc.token()).unwrap(), token());
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_wait_and_the_endpoint_left_alone_for_a_moment() {
    let refusal = json("503 Service Unavailable", "<html>later</html>");
    let server = Server::start(None, move |turn| match turn {
        0 => Reply::Late(Duration::from_millis(100), refusal.clone()),
        _ => Reply::Text(token_for(300)),
    })
    .await;
    let oidc = server.oidc().build().unwrap();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let oidc = oidc.clone();
            tokio::spawn(async move { failure(&oidc).await.to_string() })
        })
        .collect();
    let expected = format!("http://127.0.0.1:{} refused with status 503", server.port);
    for asked in asking {
        assert_eq!(asked.await.unwrap(), expected);
    }
    assert_eq!(server.asked(), 1);
    let begin = Instant::now();
    while oidc.token().await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.asked(), 2, "it was asked once more");
}

#[tokio::test]
async fn what_the_endpoint_refuses_with_is_told() {
    let echo = format!(r#"{{"error":"invalid_client","error_description":"no\u0007 {SECRET}"}}"#);
    let server = Server::plain(Reply::Text(json("401 Unauthorized", &echo))).await;
    let told = failure(&server.oidc().build().unwrap()).await.to_string();
    assert!(told.ends_with(r"refused with status 401: invalid_client (no\u{7} ***)"), "{told}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::plain(Reply::Text(token_for(300))).await;
    for status in
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("http://127.0.0.1:{}/other?secret=canary", other.port);
        let text = format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let server = Server::plain(Reply::Text(text)).await;
        let told = failure(&server.oidc().build().unwrap()).await.to_string();
        let expected =
            format!("redirects to http://127.0.0.1:{}/other (status {}), which", other.port, &status[..3]);
        assert!(told.contains(&expected), "{told}");
    }
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn answers_without_end_are_ended() {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let until_the_end = "HTTP/1.1 200 OK\r\n\r\n";
    for (head, text) in [(chunked, chunk), (sized, "x".repeat(999)), (until_the_end, "x".repeat(4_096))] {
        let server = Server::plain(Reply::Endless(head, text, Duration::ZERO)).await;
        match failure(&server.oidc().build().unwrap()).await {
            OidcError::TooLong { limit: 65_536, .. } => {}
            // Longer than anybody may claim.
            OidcError::Http { .. } if head == sized => {}
            other => panic!("{head}: {other}"),
        }
    }
    let headers = "X-Header: x\r\n".repeat(99);
    for (head, text) in [
        ("HTTP/1.1 200 OK\r\n", headers),
        ("HTTP/1.1 200 OK\r\nX: ", "x".repeat(999)),
        ("HTTP/1.1 ", "2".repeat(999)),
    ] {
        let server = Server::plain(Reply::Endless(head, text, Duration::ZERO)).await;
        let error = failure(&server.oidc().build().unwrap()).await;
        assert!(matches!(error, OidcError::Http { .. }), "{head}: {error}");
    }
}

#[tokio::test]
async fn an_error_without_end_is_ended() {
    let head = "HTTP/1.1 400 Bad Request\r\n\r\n";
    let server = Server::plain(Reply::Endless(head, "x".repeat(4_096), Duration::ZERO)).await;
    let error = failure(&server.oidc().build().unwrap()).await;
    assert!(matches!(error, OidcError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn endpoints_that_take_for_ever_are_left() {
    let drop_by_drop = "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
    for reply in [
        Reply::Silence,
        Reply::Endless(drop_by_drop, " ".to_owned(), Duration::from_millis(20)),
        Reply::Endless("HTTP/1.1 200 OK\r\nX: ", "x".to_owned(), Duration::from_millis(20)),
        // Answers that are none yet.
        Reply::Endless("", "HTTP/1.1 103 Early Hints\r\n\r\n".to_owned(), Duration::from_millis(20)),
    ] {
        let server = Server::plain(reply).await;
        let begin = Instant::now();
        let error = failure(&server.oidc().timeout(Duration::from_millis(300)).build().unwrap()).await;
        assert!(error.to_string().ends_with("gave no token within 300ms"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn a_peer_that_accepts_and_does_not_speak_tls_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let oidc = Oidc::builder(url, "order-service", SECRET).timeout(Duration::from_millis(300));
    let oidc = oidc.tls(Tls::ca_file(format!("{FIXTURES}/ca.pem"))).build().unwrap();
    let error = failure(&oidc).await;
    assert!(matches!(error, OidcError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_answer_is_told() {
    for (text, expected) in [
        ("nonsense\r\n\r\n".to_owned(), "does not answer in HTTP"),
        ("\0\u{1}\u{2}".to_owned(), "does not answer in HTTP"),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "does not answer in HTTP"),
        (String::new(), "does not answer in HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{".to_owned(), "does not answer in HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{".to_owned(), "does not answer in HTTP"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(), "does not answer in HTTP"),
        (
            json("200 OK", "<html>log in</html>"),
            "gave no token that can be used: the answer is no JSON object",
        ),
        (json("200 OK", "{}"), "the answer has no access_token"),
        (json("204 No Content", ""), "gave no token that can be used"),
        (json("200 OK", r#"{"access_token":"canary\u0001x"}"#), "a bearer token is made of"),
        (json("200 OK", r#"{"access_token":"canary","expires_in":-5}"#), "it has expired already"),
        (json("418 I'm a teapot", r#"{"error":[1]}"#), "refused with status 418"),
    ] {
        let server = Server::plain(Reply::Text(text.clone())).await;
        let told = failure(&server.oidc().build().unwrap()).await.to_string();
        assert!(told.contains(expected), "{text:?}: {told}");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_prove_who_it_is_gets_no_secret() {
    let ca = || Tls::ca_file(format!("{FIXTURES}/ca.pem"));
    for (certificate, tls, expected) in [
        ("server", Tls::system_roots(), "UnknownIssuer"),
        ("elsewhere", ca(), "not valid for name"),
        ("expired", ca(), "Expired"),
    ] {
        let server = Server::start(Some(acceptor(certificate)), |_| Reply::Text(token_for(300))).await;
        let url = format!("https://localhost:{}/token", server.port);
        let told =
            failure(&Oidc::builder(url, "order-service", SECRET).tls(tls).build().unwrap()).await.to_string();
        assert!(
            told.contains("can't be reached: the TLS handshake failed") && told.contains(expected),
            "{told}"
        );
        assert!(server.requests.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let oidc = Oidc::builder(format!("http://127.0.0.1:{port}"), "order-service", SECRET);
    let error = failure(&oidc.allow_loopback_in_the_clear().build().unwrap()).await;
    assert!(matches!(error, OidcError::Unreachable { .. }), "{error}");
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let builder = |url: &str| Oidc::builder(url, "order-service", SECRET);
    let https = || builder("https://login.example/token");
    for (builder, expected) in [
        (builder("http://login.example/token"), InvalidOidc::InTheClear),
        (builder("http://127.0.0.1/token"), InvalidOidc::InTheClear),
        (builder("http://login.example/token").allow_loopback_in_the_clear(), InvalidOidc::InTheClear),
        (builder("file:///etc/passwd"), InvalidOidc::Scheme),
        (builder("file:///etc/passwd").allow_loopback_in_the_clear(), InvalidOidc::Scheme),
        (builder("https://canary:canary@login.example/"), InvalidOidc::Url),
        (Oidc::builder("https://login.example/token", "", SECRET), InvalidOidc::NoClient),
        (https().parameter("client_secret", "x"), InvalidOidc::Parameter("client_secret".to_owned())),
        (https().parameter("scope", "x"), InvalidOidc::Parameter("scope".to_owned())),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error, expected);
        assert!(!error.to_string().contains("canary"));
    }
    for (name, value) in [("auth", "x"), ("a=b", "x"), ("", "x"), ("a", "\u{1}")] {
        let error = https().extension(name, value).build().unwrap_err();
        assert!(matches!(error, InvalidOidc::Extension { .. }), "{error}");
    }
    assert!(https().parameter("resource", "a").parameter("resource", "b").build().is_ok());
}

/// A broker that lets one client log in, and what it said who it is.
async fn broker() -> (Address, JoinHandle<Bytes>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        loop {
            let len = stream.read_u32().await.unwrap();
            let mut frame = vec![0; len as usize];
            stream.read_exact(&mut frame).await.unwrap();
            let request = decode_request(&frame.into()).unwrap();
            let response: Response = match request.body.unwrap() {
                Request::ApiVersions(_) => {
                    let range =
                        |(api_key, max_version)| ApiVersion { api_key, max_version, ..Default::default() };
                    let api_keys = [(3, 12), (17, 1), (18, 4), (36, 2)].map(range).to_vec();
                    ApiVersionsResponse { api_keys, ..Default::default() }.into()
                }
                Request::SaslHandshake(choice) => {
                    SaslHandshakeResponse { mechanisms: vec![choice.mechanism], ..Default::default() }.into()
                }
                Request::SaslAuthenticate(token) => return token.auth_bytes,
                other => panic!("{other:?}"),
            };
            let header = request.header;
            let frame =
                encode_response(&response, header.request_api_version, header.correlation_id).unwrap();
            stream.write_all(&frame.to_bytes()).await.unwrap();
        }
    });
    (Address { host: "127.0.0.1".to_owned(), port }, said)
}

#[tokio::test]
async fn a_login_shows_the_broker_the_token() {
    let server = Server::plain(Reply::Text(token_for(300))).await;
    let oidc = server.oidc().extension("logicalCluster", "lkc-1").build().unwrap();
    for _ in 0..2 {
        let (address, said) = broker().await;
        let sasl = Some(Sasl::oauth_bearer(oidc.clone()).allow_in_the_clear());
        let network = Network::new(vec![address], ConnectionConfig { sasl, ..Default::default() });
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        // The broker hangs up then.
        network.call(Target::AnyBroker, request, Duration::from_secs(5)).await.unwrap_err();
        let expected = format!("n,,\x01auth=Bearer {TOKEN}\x01logicalCluster=lkc-1\x01\x01");
        assert_eq!(said.await.unwrap(), expected);
    }
    assert_eq!(server.asked(), 1);
}

/// A broker that is there while the endpoint is not: the login says which of them it is.
#[tokio::test]
async fn a_login_without_a_token_says_why() {
    let server = Server::plain(Reply::Text(json("401 No", r#"{"error":"invalid_client"}"#))).await;
    let sasl = Some(Sasl::oauth_bearer(server.oidc().build().unwrap()).allow_in_the_clear());
    let (address, _said) = broker().await;
    let network = Network::new(vec![address], ConnectionConfig { sasl, ..Default::default() });
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    let failure = network.call(Target::AnyBroker, request, Duration::from_secs(5)).await.unwrap_err();
    let expected = format!(
        "the login by OAUTHBEARER failed: there is no token: http://127.0.0.1:{} refused with status 401: invalid_client",
        server.port
    );
    assert!(failure.to_string().contains(&expected), "{failure}");
}

/// Lines that were logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// Everything is logged that can be, and nothing of it is a secret.
#[tokio::test]
async fn no_secret_is_told_to_the_log_or_by_debug_or_in_an_error() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut told = String::new();
    for reply in [token_for(300), json("401 No", &format!(r#"{{"error":"{SECRET}"}}"#)), TOKEN.to_owned()] {
        for acceptor in [None, Some(acceptor("server"))] {
            let scheme = if acceptor.is_some() { "https" } else { "http" };
            let text = reply.clone();
            let server = Server::start(acceptor, move |_| Reply::Text(text.clone())).await;
            let url = format!("{scheme}://localhost:{}/token?key={SECRET}", server.port)
                .replace([' ', '\u{20ac}'], "_");
            let builder = Oidc::builder(url, "order-service", SECRET).parameter("assertion", SECRET);
            let builder =
                builder.allow_loopback_in_the_clear().tls(Tls::ca_file(format!("{FIXTURES}/ca.pem")));
            told.push_str(&format!("{builder:?}"));
            let oidc = builder.build().unwrap();
            let answer = oidc.token().await;
            told.push_str(&format!("{answer:?} {oidc:?} {:#?} {:?}", oidc, Sasl::oauth_bearer(oidc.clone())));
            if let Err(error) = answer {
                told.push_str(&error.to_string());
            }
        }
    }
    let log = log.0.lock().unwrap_or_else(PoisonError::into_inner);
    told.push_str(std::str::from_utf8(&log).unwrap());
    assert!(told.contains("a token") && told.contains("no token"), "something is logged: {told}");
    assert!(!told.contains("canary"), "{}", told.replace("canary", ">>>HERE<<<"));
}
