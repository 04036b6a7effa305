//! Ports that are no Kafka, or another kind of it.

use milena_embedded_broker::{EmbeddedBroker, core::SaslConfig};
use milena_protocol::{
    ApiKey,
    frame::{decode_request, encode_response},
    messages::{ApiVersionsResponse, DescribeClusterResponse, api_versions::ApiVersion},
};
use protocol_tests::tls;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{PATIENCE, assert_told, ca, patient, refusal};

/// A port where everybody is greeted like this, before or after the first bytes.
async fn port(greeting: &'static [u8], waits: bool) -> String {
    serve(move |mut stream| async move {
        if waits {
            let _ = stream.read(&mut [0; 1024]).await;
        }
        let _ = stream.write_all(greeting).await;
        let _ = stream.shutdown().await;
        // What the client says is taken, so that no reset overtakes the greeting.
        while stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
    })
    .await
}

async fn serve<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A controller answers ApiVersions, and knows no Metadata.
async fn controller(mut stream: TcpStream) {
    loop {
        let Ok(len) = stream.read_u32().await else { return };
        let mut frame = vec![0; len as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let header = decode_request(&frame.into()).unwrap().header;
        let range = |api: ApiKey| ApiVersion {
            api_key: api.code(),
            min_version: 0,
            max_version: *api.stable_versions().end(),
            ..Default::default()
        };
        let response = match ApiKey::from_code(header.request_api_key) {
            Some(ApiKey::ApiVersions) => ApiVersionsResponse {
                api_keys: vec![range(ApiKey::ApiVersions), range(ApiKey::DescribeCluster)],
                ..Default::default()
            }
            .into(),
            _ => DescribeClusterResponse { endpoint_type: 2, ..Default::default() }.into(),
        };
        let answer = encode_response(&response, header.request_api_version, header.correlation_id).unwrap();
        stream.write_all(&answer.to_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn an_http_server() {
    let address = port(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", true).await;
    assert_told("HTTP server", &refusal(address, None, None).await);
    let address = port(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", true).await;
    assert_told("HTTP server, with TLS", &refusal(address, Some(ca()), None).await);
}

#[tokio::test]
async fn something_else() {
    assert_told("SSH server", &refusal(port(b"SSH-2.0-OpenSSH_9.6\r\n", false).await, None, None).await);
    // Java's remote method invocation, which is what JMX speaks.
    assert_told("JMX port", &refusal(port(b"N\0\x09127.0.0.1\0\0\x87\x2c", true).await, None, None).await);
    assert_told("port that hangs up", &refusal(port(b"", true).await, None, None).await);
}

#[tokio::test]
async fn a_controller() {
    assert_told("controller", &refusal(serve(controller).await, None, None).await);
}

#[tokio::test]
async fn tls_at_a_plaintext_port_and_the_reverse() {
    let plaintext = EmbeddedBroker::start().await.unwrap();
    assert_told("TLS to a plaintext port", &refusal(plaintext.bootstrap(), Some(ca()), None).await);
    let encrypted = EmbeddedBroker::builder().tls(tls::server()).start().await.unwrap();
    assert_told("plaintext to a TLS port", &refusal(encrypted.bootstrap(), None, None).await);
}

#[tokio::test]
async fn a_port_that_never_says_a_word() {
    let silent = || {
        serve(|stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
    };
    let error = patient(silent().await).connect().await.unwrap_err();
    assert_told("nothing is answered", &error);
    let error = patient(silent().await).tls(ca()).connect().await.unwrap_err();
    assert_told("nothing is answered to TLS", &error);
    assert!(PATIENCE.as_millis() == 500, "the texts tell it");
}

#[tokio::test]
async fn a_port_where_everybody_has_to_log_in() {
    let starting =
        || EmbeddedBroker::builder().configure(|config| config.sasl = Some(SaslConfig::new([("a", "b")])));
    let broker = starting().start().await.unwrap();
    assert_told("no login", &refusal(broker.bootstrap(), None, None).await);
    let broker = starting().tls(tls::server()).start().await.unwrap();
    assert_told("no login over TLS", &refusal(broker.bootstrap(), Some(ca()), None).await);
}
