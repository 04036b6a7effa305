//! Where inputs come from: the golden frames, in the form each target reads.

use std::{fs, path::Path, sync::OnceLock};

use flate2::{Compression as Level, write::GzEncoder};
use milena_protocol::records::{BatchBuilder, Compression, HEADER_LEN, Header, ProducerStamp};
use serde_json::Value;

use super::{broker::REQUEST, messages::structures};
use crate::golden;

/// Seeds of `fastrand` for scripts, and how long these are.
const SCRIPTS: std::ops::Range<u64> = 0..64;
const SCRIPT_LEN: usize = 600;
/// Of so many messages one is made long.
const LONG_ONES: usize = 40;
/// Requests in a script for the broker.
const REQUESTS: usize = 12;

/// A golden line in bytes.
struct Line {
    kind: String,
    name: String,
    key: u8,
    version: u8,
    header_version: i64,
    is_empty: bool,
    is_flexible: bool,
    bytes: Vec<u8>,
}

fn lines() -> &'static [Line] {
    static LINES: OnceLock<Vec<Line>> = OnceLock::new();
    LINES.get_or_init(|| golden::lines().filter_map(|line| Line::new(&line)).collect())
}

impl Line {
    fn new(line: &Value) -> Option<Self> {
        let number = |name: &str| line[name].as_i64().unwrap_or_default();
        Some(Self {
            kind: line["kind"].as_str()?.to_owned(),
            name: line["name"].as_str()?.to_owned(),
            key: number("apiKey") as u8,
            version: number("version") as u8,
            header_version: number("headerVersion"),
            is_empty: line["variant"] == 0,
            is_flexible: line["flexible"] == true,
            bytes: golden::unhex(line["hex"].as_str()?),
        })
    }

    fn prefixed(&self, prefix: &[u8]) -> Vec<u8> {
        [prefix, &self.bytes].concat()
    }

    /// An empty message with thousands of tagged fields: work that is not in proportion to the input shows in long ones.
    fn with_many_tags(&self) -> Option<Vec<u8>> {
        let is_wanted = self.is_empty && self.is_flexible;
        let (0, before) = self.bytes.split_last().filter(|_| is_wanted)? else { return None };
        // 8,192 tags, all of them with numbers that take two bytes.
        let mut long = [before, &[0x80, 0x40]].concat();
        for tag in 0x2000..0x4000u16 {
            long.extend_from_slice(&[tag as u8 | 0x80, (tag >> 7) as u8, 4, 0, 0, 0, 0]);
        }
        Some(long)
    }
}

/// Some messages of a kind, made long.
fn long_of_kind(kind: &str) -> impl Iterator<Item = Vec<u8>> {
    let long = of_kind(kind).filter_map(|line| {
        let message = line.with_many_tags()?;
        Some([&[line.key, line.version], &message[..]].concat())
    });
    long.step_by(LONG_ONES)
}

fn of_kind(kind: &str) -> impl Iterator<Item = &'static Line> {
    lines().iter().filter(move |line| line.kind == kind)
}

fn named(name: &str) -> impl Iterator<Item = &'static Line> {
    lines().iter().filter(move |line| line.name == name)
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    let golden = of_kind("request").map(|line| line.prefixed(&[line.key, line.version]));
    golden.chain(long_of_kind("request")).collect()
}

pub(super) fn responses() -> Vec<Vec<u8>> {
    let golden = of_kind("response").map(|line| line.prefixed(&[line.key, line.version]));
    golden.chain(long_of_kind("response")).collect()
}

pub(super) fn frames() -> Vec<Vec<u8>> {
    let whole = |header: Vec<u8>, line: &Line| {
        let len = (header.len() + line.bytes.len()) as u32;
        [&len.to_be_bytes(), &header[..], &line.bytes].concat()
    };
    let tags = |flexible: bool| if flexible { vec![0] } else { Vec::new() };
    let requests = of_kind("request").map(|line| {
        let id = [0, line.key, 0, line.version, 0, 0, 0, 7, 0, 1, b'm'];
        whole([&id[..], &tags(line.header_version == 2)].concat(), line)
    });
    let stream = |frames: &[Vec<u8>]| [vec![0], frames.concat()].concat();
    let requests: Vec<Vec<u8>> = requests.collect();
    let responses = of_kind("response").map(|line| {
        let header = [&[0, 0, 0, 7][..], &tags(line.header_version == 1)].concat();
        [vec![1, line.key, line.version], whole(header, line)].concat()
    });
    requests.chunks(2).map(stream).chain(responses).collect()
}

pub(super) fn data() -> Vec<Vec<u8>> {
    let seeds = structures().zip(0u8..).flat_map(|(structure, which)| {
        let name = structure.name();
        let golden = lines().iter().filter(move |line| line.name == name);
        golden.map(move |line| line.prefixed(&[which, line.version]))
    });
    seeds.collect()
}

pub(super) fn listed() -> Vec<Vec<u8>> {
    let fetched = named("FetchResponse").map(|line| line.prefixed(&[0, line.version]));
    fetched.chain(named("ProduceRequest").map(|line| line.prefixed(&[1, line.version]))).collect()
}

pub(super) fn batches() -> Vec<Vec<u8>> {
    let golden = named("RecordBatch").map(|line| line.bytes.clone());
    golden.chain(written(|name| !name.contains("-magic"))).chain(long_batches()).collect()
}

