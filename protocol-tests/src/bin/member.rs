//! A member of a group as a process of its own, with a journal of what it does, to be killed, frozen and sent away at any
//! moment. `tests/faults_groups.rs` does that, and holds the journals against each other.
#![expect(clippy::print_stderr, reason = "what the process meets is of interest when the test fails")]

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Parser;
use milena::{
    AutoOffsetReset, Client, Consumer, GroupProtocol, RebalanceContext, RebalanceListener, Records,
    TopicPartition,
};
use protocol_tests::group_ledger::{Line, Nanos, Step, nanos};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// How often the cluster is looked for, once a second.
const CONNECTS: usize = 120;
/// How long the last commit and the farewell may take together.
const FAREWELL: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    topic: String,
    /// The classic protocol instead of KIP-848.
    #[arg(long)]
    classic: bool,
    /// When the group gives up a member that is not heard of, in milliseconds: the broker has the same.
    #[arg(long)]
    session: u64,
    /// Where the journal is begun.
    #[arg(long)]
    journal: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { bootstrap, group, topic, classic, session, journal } = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let journal = Journal::begin(&journal)?;
    let client = connect(&bootstrap).await?;
    let session = Duration::from_millis(session);
    let consumer = client
        .consumer(group)
        .group_protocol(if classic { GroupProtocol::Classic } else { GroupProtocol::Consumer })
        .session_timeout(session)
        .heartbeat_interval(session / 10)
        .max_poll_interval(session * 3)
        .subscribe([topic])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .rebalance_listener(Listener(journal.clone()))
        .build()?;
    let mut random = fastrand::Rng::new();
    let mut is_committed = true;
    loop {
        let called = nanos();
        let records = tokio::select! {
            biased;
            _ = terminate.recv() => break,
            polled = consumer.poll(Duration::from_secs(1)) => polled,
        };
        match records {
            Ok(Some(records)) => {
                // Processing takes its time, so that members are met in the middle of it.
                if !records.is_empty() && random.u8(0..20) == 0 {
                    sleep(Duration::from_millis(random.u64(0..50))).await;
                }
                is_committed &= records.is_empty();
                journal.handled(called, &records);
                // Some time later, and when there is nothing else to do.
                if random.u8(0..4) == 0 || records.is_empty() && !is_committed {
                    is_committed = journal.commit(&consumer).await;
                }
            }
            Ok(None) => bail!("the consumer is closed"),
            Err(error) if error.is_fatal() => return Err(error).context("the consumer has stopped"),
            Err(error) => eprintln!("{error}"),
        }
    }
    // The listener commits what is being given up.
    if let Err(error) = consumer.close(FAREWELL).await {
        eprintln!("{error}");
    }
    Ok(())
}

async fn connect(bootstrap: &str) -> anyhow::Result<Client> {
    for _ in 0..CONNECTS {
        match Client::connect(bootstrap).await {
            Ok(client) => return Ok(client),
            Err(error) => eprintln!("no cluster: {error}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
    bail!("no broker of {bootstrap} answers")
}

/// The journal, and how far each partition is processed.
#[derive(Clone)]
struct Journal {
    file: Arc<File>,
    processed: Arc<Mutex<std::collections::BTreeMap<TopicPartition, milena::Position>>>,
}

impl Journal {
    fn begin(path: &PathBuf) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create_new(true).append(true).open(path)?;
        Ok(Self { file: Arc::new(file), processed: Arc::default() })
    }

    /// One write of some lines: what is written is in the kernel's hands, whoever kills the process.
    #[expect(clippy::expect_used, reason = "a member without a journal proves nothing")]
    fn note(&self, lines: impl IntoIterator<Item = (i32, Step)>) {
        let at = nanos();
        let text: String =
            lines.into_iter().map(|(partition, step)| Line { at, partition, step }.to_string()).collect();
        (&*self.file).write_all(text.as_bytes()).expect("a journal to write");
    }

    fn handled(&self, called: Nanos, records: &Records) {
        self.note(records.partitions().iter().filter_map(|records| {
            let (first, last) = (records.iter().next()?, records.iter().last()?);
            let (first, last) = (first.offset(), last.offset());
            Some((records.partition().partition, Step::Handled { called, first, last }))
        }));
        let mut processed = self.processed.lock().unwrap_or_else(PoisonError::into_inner);
        for records in records.partitions() {
            processed.insert(records.partition().clone(), records.next_position());
        }
    }

    /// Commits what is processed of the partitions that the consumer has.
    async fn commit(&self, consumer: &Consumer) -> bool {
        let offsets = self.to_commit(&consumer.assignment());
        self.committed(&offsets, consumer.commit_offsets(offsets.clone())).await
    }

    fn to_commit(&self, assignment: &[TopicPartition]) -> Vec<(TopicPartition, milena::Position)> {
        let processed = self.processed.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |partition: &TopicPartition| Some((partition.clone(), *processed.get(partition)?));
        assignment.iter().filter_map(of).collect()
    }

    async fn committed(
        &self,
        offsets: &[(TopicPartition, milena::Position)],
        commit: impl Future<Output = Result<(), milena::CommitError>>,
    ) -> bool {
        let begun = nanos();
        let steps = |step: &dyn Fn(i64) -> Step| -> Vec<_> {
            offsets.iter().map(|(partition, position)| (partition.partition, step(position.offset))).collect()
        };
        self.note(steps(&Step::Committing));
        match commit.await {
            Ok(()) => {
                self.note(steps(&|offset| Step::Committed { begun, offset }));
                true
            }
            Err(error) => {
                eprintln!("{error}");
                false
            }
        }
    }

    fn gone(&self, partitions: &[TopicPartition]) {
        self.note(partitions.iter().map(|partition| (partition.partition, Step::Gone)));
        let mut processed = self.processed.lock().unwrap_or_else(PoisonError::into_inner);
        processed.retain(|partition, _| !partitions.contains(partition));
    }
}

struct Listener(Journal);

impl RebalanceListener for Listener {
    async fn assigned(&self, _: &RebalanceContext, partitions: &[TopicPartition]) {
        self.0.note(partitions.iter().map(|partition| (partition.partition, Step::Assigned)));
    }

    async fn revoked(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
        let offsets = self.0.to_commit(partitions);
        self.0.committed(&offsets, context.commit_offsets(offsets.clone())).await;
        self.0.gone(partitions);
    }

    async fn lost(&self, _: &RebalanceContext, partitions: &[TopicPartition]) {
        self.0.gone(partitions);
    }
}
