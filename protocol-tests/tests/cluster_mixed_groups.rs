//! Members of ours and Java's in one group: whoever leads it understands the others, by every assignor of the classic protocol
//! and by KIP-848, and partitions stay where they may.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    time::Duration,
};

use milena::{Assignor, AutoOffsetReset, Client, Consumer, GroupProtocol, NewTopic, Record};
use protocol_tests::{cluster::Cluster, stage::within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

const PARTITIONS: i32 = 6;
const HEARTBEAT: Duration = Duration::from_millis(300);
const MOMENT: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(60);

/// How a group shares its partitions out.
struct Way {
    name: &'static str,
    protocol: GroupProtocol,
    assignors: Vec<Assignor>,
    /// What Java's consumer is told.
    java: &'static str,
    /// No partition moves that need not.
    is_sticky: bool,
}

fn classic(name: &'static str, assignor: Assignor, java: &'static str, is_sticky: bool) -> Way {
    Way { name, protocol: GroupProtocol::Classic, assignors: vec![assignor], java, is_sticky }
}

fn ways() -> [Way; 5] {
    [
        classic("range", Assignor::Range, "RangeAssignor", false),
        classic("roundrobin", Assignor::RoundRobin, "RoundRobinAssignor", false),
        classic("sticky", Assignor::Sticky, "StickyAssignor", true),
        classic("cooperative-sticky", Assignor::CooperativeSticky, "CooperativeStickyAssignor", true),
        Way {
            name: "uniform",
            protocol: GroupProtocol::Consumer,
            assignors: Vec::new(),
            java: "consumer",
            is_sticky: true,
        },
    ]
}

struct Group<'a> {
    cluster: &'a Cluster,
    client: Client,
    way: Way,
    name: String,
}

/// Who has what: partitions by the client id of the member.
type Shares = BTreeMap<String, BTreeSet<i32>>;

