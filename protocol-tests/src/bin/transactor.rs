//! A process that commits and aborts transactions and keeps a journal of what it believes of them, to be killed at any
//! moment and started anew. `tests/faults_transactions.rs` does that, and compares journal and log.
#![expect(clippy::print_stderr, reason = "what the process meets is of interest when the test fails")]

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Parser;
use milena::{Certainty, Client, Record, Remedy, TransactionError, TransactionalProducer};
use protocol_tests::transaction_ledger::{Journal, Plan, Step};
use tokio::time::sleep;

/// How often a commit is asked for again before the process takes a new epoch.
const COMMITS_AGAIN: usize = 8;
/// How often the cluster is looked for, once a second.
const CONNECTS: usize = 120;
/// How many producers in a row may come to their end without a transaction between them.
const DEAD_PRODUCERS: usize = 60;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    bootstrap: String,
    /// The transactional id.
    #[arg(long)]
    id: String,
    /// Where the journal is; lines are added.
    #[arg(long)]
    journal: PathBuf,
    /// The topics of every transaction.
    #[arg(long, value_delimiter = ',')]
    topics: Vec<String>,
    /// Most records of a transaction.
    #[arg(long)]
    size: usize,
    /// The number of the first transaction that is not begun.
    #[arg(long)]
    until: u64,
}

struct Transactor {
    plan: Plan,
    journal: File,
    random: fastrand::Rng,
}

/// Whether the producer can be used for the next transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Producer {
    Lives,
    IsDead,
}

impl Producer {
    const fn after(error: &TransactionError) -> Self {
        match error.remedy() {
            Remedy::NewProducer | Remedy::CommitAgain => Self::IsDead,
            _ => Self::Lives,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { bootstrap, id, journal, topics, size, until } = Arguments::parse();
    let known = fs::read_to_string(&journal).unwrap_or_default();
    let mut next = Journal::parse(&known).map_err(anyhow::Error::msg)?.next();
    let mut file = OpenOptions::new().create(true).append(true).open(&journal)?;
    if !known.is_empty() && !known.ends_with('\n') {
        // A line that the end of the process before has cut off stays one that says nothing.
        file.set_len(known.rfind('\n').map_or(0, |at| at as u64 + 1))?;
    }
    file.flush()?;
    let client = connect(&bootstrap).await?;
    let mut transactor =
        Transactor { plan: Plan { topics, size }, journal: file, random: fastrand::Rng::new() };
    let mut dead = 0;
    while next < until {
        let mut producer = match build(&client, &id).await {
            Ok(producer) => producer,
            Err(error) if dead < DEAD_PRODUCERS => {
                eprintln!("no producer: {error}");
                dead += 1;
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return Err(error).context("no producer"),
        };
        let mut state = Producer::Lives;
        while next < until && state == Producer::Lives {
            state = transactor.transaction(&mut producer, next).await?;
            next += 1;
            dead = 0;
        }
        let _ = producer.close(Duration::from_secs(60)).await;
    }
    client.shutdown();
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

async fn build(client: &Client, id: &str) -> Result<TransactionalProducer, milena::InitializeError> {
    // Less than the default, so that a broker that is paused or slow to take over shows as an unknown outcome.
    client
        .transactional_producer(id.to_owned())
        .end_timeout(Duration::from_secs(3))
        .configure(|builder| builder.request_timeout(Duration::from_secs(2)).linger(Duration::from_millis(1)))
        .build()
        .await
}

impl Transactor {
    /// One transaction, from its beginning to an end, as far as that can be learnt.
    async fn transaction(
        &mut self,
        producer: &mut TransactionalProducer,
        number: u64,
    ) -> anyhow::Result<Producer> {
        self.note(number, Step::Begun)?;
        let transaction = match producer.begin() {
            Ok(transaction) => transaction,
            Err(error) => {
                eprintln!("{number} does not begin: {error}");
                self.note(number, Step::Refused)?;
                return Ok(Producer::after(&error));
            }
        };
        let places = self.plan.places(number);
        for (place, partition) in places.iter().enumerate() {
            let value = Plan::value(number, place, places.len());
            let record = Record::new(partition.topic.clone()).partition(partition.partition).value(value);
            if let Err(error) = transaction.enqueue(record).await {
                eprintln!("{number} is not accepted: {error}");
                drop(transaction);
                return self.note(number, Step::Refused).map(|()| Producer::Lives);
            }
            if self.random.u8(0..100) == 0 {
                // So that what is sent before and what is sent after leave apart.
                sleep(Duration::from_millis(self.random.u64(1..20))).await;
            }
        }
        if Plan::is_aborted(number) {
            self.note(number, Step::Aborting)?;
            return match transaction.abort().await {
                Ok(()) => self.note(number, Step::Aborted).map(|()| Producer::Lives),
                Err(error) => self.over(number, &error),
            };
        }
        self.note(number, Step::Committing)?;
        match transaction.commit().await {
            Ok(()) => self.note(number, Step::Committed).map(|()| Producer::Lives),
            Err(error) if error.remedy() == Remedy::CommitAgain => self.find_out(producer, number).await,
            Err(error) => self.over(number, &error),
        }
    }

    /// The outcome of the commit is not known: asks for it again, or, every second time, gives up to learn it.
    async fn find_out(
        &mut self,
        producer: &mut TransactionalProducer,
        number: u64,
    ) -> anyhow::Result<Producer> {
        self.note(number, Step::Unknown)?;
        if self.random.bool() {
            for _ in 0..COMMITS_AGAIN {
                match producer.commit_again().await {
                    Ok(()) => return self.note(number, Step::Committed).map(|()| Producer::Lives),
                    Err(error) if error.remedy() == Remedy::CommitAgain => {}
                    Err(error) => return self.over(number, &error),
                }
            }
        }
        match producer.reinitialize().await {
            Ok(()) => Ok(Producer::Lives),
            Err(error) => {
                eprintln!("no new epoch after {number}: {error}");
                Ok(Producer::IsDead)
            }
        }
    }

    /// The transaction has ended otherwise than it was to.
    fn over(&mut self, number: u64, error: &TransactionError) -> anyhow::Result<Producer> {
        eprintln!("{number} is not committed: {error}");
        let is_known = error.certainty() == Certainty::NotWritten;
        self.note(number, if is_known { Step::Refused } else { Step::Unknown })?;
        Ok(Producer::after(error))
    }

    /// One write of one line: what is written is in the kernel's hands, whoever kills the process.
    fn note(&mut self, number: u64, step: Step) -> anyhow::Result<()> {
        self.journal.write_all(Journal::line(number, step).as_bytes()).context("writing the journal")
    }
}
