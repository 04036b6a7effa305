//! Clients that come and go leave nothing behind: no socket, no task, no memory. One test, so that nothing else opens
//! files or allocates meanwhile.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]
#![allow(clippy::print_stdout, reason = "how long it took is of interest")]

use std::{
    env, fs,
    sync::Arc,
    time::{Duration, Instant},
};

use milena::{Client, ClientBuilder, Sasl, Tls};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{ClusterConfig, SaslConfig},
};
use peak_alloc::PeakAlloc;
use protocol_tests::tls;
use rustls::{ServerConfig, server::NoServerSessionStorage};
use tokio::{runtime::Handle, time::sleep};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// MILENA_CYCLES says otherwise.
const CYCLES: usize = 10_000;
/// A handshake costs four times as much as all the rest.
const TLS_CYCLES: usize = 2_000;
/// A password is salted thousands of times on both sides.
const SCRAM_CYCLES: usize = 200;
/// Until tables, pools and buffers have the size that they keep.
const WARM_UP: usize = 200;
/// What the heap may differ by.
const TOLERANCE: usize = 8 << 10;
/// How long what was closed may take to be gone.
const SOON: Duration = Duration::from_secs(10);

/// What this process holds: of the client and of the broker, which closes its end as well.
#[derive(Clone, Copy, Debug)]
struct Held {
    files: usize,
    tasks: usize,
    heap: usize,
}

impl Held {
    fn now() -> Self {
        Self {
            files: fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            heap: ALLOCATOR.current_usage(),
        }
    }

    /// Waits until no more is held than before.
    async fn back_to(before: Self) {
        let begin = Instant::now();
        loop {
            let now = Self::now();
            let is_back =
                now.files == before.files && now.tasks == before.tasks && now.heap <= before.heap + TOLERANCE;
            if is_back {
                return;
            }
            assert!(begin.elapsed() < SOON, "{before:?} has become {now:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Connects, learns what the broker speaks and who else there is, and hangs up.
async fn cycles(client: &ClientBuilder, count: usize) {
    for number in 0..count {
        let client = client.clone().connect().await.unwrap();
        // Every other one just goes.
        if number % 2 == 0 {
            client.shutdown();
        }
    }
}

async fn nothing_is_left_of(client: ClientBuilder, count: usize) {
    cycles(&client, WARM_UP).await;
    sleep(Duration::from_millis(200)).await;
    let before = Held::now();
    let begin = Instant::now();
    cycles(&client, count).await;
    Held::back_to(before).await;
    println!("{count} clients in {:?}, {before:?}", begin.elapsed());

    // A single one that stays would be seen.
    let client = client.connect().await.unwrap();
    let with_one = Held::now();
    assert!(with_one.files > before.files && with_one.tasks > before.tasks, "{with_one:?}");
    assert!(with_one.heap > before.heap + TOLERANCE, "{with_one:?}");
    drop(client);
    Held::back_to(before).await;
}

#[tokio::test]
async fn ten_thousand_clients_leave_nothing_behind() {
    let cycles = |normally| env::var("MILENA_CYCLES").map_or(normally, |count| count.parse().unwrap());
    let broker = EmbeddedBroker::start().await.unwrap();
    nothing_is_left_of(Client::builder(broker.bootstrap()), cycles(CYCLES)).await;

    // The server's table of sessions grows once more long after it is full, which has nothing to do with clients.
    let mut server = ServerConfig::clone(&tls::server());
    server.session_storage = Arc::new(NoServerSessionStorage {});
    let broker = EmbeddedBroker::builder().tls(Arc::new(server)).start().await.unwrap();
    let client = Client::builder(broker.bootstrap()).tls(Tls::ca_file(tls::authority()));
    nothing_is_left_of(client, cycles(TLS_CYCLES)).await;

    let guard = |config: &mut ClusterConfig| config.sasl = Some(SaslConfig::new([("alice", "secret")]));
    let broker = EmbeddedBroker::builder().configure(guard).start().await.unwrap();
    let client = Client::builder(broker.bootstrap()).sasl(Sasl::scram_sha_256("alice", "secret"));
    nothing_is_left_of(client, cycles(SCRAM_CYCLES)).await;
}
