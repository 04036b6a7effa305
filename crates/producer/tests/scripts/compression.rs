//! How batches are compressed.

use milena_producer::{At, NewRecord, ProducerConfig};
use milena_protocol::records::{Batches, Codec, Compression};

use crate::script::{Produced, Script, config};

fn compressions(request: &Produced) -> Vec<Compression> {
    let batches =
        request.batches.iter().map(|batch| Batches::new(batch.bytes.clone()).next().unwrap().unwrap());
    batches.map(|batch| Compression::from_id(batch.header().attributes.compression_id()).unwrap()).collect()
}

/// A broker too old for Zstandard must not refuse the batches that do without it.
#[test]
fn each_topic_has_its_codec_and_what_needs_a_newer_broker_goes_apart() {
    let codecs = [("zs", Compression::Zstd), ("gz", Compression::Gzip), ("no", Compression::None)];
    let topic_codecs = codecs.map(|(topic, compression)| (topic.into(), Codec::from(compression))).into();
    let config = ProducerConfig { topic_codecs, codec: Compression::Lz4.into(), ..config() };
    let mut script = Script::new(config, 2);
    let first = script.enqueue(0, "nothing goes with the first");
    let request = script.only_request();
    script.answer(&request, &[crate::script::Said::written(0)]);
    assert!(first.result().unwrap().is_ok());

    let offer = |script: &Script, topic| {
        let clock = At { now: script.now(), wall_ms: 0 };
        script.producer.accumulator().enqueue(&clock, &NewRecord::new(topic).partition(1).value(b"v")).is_ok()
    };
    for topic in ["zs", "gz", "no", "letters"] {
        offer(&script, topic);
    }
    script.drain();
    assert!(["zs", "gz", "no"].iter().all(|topic| offer(&script, topic)), "known by now");
    script.drain();
    let mut seen = Vec::new();
    while let Some(request) = script.next_request() {
        let codecs = compressions(&request);
        let needs_zstd = codecs.contains(&Compression::Zstd);
        assert_eq!(request.versions.0, if needs_zstd { 7 } else { 0 }, "{codecs:?}");
        assert!(!needs_zstd || codecs.len() == 1, "{codecs:?}");
        seen.extend(codecs);
    }
    seen.sort_by_key(|compression| compression.id());
    assert_eq!(seen, [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Zstd]);
}
