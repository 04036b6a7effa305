//! One of the two that are asked: a client that keeps what it is answered, in words that do not depend on whose answer it
//! was.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use milena_protocol::{
    ErrorCode, RequestMessage, ResponseMessage,
    frame::{decode_response, encode_request},
    messages::{
        CreateTopicsRequest, DescribeTransactionsRequest, FindCoordinatorRequest, MetadataRequest,
        create_topics::CreatableTopic, describe_transactions::TransactionState,
        metadata::MetadataRequestTopic,
    },
    records::{BatchBuilder, Compression, ProducerStamp},
};

/// Longest that anything may take: a coordinator whose log does not answer in time tries again after half a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// A producer id and its epoch.
pub(crate) type Producer = (i64, i16);

/// Nobody's.
pub(crate) const NONE: Producer = (-1, -1);

/// A producer that no cluster knows.
pub(crate) const STRANGER: Producer = (900_001, 0);

pub(crate) struct Side {
    bootstrap: String,
    run: String,
    pub(crate) topic: String,
    pub(crate) id: String,
    pub(crate) group: String,
    /// Ids as they came up, since no two clusters give the same.
    ids: Vec<i64>,
    sockets: BTreeMap<String, TcpStream>,
    pub(crate) seen: Vec<String>,
}

impl Side {
    pub(crate) fn new(bootstrap: &str, run: &str) -> Self {
        let bootstrap = bootstrap.split(',').next().unwrap().to_owned();
        let empty = String::new;
        Self {
            bootstrap,
            run: run.to_owned(),
            topic: empty(),
            id: empty(),
            group: empty(),
            ids: Vec::new(),
            sockets: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    /// A fresh topic of two partitions, transactional id and group.
    pub(crate) fn begin(&mut self, script: &str) {
        self.topic = format!("{}-{script}", self.run);
        self.id = format!("id-{}", self.topic);
        self.group = format!("group-{}", self.topic);
        self.ids.clear();
        self.seen.push(format!("== {script}"));
        let topic = CreatableTopic {
            name: self.topic.as_str().into(),
            num_partitions: 2,
            replication_factor: 3,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        assert_eq!(self.ask_at("", 7, request).topics[0].error_code, 0);
    }

    pub(crate) fn note(&mut self, what: &str, code: i16, detail: impl std::fmt::Display) {
        self.seen.push(format!("{what}: {:?} {detail}", ErrorCode(code)));
    }

    /// A producer with its id by the order in which ids came up.
    pub(crate) fn name(&mut self, (id, epoch): Producer) -> String {
        if id < 0 {
            return format!("{id}/{epoch}");
        }
        let known = self.ids.iter().position(|known| *known == id);
        let place = known.unwrap_or_else(|| {
            self.ids.push(id);
            self.ids.len() - 1
        });
        format!("p{place}/{epoch}")
    }

    /// Asks the broker at the address, or that of the bootstrap.
    pub(crate) fn ask_at<R: RequestMessage>(
        &mut self,
        address: &str,
        version: i16,
        request: R,
    ) -> R::Response {
        let address = if address.is_empty() { self.bootstrap.clone() } else { address.to_owned() };
        let socket = self.sockets.entry(address).or_insert_with_key(|address| {
            let socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.set_nodelay(true).unwrap();
            socket
        });
        let frame = encode_request(&request.into(), version, 1, Some("agrees".into())).unwrap();
        socket.write_all(&frame.to_bytes()).unwrap();
        let mut prefix = [0; 4];
        socket.read_exact(&mut prefix).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        socket.read_exact(&mut frame).unwrap();
        let response = decode_response(R::API_KEY, version, &frame.into()).unwrap();
        R::Response::from_response(response).unwrap()
    }

    /// Asks until it is answered with something that does not depend on how far the brokers are: with what `code` finds.
    pub(crate) fn ask_until<R: RequestMessage + Clone>(
        &mut self,
        to: To,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> R::Response {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let address = self.address(to);
            let response = self.ask_at(&address, version, request.clone());
            let error = ErrorCode(code(&response));
            let passing = [
                ErrorCode::CONCURRENT_TRANSACTIONS,
                ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
                ErrorCode::COORDINATOR_NOT_AVAILABLE,
                ErrorCode::NOT_COORDINATOR,
                ErrorCode::NOT_ENOUGH_REPLICAS,
                ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ];
            if !passing.contains(&error) {
                return response;
            }
            assert!(Instant::now() < deadline, "{}: {error:?} for ever", R::API_KEY);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn address(&mut self, to: To) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = match to {
                To::Leader(partition) => self.leader(partition),
                To::Transactions => self.coordinator(self.id.clone(), 1),
                To::Group => self.coordinator(self.group.clone(), 0),
            };
            if let Some(address) = found {
                return address;
            }
            assert!(Instant::now() < deadline, "nobody to ask");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn leader(&mut self, partition: i32) -> Option<String> {
        let topic = MetadataRequestTopic { name: Some(self.topic.as_str().into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let metadata = self.ask_at("", 12, request);
        let partitions = &metadata.topics[0].partitions;
        let leader = partitions.iter().find(|found| found.partition_index == partition)?.leader_id;
        let broker = metadata.brokers.iter().find(|broker| broker.node_id == leader)?;
        Some(format!("{}:{}", broker.host, broker.port))
    }

    fn coordinator(&mut self, key: String, key_type: i8) -> Option<String> {
        let request = FindCoordinatorRequest { key: key.into(), key_type, ..Default::default() };
        let found = self.ask_at("", 3, request);
        (found.error_code == 0).then(|| format!("{}:{}", found.host, found.port))
    }

    /// What the coordinator says of the transaction.
    pub(crate) fn state(&mut self) -> TransactionState {
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![self.id.as_str().into()],
            ..Default::default()
        };
        let mut response = self
            .ask_until(To::Transactions, 0, &request, |response| response.transaction_states[0].error_code);
        response.transaction_states.remove(0)
    }

    /// Waits until the transaction is in this state.
    pub(crate) fn wait_for(&mut self, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        while &*self.state().transaction_state != state {
            assert!(Instant::now() < deadline, "never {state}, but {:?}", self.state());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every marker is written.
    pub(crate) fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.state().transaction_state.starts_with("Prepare") {
            assert!(Instant::now() < deadline, "markers are never written");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whom to ask.
#[derive(Clone, Copy)]
pub(crate) enum To {
    Leader(i32),
    Transactions,
    Group,
}

/// The timestamp of the first record: that of the run, because Kafka begins a new segment, and a reply, where timestamps
/// jump.
pub(crate) fn start_ms() -> i64 {
    static START: OnceLock<i64> = OnceLock::new();
    *START.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_millis().try_into().unwrap()
    })
}

/// A batch of so many records, a millisecond apart, as are their sequence numbers.
pub(crate) fn batch(producer: Producer, base_sequence: i32, count: usize, transactional: bool) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    for timestamp in (start_ms() + i64::from(base_sequence.max(0) % 1_000)..).take(count) {
        builder.append(timestamp, Some(b"k"), Some(b"v"), []).unwrap();
    }
    let (producer_id, producer_epoch) = producer;
    let stamp = ProducerStamp { producer_id, producer_epoch, base_sequence, transactional };
    builder.compress(Compression::None).unwrap().stamp(stamp)
}