/// Thousands of records, and a record with thousands of headers.
fn long_batches() -> impl Iterator<Item = Vec<u8>> {
    [(5_000, 0), (1, 10_000)].into_iter().filter_map(|(records, headers)| {
        let mut builder = BatchBuilder::new(1 << 20);
        for _ in 0..records {
            let headers = (0..headers).map(|_| Header::new("h", Some(b"v")));
            builder.append(7, None, Some(b"v"), headers).ok()?;
        }
        let batch = builder.compress(Compression::None).ok()?.stamp(ProducerStamp::NONE);
        Some(batch.to_vec())
    })
}

pub(super) fn legacy() -> Vec<Vec<u8>> {
    written(|name| name.contains("-magic") || name.contains("-mixed")).collect()
}

/// The records fields in `fixtures/batches`, of which the name says who wrote them.
fn written(is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/batches");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".bin") && !name.contains("-large") && is_wanted(&name)
    });
    files.into_iter().map(|path| fs::read(path).unwrap())
}

/// Fetch responses of the newest version that has topic names, each with the records of a golden batch.
pub(super) fn fetched() -> Vec<Vec<u8>> {
    let from_java = named("FetchResponse").map(|line| line.prefixed(&[line.version]));
    let with_records = batches().into_iter().map(|records| {
        let mut response = vec![12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 2, 2, b't', 2];
        // Partition, no error, high watermark, last stable offset, log start.
        response.extend_from_slice(&[0; 6]);
        response.extend_from_slice(&[0; 24]);
        // One aborted transaction, of producer 4000 from offset 0 on.
        response.push(2);
        response.extend_from_slice(&4000i64.to_be_bytes());
        response.extend_from_slice(&[0; 9]);
        // No preferred replica; then the records.
        response.extend_from_slice(&[0xff; 4]);
        let mut len = records.len() as u32 + 1;
        while len >= 0x80 {
            response.push(len as u8 | 0x80);
            len >>= 7;
        }
        response.push(len as u8);
        response.extend_from_slice(&records);
        response.extend_from_slice(&[0, 0, 0]);
        response
    });
    from_java.chain(with_records).collect()
}

/// Payloads of golden batches of one compression, and of records of our own.
fn payloads(compression: Compression) -> Vec<Vec<u8>> {
    let golden = named("RecordBatch").filter_map(|line| {
        let is_it = line.bytes.get(22).is_some_and(|attributes| attributes & 7 == compression.id());
        let len = line.bytes.get(8..12)?.try_into().ok().map(i32::from_be_bytes)?;
        let end = usize::try_from(len).ok()? + 12;
        is_it.then(|| line.bytes.get(HEADER_LEN..end).map(<[u8]>::to_vec))?
    });
    let own = [0usize, 1, 100, 5_000].into_iter().filter_map(|len| {
        let mut builder = BatchBuilder::new(1 << 20);
        let value: Vec<u8> = (0..len).map(|at| (at * at % 251) as u8).collect();
        let headers = [Header::new("trace", Some(b"7f"))];
        builder.append(7, None, Some(&value), headers).ok()?;
        builder.append(8, None, Some(&vec![b'x'; len]), []).ok()?;
        let batch = builder.compress(compression).ok()?.stamp(ProducerStamp::NONE);
        Some(batch.get(HEADER_LEN..)?.to_vec())
    });
    let seeds: Vec<_> = golden.chain(own).collect();
    if seeds.is_empty() { vec![b"nothing".to_vec()] } else { seeds }
}

pub(super) fn gzip() -> Vec<Vec<u8>> {
    let mut bomb = GzEncoder::new(Vec::new(), Level::best());
    std::io::Write::write_all(&mut bomb, &vec![0; 1 << 20]).unwrap();
    let mut seeds = payloads(Compression::Gzip);
    seeds.push(bomb.finish().unwrap());
    seeds
}

pub(super) fn snappy() -> Vec<Vec<u8>> {
    let mut seeds = payloads(Compression::Snappy);
    seeds.extend(xerial().iter().filter_map(|blocks| Some(blocks.get(4..)?.to_vec())));
    seeds
}

/// What stands behind the framing's header of 16 bytes.
pub(super) fn xerial() -> Vec<Vec<u8>> {
    let framed = payloads(Compression::Snappy);
    framed.iter().filter_map(|payload| Some(payload.get(16..)?.to_vec())).collect()
}

pub(super) fn lz4() -> Vec<Vec<u8>> {
    payloads(Compression::Lz4)
}

pub(super) fn zstd() -> Vec<Vec<u8>> {
    payloads(Compression::Zstd)
}

/// Decisions at random.
pub(super) fn scripts() -> Vec<Vec<u8>> {
    let script = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        std::iter::repeat_with(|| random.u8(..)).take(SCRIPT_LEN).collect()
    };
    SCRIPTS.map(script).collect()
}

/// Golden requests one after the other, over random connections.
pub(super) fn conversations() -> Vec<Vec<u8>> {
    let requests: Vec<&Line> = of_kind("request").filter(|line| line.bytes.len() < 4096).collect();
    let script = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut script = Vec::new();
        for _ in 0..REQUESTS {
            let Some(line) = random.choice(&requests) else { break };
            script.extend_from_slice(&[random.u8(..) & 0xf0 | REQUEST, line.key, line.version]);
            script.extend_from_slice(&(line.bytes.len() as u16).to_be_bytes());
            script.extend_from_slice(&line.bytes);
        }
        script
    };
    SCRIPTS.map(script).collect()
}
