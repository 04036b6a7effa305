//! Addresses that lead nowhere: those that the client was given, and those that the cluster tells.

use milena::Record;
use milena_embedded_broker::{EmbeddedBroker, core::BrokerId};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{PATIENCE, assert_told, broker, client, patient, refusal, send_refusal};

async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn of_the_bootstrap() {
    assert_told("address without a port", &refusal("localhost", None, None).await);
    assert_told(
        "bootstrap host that does not resolve",
        &refusal("no-such-host.invalid:9092", None, None).await,
    );
    let closed = format!("127.0.0.1:{}", closed_port().await);
    assert_told("connection refused", &refusal(closed.as_str(), None, None).await);
    let several = format!("no-such-host.invalid:9092,{closed}");
    assert_told("several addresses that lead nowhere", &refusal(several, None, None).await);
}

/// A listener whose queue is full is as silent as a firewall.
#[tokio::test]
async fn a_silent_firewall() {
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(PATIENCE / 2, TcpStream::connect(address)).await {
        queue.push(stream.unwrap());
    }
    assert_told("silent firewall", &patient(address.to_string()).connect().await.unwrap_err());
}

async fn advertised(host: &str, port: u16) -> EmbeddedBroker {
    let broker = broker().start().await.unwrap();
    broker.with_cluster(|cluster, _| cluster.set_address(BrokerId(1), host, port));
    broker
}

#[tokio::test]
async fn of_the_cluster() {
    let record = || Record::new("orders").value("an order");
    let broker = advertised("no-such-host.invalid", 9092).await;
    let told = send_refusal(&client(&broker).await, record(), |producer| producer.idempotence(false)).await;
    assert_told("advertised host that does not resolve", &told);
    let broker = advertised("127.0.0.1", closed_port().await).await;
    let told = send_refusal(&client(&broker).await, record(), |producer| producer.idempotence(false)).await;
    assert_told("advertised port that is closed", &told);
}