impl Group<'_> {
    fn ours(&self, client: &Client) -> Consumer {
        let builder = client.consumer(self.name.as_str()).subscribe([self.name.as_str()]);
        let builder = builder.group_protocol(self.way.protocol).heartbeat_interval(HEARTBEAT);
        let builder = match self.way.assignors.as_slice() {
            [] => builder,
            assignors => builder.assignors(assignors.iter().cloned()),
        };
        builder.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap()
    }

    fn java(&self) -> Child {
        let mut properties = vec!["client.id=java".to_owned()];
        if self.way.protocol == GroupProtocol::Consumer {
            properties.push("group.protocol=consumer".to_owned());
        } else {
            let class = format!("org.apache.kafka.clients.consumer.{}", self.way.java);
            properties.push(format!("partition.assignment.strategy={class}"));
            properties.push("heartbeat.interval.ms=300".to_owned());
        }
        Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
            .arg(self.cluster.kafka_libs.join("*"))
            .arg("org.apache.kafka.tools.consumer.ConsoleConsumer")
            .args(["--bootstrap-server", &self.cluster.bootstrap, "--topic", &self.name])
            .args(["--group", &self.name])
            .args(properties.iter().flat_map(|property| ["--command-property", property]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn shares(&self) -> Shares {
        let Ok(group) = self.client.admin().describe_group(self.name.as_str()).await else {
            return Shares::new();
        };
        assert!(group.assignor.is_empty() || *group.assignor == *self.way.name, "{}", group.assignor);
        let share = |member: milena::MemberDescription| {
            let partitions = member.assignment.iter().map(|partition| partition.partition).collect();
            (member.client_id.to_string(), partitions)
        };
        group.members.into_iter().map(share).collect()
    }

    /// Waits until these members share all partitions alike, while ours are polled.
    async fn settled(&self, members: &[&str], ours: &[&Consumer]) -> Shares {
        let deadline = Instant::now() + SOON;
        let each = PARTITIONS as usize / members.len();
        loop {
            for consumer in ours {
                consumer.poll(MOMENT).await.unwrap();
            }
            let shares = self.shares().await;
            let all: BTreeSet<i32> = shares.values().flatten().copied().collect();
            let is_theirs = shares.keys().map(String::as_str).eq(members.iter().copied());
            let owned = ours.iter().map(|consumer| consumer.assignment().len());
            if is_theirs
                && shares.values().all(|share| share.len() == each)
                && all.len() == PARTITIONS as usize
                && owned.clone().all(|count| count == each)
            {
                return shares;
            }
            let owned: Vec<_> = owned.collect();
            assert!(Instant::now() < deadline, "{}: {shares:?}, ours have {owned:?}", self.way.name);
            sleep(MOMENT).await;
        }
    }

    /// Of the members that were there before, each has lost no more than it had to.
    fn assert_kept(&self, before: &Shares, after: &Shares) {
        for (member, now) in after {
            let Some(then) = before.get(member) else { continue };
            let (few, many) = if then.len() < now.len() { (then, now) } else { (now, then) };
            assert!(few.is_subset(many), "{}, {member}: {before:?} became {after:?}", self.way.name);
        }
    }

    async fn run(self) {
        let (first, second) = (self.client_of("ours-1").await, self.client_of("ours-2").await);
        // We lead, Java comes.
        let leader = self.ours(&first);
        let alone = self.settled(&["ours-1"], &[&leader]).await;
        let java = self.java();
        let both = self.settled(&["java", "ours-1"], &[&leader]).await;
        self.assert_kept_if_sticky(&alone, &both);
        // Java leads, we come.
        leader.close(SOON).await.unwrap();
        let alone = self.settled(&["java"], &[]).await;
        let one = self.ours(&first);
        let both = self.settled(&["java", "ours-1"], &[&one]).await;
        self.assert_kept_if_sticky(&alone, &both);
        let two = self.ours(&second);
        let three = self.settled(&["java", "ours-1", "ours-2"], &[&one, &two]).await;
        self.assert_kept_if_sticky(&both, &three);
        // We lead again.
        stop(java).await;
        let last = self.settled(&["ours-1", "ours-2"], &[&one, &two]).await;
        self.assert_kept_if_sticky(&three, &last);
        self.assert_all_is_read(&[&one, &two]).await;
        for consumer in [one, two] {
            consumer.close(SOON).await.unwrap();
        }
    }

    fn assert_kept_if_sticky(&self, before: &Shares, after: &Shares) {
        if self.way.is_sticky {
            self.assert_kept(before, after);
        }
    }

    /// What is assigned is read.
    async fn assert_all_is_read(&self, ours: &[&Consumer]) {
        let producer = self.client.producer().build().unwrap();
        for partition in 0..PARTITIONS {
            let record = Record::new(self.name.as_str()).partition(partition).value("here");
            producer.send(record).await.unwrap();
        }
        let mut seen = BTreeSet::new();
        let deadline = Instant::now() + SOON;
        while seen.len() < PARTITIONS as usize {
            assert!(Instant::now() < deadline, "{}: only {seen:?} is read", self.way.name);
            for consumer in ours {
                let records = consumer.poll(MOMENT).await.unwrap().unwrap();
                seen.extend(records.iter().map(|record| record.partition()));
            }
        }
    }

    async fn client_of(&self, id: &'static str) -> Client {
        let client = Client::builder(self.cluster.bootstrap.as_str()).client_id(id);
        client.connect().await.unwrap()
    }
}

/// Java's consumer leaves its group.
async fn stop(mut java: Child) {
    let pid = Pid::from_raw(java.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    within(java.wait()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn java_and_we_share_groups() {
    let cluster = Cluster::from_env().unwrap();
    for way in ways() {
        let begin = Instant::now();
        let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
        let name = format!("mixed-{}-{}", way.name, std::process::id());
        client.admin().create_topic(NewTopic::new(name.as_str()).partitions(PARTITIONS)).await.unwrap();
        while client.admin().partition_count(name.as_str()).await.is_err() {
            sleep(MOMENT).await;
        }
        let shared = way.name;
        Group { cluster: &cluster, client, way, name }.run().await;
        println!("{shared}: {} ms", begin.elapsed().as_millis());
    }
}
