//! Connections through a SOCKS5 proxy.
#![cfg(feature = "socks5")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use milena_cluster::{Failure, Target};
use milena_connection::{Address, ConnectionConfig, Network, Socks5};
use milena_protocol::{
    frame::{decode_request, encode_response},
    messages::{
        ApiVersionsResponse, MetadataRequest, MetadataResponse, Request, Response, api_versions::ApiVersion,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a proxy was asked to connect to, and by whom.
type Asked = Arc<Mutex<Vec<(String, Option<(String, String)>)>>>;

async fn listen() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Address { host: "127.0.0.1".to_owned(), port })
}

async fn broker() -> Address {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut frame = vec![0; stream.read_u32().await? as usize];
        stream.read_exact(&mut frame).await?;
        let request = decode_request(&frame.into()).unwrap();
        let range = |api_key, max_version| ApiVersion { api_key, max_version, ..Default::default() };
        let response: Response = match request.body.unwrap() {
            Request::ApiVersions(_) => {
                ApiVersionsResponse { api_keys: vec![range(3, 12), range(18, 4)], ..Default::default() }
                    .into()
            }
            _ => MetadataResponse::default().into(),
        };
        let header = request.header;
        let frame = encode_response(&response, header.request_api_version, header.correlation_id).unwrap();
        stream.write_all(&frame.to_bytes()).await?;
    }
}

/// A proxy that leads everybody to `broker`, whatever the name, or refuses with this code. With a login it wants one.
async fn proxy(broker: Address, code: u8, login: Option<(&'static str, &'static str)>) -> (Address, Asked) {
    let ((listener, address), asked) = (listen().await, Asked::default());
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = lead(stream, &broker, code, login, &noted).await;
        }
    });
    (address, asked)
}

async fn text(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

async fn lead(
    mut stream: TcpStream,
    broker: &Address,
    code: u8,
    login: Option<(&str, &str)>,
    asked: &Asked,
) -> std::io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    let mut methods = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut methods).await?;
    let wanted = if login.is_some() { 2 } else { 0 };
    let method = if methods.contains(&wanted) { wanted } else { 0xff };
    stream.write_all(&[5, method]).await?;
    let mut said = None;
    match method {
        0xff => return Ok(()),
        2 => {
            assert_eq!(stream.read_u8().await?, 1);
            let (user, password) = (text(&mut stream).await?, text(&mut stream).await?);
            let is_right = login == Some((&user, &password));
            stream.write_all(&[1, u8::from(!is_right)]).await?;
            if !is_right {
                return Ok(());
            }
            said = Some((user, password));
        }
        _ => {}
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    // By name: the proxy resolves it.
    assert_eq!(head, [5, 1, 0, 3]);
    let host = text(&mut stream).await?;
    let port = stream.read_u16().await?;
    asked.lock().unwrap().push((format!("{host}:{port}"), said));
    stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if code == 0 {
        let mut broker = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut broker).await });
    }
    Ok(())
}

async fn ask(proxy: Socks5) -> Result<MetadataResponse, Failure> {
    let config =
        ConnectionConfig { socks5: Some(proxy), setup_timeout: Duration::from_secs(1), ..Default::default() };
    let network = Network::new(vec!["kafka.internal:9092".parse().unwrap()], config);
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    network.call(Target::AnyBroker, request, Duration::from_secs(5)).await
}

#[tokio::test]
async fn the_proxy_connects_to_what_only_it_can_resolve() {
    let (proxy, asked) = proxy(broker().await, 0, None).await;
    ask(Socks5::new(proxy)).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [("kafka.internal:9092".to_owned(), None)]);
}

#[tokio::test]
async fn the_proxy_is_told_who_the_client_is() {
    let (proxy, asked) = proxy(broker().await, 0, Some(("alice", "secret"))).await;
    ask(Socks5::new(proxy).login("alice", "secret")).await.unwrap();
    let login = Some(("alice".to_owned(), "secret".to_owned()));
    assert_eq!(*asked.lock().unwrap(), [("kafka.internal:9092".to_owned(), login)]);
}

/// A web server, to a client that does not speak HTTP.
async fn web() -> Address {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    address
}

#[tokio::test]
async fn what_goes_wrong_at_the_proxy_is_told_as_that() {
    let broker = broker().await;
    let (guarded, _) = proxy(broker.clone(), 0, Some(("alice", "secret"))).await;
    let (refusing, _) = proxy(broker.clone(), 5, None).await;
    let (closed, nowhere) = listen().await;
    drop(closed);
    for (proxy, expected) in [
        (Socks5::new(guarded.clone()), "it wants a login"),
        (Socks5::new(guarded.clone()).login("alice", "guess"), "it refused the login"),
        (
            Socks5::new(guarded).login("alice", "x".repeat(256)),
            "its user and password have to be of 1 to 255 bytes",
        ),
        (Socks5::new(refusing), "refused"),
        (Socks5::new(broker), "it was silent for 1s; is this a SOCKS5 port?"),
        (Socks5::new(web().await), "it does not speak SOCKS5"),
        (Socks5::new(nowhere), "can't connect: "),
    ] {
        let at = proxy.proxy().clone();
        let failure = ask(proxy).await.unwrap_err().to_string();
        let begin = format!("kafka.internal:9092: the proxy at {at} does not connect to it: ");
        let error = failure.strip_prefix(&begin).unwrap_or_else(|| panic!("{failure}"));
        assert!(error.to_lowercase().contains(&expected.to_lowercase()), "{failure}");
        assert!(!failure.contains("guess"), "{failure}");
    }
}
