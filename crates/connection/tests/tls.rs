//! TLS by whichever cryptography this was built with, against a server that has graviola's.
#![cfg(any(feature = "tls", feature = "ring", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{sync::Arc, time::Duration};

use milena_cluster::Target;
use milena_connection::{Address, ConnectionConfig, Network, Tls};
use milena_protocol::{
    frame::{decode_request, encode_response},
    messages::{ApiVersionsResponse, MetadataRequest, Request, Response, api_versions::ApiVersion},
};
use rustls::{
    ProtocolVersion, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tls");

/// What a server saw of its client.
#[derive(Debug, PartialEq)]
struct Seen {
    version: Option<ProtocolVersion>,
    server_name: Option<String>,
    alpn: Option<Vec<u8>>,
}

fn server(name: &str, versions: &[&'static SupportedProtocolVersion]) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(format!("{FIXTURES}/{name}.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FIXTURES}/{name}.key")).unwrap();
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A broker that answers one client's ApiVersions.
async fn broker(acceptor: TlsAcceptor) -> (Address, JoinHandle<Option<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.ok()?;
        answer(&mut stream).await;
        let connection = stream.get_ref().1;
        Some(Seen {
            version: connection.protocol_version(),
            server_name: connection.server_name().map(str::to_owned),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        })
    });
    (Address { host: "localhost".to_owned(), port }, served)
}

async fn answer(stream: &mut TlsStream<TcpStream>) {
    let len = stream.read_u32().await.unwrap();
    let mut frame = vec![0; len as usize];
    stream.read_exact(&mut frame).await.unwrap();
    let request = decode_request(&frame.into()).unwrap();
    assert!(matches!(request.body, Ok(Request::ApiVersions(_))));
    let range = |api_key| ApiVersion { api_key, min_version: 0, max_version: 4, ..Default::default() };
    let response: Response =
        ApiVersionsResponse { api_keys: vec![range(3), range(18)], ..Default::default() }.into();
    let header = request.header;
    let frame = encode_response(&response, header.request_api_version, header.correlation_id).unwrap();
    stream.write_all(&frame.to_bytes()).await.unwrap();
    // The question behind it shows that the answer was read.
    stream.read_u32().await.unwrap();
}

/// Why there is no answer: there never is one.
async fn ask(address: Address, tls: Tls) -> String {
    let config =
        ConnectionConfig { tls: Some(tls), setup_timeout: Duration::from_secs(5), ..Default::default() };
    let network = Network::new(vec![address], config);
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    network.call(Target::AnyBroker, request, Duration::from_secs(5)).await.unwrap_err().to_string()
}

fn ca() -> Tls {
    Tls::ca_file(format!("{FIXTURES}/ca.pem"))
}

#[tokio::test]
async fn both_versions_are_spoken_with_the_hosts_name_and_no_other_protocol() {
    for (version, expected) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let (address, served) = broker(server("server", &[version])).await;
        ask(address, ca()).await;
        let seen = Seen { version: Some(expected), server_name: Some("localhost".to_owned()), alpn: None };
        assert_eq!(served.await.unwrap(), Some(seen));
    }
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_is_refused() {
    for (name, tls, expected) in [
        ("elsewhere", ca(), "not valid for name"),
        ("expired", ca(), "Expired"),
        ("server", Tls::ca_file(format!("{FIXTURES}/client.pem")), "certificate"),
    ] {
        let (address, served) = broker(server(name, rustls::ALL_VERSIONS)).await;
        let refused = ask(address, tls).await;
        assert!(refused.contains("the TLS handshake failed") && refused.contains(expected), "{refused}");
        assert_eq!(served.await.unwrap(), None);
    }
}
