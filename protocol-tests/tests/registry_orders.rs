//! Orders in Avro through a real schema registry to the real cluster and back, with readers of both versions of their schema, and
//! with another implementation of Avro: Python's fastavro, which `cargo xtask test` installs under `target/`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{env, path::Path};

use bytes::Bytes;
use milena::{AutoOffsetReset, Client, NewTopic, Record, TopicPartition};
use milena_schema_registry::{
    AvroDecoder, AvroEncoder, CompatibilityLevel, EncoderOptions, Part, Schema, SchemaRegistry,
    SubjectNameStrategy, split_header,
};
use protocol_tests::{cluster::Cluster, external, observer::Observer, stage::within};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/avro_records.py");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    product_id: String,
    quantity: i32,
    price: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderV1 {
    order_id: String,
    customer_id: String,
    items: Vec<Item>,
    total_amount: f64,
    created_at: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderV2 {
    order_id: String,
    customer_id: String,
    items: Vec<Item>,
    total_amount: f64,
    created_at: i64,
    coupon_code: Option<String>,
}

/// The schema of orders with these fields more.
fn schema(more: &[Value]) -> Schema {
    let item = json!({"type": "record", "name": "Item", "fields": [
        {"name": "productId", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "price", "type": "double"},
    ]});
    let mut fields = vec![
        json!({"name": "orderId", "type": "string"}),
        json!({"name": "customerId", "type": "string"}),
        json!({"name": "items", "type": {"type": "array", "items": item}}),
        json!({"name": "totalAmount", "type": "double"}),
        json!({"name": "createdAt", "type": {"type": "long", "logicalType": "timestamp-millis"}}),
    ];
    fields.extend_from_slice(more);
    let order = json!({"type": "record", "name": "OrderCreated", "namespace": "shop", "fields": fields});
    Schema::avro(order.to_string())
}

fn v1() -> Schema {
    schema(&[])
}

fn v2() -> Schema {
    schema(&[json!({"name": "couponCode", "type": ["null", "string"], "default": null})])
}

fn old(number: i32) -> OrderV1 {
    let item =
        |at: i32| Item { product_id: format!("jäm-{at}"), quantity: at + 1, price: 2.25 * f64::from(at) };
    OrderV1 {
        order_id: format!("order-{number}"),
        customer_id: format!("cust-{}", number % 3),
        items: (0..number % 4).map(item).collect(),
        total_amount: f64::from(number) + 0.5,
        created_at: 1_700_000_000_000 + i64::from(number),
    }
}

/// The old one, with a coupon or without.
fn new(
    OrderV1 { order_id, customer_id, items, total_amount, created_at }: OrderV1,
    coupon: Option<&str>,
) -> OrderV2 {
    let coupon_code = coupon.map(str::to_owned);
    OrderV2 { order_id, customer_id, items, total_amount, created_at, coupon_code }
}

/// A topic of its own, whose subject takes what readers of both versions understand.
struct Orders {
    client: Client,
    registry: SchemaRegistry,
    url: String,
    topic: String,
    old: AvroEncoder,
    new: AvroEncoder,
}

impl Orders {
    async fn open(name: &str) -> Self {
        let bootstrap = Cluster::from_env().unwrap().bootstrap;
        let url = env::var("MILENA_REGISTRY")
            .unwrap_or_else(|_| panic!("MILENA_REGISTRY must be a registry's URL"));
        let client = within(Client::connect(bootstrap.as_str())).await.unwrap();
        let topic = format!("registry-{name}-{}", std::process::id());
        within(client.admin().create_topic(NewTopic::new(topic.as_str()).partitions(1))).await.unwrap();
        within(Observer::new(&bootstrap).await_whole(std::slice::from_ref(&topic))).await;
        let registry = SchemaRegistry::builder(url.as_str()).build().unwrap();
        let encoder = |schema| AvroEncoder::new(registry.clone(), schema, SubjectNameStrategy::TopicName);
        let (old, new) = (encoder(v1()).await.unwrap(), encoder(v2()).await.unwrap());
        let subject = format!("{topic}-value");
        registry.register(&subject, &v1(), false).await.unwrap();
        registry.set_subject_compatibility_level(&subject, CompatibilityLevel::Full).await.unwrap();
        Self { client, registry, url, topic, old, new }
    }

    async fn send(&self, values: impl IntoIterator<Item = Bytes>) {
        let producer = self.client.producer().build().unwrap();
        for value in values {
            within(producer.send(Record::new(self.topic.as_str()).value(value))).await.unwrap();
        }
    }

    /// Four old ones and four new ones; what a reader of each version makes of them.
    async fn send_both(&self) -> (Vec<OrderV1>, Vec<OrderV2>) {
        let (mut olds, mut news) = (Vec::new(), Vec::new());
        for number in 0..8 {
            let coupon = match number {
                4 => Some("SPRING"),
                5 => Some("Grüße"),
                _ => None,
            };
            let order = old(number);
            let encoded = match number {
                0..4 => within(self.old.encode(&self.topic, Part::Value, &order)).await,
                _ => within(self.new.encode(&self.topic, Part::Value, &new(order.clone(), coupon))).await,
            };
            self.send([encoded.unwrap()]).await;
            olds.push(order.clone());
            news.push(new(order, coupon));
        }
        (olds, news)
    }

    /// The values of so many records.
    async fn read(&self, count: usize) -> Vec<Bytes> {
        let consumer =
            self.client.consumer_without_group().assign([TopicPartition::new(self.topic.as_str(), 0)]);
        let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
        let mut read = Vec::new();
        while read.len() < count {
            let records = within(consumer.poll(std::time::Duration::from_secs(10))).await.unwrap().unwrap();
            read.extend(records.iter().map(|record| record.to_record().value().unwrap().clone()));
        }
        read
    }

    async fn decoded<T: for<'a> Deserialize<'a> + 'static>(
        &self,
        records: &[Bytes],
        schema: Schema,
    ) -> Vec<T> {
        let decoder = AvroDecoder::<T>::new(self.registry.clone(), Some(schema)).await.unwrap();
        let mut decoded = Vec::new();
        for record in records {
            decoded.push(within(decoder.decode(record)).await.unwrap());
        }
        decoded
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the schema registry"]
async fn orders_of_both_versions_are_read_by_readers_of_both() {
    let orders = Orders::open("orders").await;
    let (olds, news) = orders.send_both().await;
    let records = orders.read(8).await;
    let ids: Vec<_> = records.iter().map(|record| split_header(record).unwrap().0).collect();
    assert!(ids[0] != ids[4] && ids[..4] == [ids[0]; 4] && ids[4..] == [ids[4]; 4], "{ids:?}");
    assert_eq!(orders.decoded::<OrderV1>(&records, v1()).await, olds);
    assert_eq!(orders.decoded::<OrderV2>(&records, v2()).await, news);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the schema registry"]
async fn a_schema_that_breaks_readers_is_refused_with_the_reason_and_nothing_is_sent() {
    let orders = Orders::open("refused").await;
    let breaking = schema(&[json!({"name": "currency", "type": "string"})]);
    let strategy = SubjectNameStrategy::TopicName;
    let encoder = AvroEncoder::new(orders.registry.clone(), breaking, strategy).await.unwrap();
    let encoder = encoder.options(EncoderOptions::default().auto_register(true));
    // The registry is asked before anything is encoded.
    let refused = within(encoder.encode(&orders.topic, Part::Value, &old(1))).await.unwrap_err();
    assert!(refused.is_incompatible() && refused.to_string().contains("currency"), "{refused}");
    assert_eq!(orders.registry.versions(&format!("{}-value", orders.topic)).await.unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the schema registry and fastavro"]
async fn fastavro_reads_what_we_write_and_we_read_what_it_writes() {
    let python = env::var("MILENA_FASTAVRO")
        .unwrap_or_else(|_| panic!("MILENA_FASTAVRO must be a Python with fastavro"));
    assert!(Path::new(SCRIPT).is_file());
    let orders = Orders::open("fastavro").await;
    let script = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.args(["-B", SCRIPT, &orders.url]).args(arguments);
        command
    };
    let hex = |record: &Bytes| record.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";

    let (olds, news) = orders.send_both().await;
    let records = orders.read(8).await;
    let printed = external::run(&mut script(&["read"]), &records.iter().map(hex).collect::<String>()).await;
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // It reads by the writer's schema: the old ones have no coupon at all.
    let values = olds[..4].iter().map(|order| serde_json::to_value(order).unwrap());
    let values = values.chain(news[4..].iter().map(|order| serde_json::to_value(order).unwrap()));
    let ids = records.iter().map(|record| split_header(record).unwrap().0.0);
    let expected: Vec<_> = ids.zip(values).map(|(id, value)| json!({ "id": id, "value": value })).collect();
    assert_eq!(printed, expected);

    let mut written = Vec::new();
    for (schema, values) in [(v1(), &expected[..4]), (v2(), &expected[4..])] {
        let subject = format!("{}-value", orders.topic);
        let id = orders.registry.id(&subject, &schema, false).await.unwrap().0.to_string();
        let lines: String = values.iter().map(|line| line["value"].to_string() + "\n").collect();
        let printed = external::run(&mut script(&["write", &id]), &lines).await;
        written.extend(printed.lines().map(unhex));
    }
    assert_eq!(written, records, "byte for byte what we write");
    orders.send(written).await;
    let all = orders.read(16).await;
    assert_eq!(orders.decoded::<OrderV2>(&all[8..], v2()).await, news);
    assert_eq!(orders.decoded::<OrderV1>(&all[8..], v1()).await, olds);
}

fn unhex(line: &str) -> Bytes {
    let digits = line.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}
