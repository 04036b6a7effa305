//! Whatever may come from the network, thrown at whatever reads it.
//!
//! A [`Target`] is one function over bytes that panics when a promise is broken. The same functions are behind
//! - `cargo xtask fuzz` (the crate in `protocol-tests/fuzz`): guided by coverage, as long as one likes;
//! - `cargo xtask smoke` (the binary `smoke`): ten million mutations of golden frames, the same every time;
//! - the test that replays `fixtures/crashes`.
//!
//! # What is promised
//! Nothing panics. What a decoder accepts can be encoded, in no more bytes, and decodes to the same again. Heap stays
//! within [`heap::owned`] and [`heap::VIEW`]. State machines come to rest whatever they are told.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a broken promise ends the run and says which it was")]

mod broker;
mod codecs;
mod consumer;
mod fetched;
pub mod heap;
mod lab;
mod messages;
pub mod mutate;
mod producer;
mod records;
mod script;
mod seeds;

pub use messages::message;

/// One thing that reads what others have written.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the binary of cargo-fuzz, of the corpus, of the folder of its crashes.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// Reads an input.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many of a thousand executions of the smoke are its own.
    pub share: u32,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frame",
        about: "a stream of frames, as a broker and as a client read it",
        run: messages::frame,
        seeds: seeds::frames,
        share: 80,
    },
    Target {
        name: "request",
        about: "the body of a request: API key, version, bytes",
        run: messages::request,
        seeds: seeds::requests,
        share: 220,
    },
    Target {
        name: "response",
        about: "the body of a response: API key, version, bytes",
        run: messages::response,
        seeds: seeds::responses,
        share: 220,
    },
    Target {
        name: "data",
        about: "a structure of no API, such as a header or a member's subscription: which, version, bytes",
        run: messages::data,
        seeds: seeds::data,
        share: 120,
    },
    Target {
        name: "listed",
        about: "the arrays that stay in the frame (fetch response, produce request): which, version, bytes",
        run: messages::listed,
        seeds: seeds::listed,
        share: 100,
    },
    Target {
        name: "batch",
        about: "a records field: all batches, all records, as views and owned, and what a broker does to them",
        run: records::batch,
        seeds: seeds::batches,
        share: 120,
    },
    Target {
        name: "legacy",
        about: "messages of magic 0 and 1, as the target `batch` reads them",
        run: records::batch,
        seeds: seeds::legacy,
        share: 40,
    },
    Target {
        name: "fetched",
        about: "a fetch response on its way to the application, aborted transactions left out: version, bytes",
        run: fetched::fetched,
        seeds: seeds::fetched,
        share: 40,
    },
    Target {
        name: "gzip",
        about: "gzip, under a limit, and there and back",
        run: codecs::gzip,
        seeds: seeds::gzip,
        share: 20,
    },
    Target {
        name: "snappy",
        about: "snappy, bare or framed, under a limit, and there and back",
        run: codecs::snappy,
        seeds: seeds::snappy,
        share: 28,
    },
    Target {
        name: "xerial",
        about: "the blocks behind the header of Java's snappy framing",
        run: codecs::xerial,
        seeds: seeds::xerial,
        share: 30,
    },
    Target {
        name: "lz4",
        about: "LZ4 frames, under a limit, and there and back",
        run: codecs::lz4,
        seeds: seeds::lz4,
        share: 10,
    },
    Target {
        name: "zstd",
        about: "Zstandard, under a limit, and there and back",
        run: codecs::zstd,
        seeds: seeds::zstd,
        share: 10,
    },
    Target {
        name: "broker",
        about: "a script of requests for the embedded broker",
        run: broker::broker,
        seeds: seeds::conversations,
        share: 1,
    },
    Target {
        name: "producer",
        about: "a script for a producer and the broker that lies to it",
        run: producer::producer,
        seeds: seeds::scripts,
        share: 1,
    },
    Target {
        name: "consumer",
        about: "a script for a consumer and the broker that lies to it",
        run: consumer::consumer,
        seeds: seeds::scripts,
        share: 1,
    },
];

impl Target {
    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}
