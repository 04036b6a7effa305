//! Page views in batches of at most 500 or 2 s. The page never waits: its view is enqueued if there is room, and kept for the
//! batch if not. What became of every view is known when its batch is settled; those that were not written stay, in their
//! order, for the next one.
//!
//! ```sh
//! cargo run -p milena --example batching                                # a broker in this process
//! cargo run -p milena --example batching -- --bootstrap localhost:9092  # a cluster
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use milena::{
    Certainty, Client, Compression, Delivery, EnqueueError, NewTopic, NotEnqueued, Producer, Record,
    SendError,
};
use milena_embedded_broker::EmbeddedBroker;
use tokio::{sync::mpsc, time::Instant};

const VIEWS: u32 = 10_000;
const USERS: u32 = 100;
/// The last views come slowly, so that time closes a batch, too.
const SLOW: u32 = 100;
const PAUSE: Duration = Duration::from_millis(30);

const BATCH: usize = 500;
const WAIT: Duration = Duration::from_secs(2);
/// Batches in a row of which nothing was written before the views count as lost.
const TRIES: u32 = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let embedded;
    let bootstrap = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--bootstrap", bootstrap] => bootstrap.to_owned(),
        [] => {
            embedded = EmbeddedBroker::builder().brokers(3).start().await?;
            embedded.bootstrap()
        }
        _ => return Err("usage: batching [--bootstrap HOST:PORT]".into()),
    };
    let client = Client::connect(bootstrap).await?;
    let topic = format!("page-views-{}", std::process::id());
    client.admin().create_topic(NewTopic::new(topic.as_str()).partitions(6)).await?;
    let producer = client
        .producer()
        .compression(Compression::Snappy)
        .batch_size(16 * 1024)
        .linger(Duration::from_millis(10))
        .build()?;

    let mut visits = visitors(&topic);
    let mut views = PageViews::new(producer.clone());
    let begun = Instant::now();
    let mut full_for = Duration::ZERO;
    loop {
        let due = views.due();
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(due), if views.is_open() => {
                views.settle().await?;
                println!("a batch after {WAIT:?}: {}", views.report);
            }
            visit = visits.recv() => {
                let Some(view) = visit else { break };
                views.visit(view)?;
                if views.is_full() {
                    views.settle().await?;
                    full_for = begun.elapsed();
                }
            }
        }
    }
    // What failed stays; an error ends this when nothing comes through any more.
    while views.is_open() {
        views.settle().await?;
    }
    producer.flush().await?;
    producer.close(Duration::from_secs(10)).await?;

    let Report { batches, full, acknowledged, kept } = views.report;
    let rate = (full * BATCH) as f64 / full_for.as_secs_f64();
    println!("{batches} batches ({full} full), {acknowledged} records, {kept} of which had to wait");
    println!("{rate:.0} records/s while the batches were full");
    if acknowledged == VIEWS as usize { Ok(()) } else { Err("the count is off".into()) }
}

/// People who look at pages: most of them at once, the last ones now and then.
fn visitors(topic: &str) -> mpsc::Receiver<Record> {
    let (sender, receiver) = mpsc::channel(BATCH);
    let topic = topic.to_owned();
    tokio::spawn(async move {
        for number in 0..VIEWS {
            if number >= VIEWS - SLOW {
                tokio::time::sleep(PAUSE).await;
            }
            let user = format!("user-{}", number % USERS);
            let value = format!(r#"{{"userId":"{user}","page":"/products/{}"}}"#, number % 37);
            // Nobody looks any more when the receiver is gone.
            if sender.send(Record::new(topic.as_str()).key(user).value(value)).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Views of the batch that is being filled.
struct PageViews {
    producer: Producer,
    /// Given to the producer. The record is kept until it is known to be written; its bytes are shared, not copied.
    sent: Vec<(Record, Delivery)>,
    /// Not given to the producer yet, in their order. Never more than a batch.
    kept: Vec<Record>,
    began: Instant,
    failed_in_a_row: u32,
    report: Report,
}

#[derive(Default)]
struct Report {
    batches: usize,
    full: usize,
    acknowledged: usize,
    /// Views that the producer did not take at once.
    kept: usize,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records in {} batches so far", self.acknowledged, self.batches)
    }
}

impl PageViews {
    fn new(producer: Producer) -> Self {
        let began = Instant::now();
        let report = Report::default();
        Self { producer, sent: Vec::new(), kept: Vec::new(), began, failed_in_a_row: 0, report }
    }

    fn len(&self) -> usize {
        self.sent.len() + self.kept.len()
    }

    fn is_open(&self) -> bool {
        self.len() > 0
    }

    fn is_full(&self) -> bool {
        self.len() >= BATCH
    }

    fn due(&self) -> Instant {
        self.began + WAIT
    }

    /// Takes a view without waiting. An error is one that no later try would mend.
    fn visit(&mut self, view: Record) -> Result<(), EnqueueError> {
        if !self.is_open() {
            self.began = Instant::now();
        }
        // Behind those that wait, or a user's views would change places.
        if !self.kept.is_empty() {
            self.keep(view);
            return Ok(());
        }
        match self.producer.try_enqueue(view.clone()) {
            Ok(delivery) => self.sent.push((view, delivery)),
            Err(NotEnqueued { record, reason }) => match reason {
                // No room, or the topic is not known yet: it passes, and the view is ours again.
                EnqueueError::BufferFull(_) | EnqueueError::UnknownTopic(_) => self.keep(record),
                reason => return Err(reason),
            },
        }
        Ok(())
    }

    fn keep(&mut self, view: Record) {
        self.report.kept += 1;
        self.kept.push(view);
    }

    /// Sends what has been kept, here with waiting, and waits for what became of every view of the batch.
    async fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        if !self.is_open() {
            return Ok(());
        }
        self.report.batches += 1;
        self.report.full += usize::from(self.is_full());
        for view in std::mem::take(&mut self.kept) {
            let delivery = self.producer.enqueue(&view).await?;
            self.sent.push((view, delivery));
        }
        // Nothing more belongs to the batch: it need not linger.
        self.producer.flush().await?;
        let before = self.report.acknowledged;
        let mut failure = None;
        for (view, delivery) in std::mem::take(&mut self.sent) {
            match delivery.await {
                Ok(_) => self.report.acknowledged += 1,
                Err(error) if error.certainty == Certainty::NotWritten => {
                    self.kept.push(view);
                    failure = Some(error);
                }
                // It may be in the log: sending it again might make two of it. Somebody has to decide that.
                Err(error) => return Err(SendError::from(error).into()),
            }
        }
        self.began = Instant::now();
        self.failed_in_a_row = if self.report.acknowledged > before { 0 } else { self.failed_in_a_row + 1 };
        match failure {
            Some(error) if self.failed_in_a_row >= TRIES => Err(error.into()),
            _ => Ok(()),
        }
    }
}
