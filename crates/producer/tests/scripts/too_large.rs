//! Batches that are larger than their topic allows.

use milena_cluster::FailureKind;
use milena_producer::{Certainty, Delivery, ProduceFailure, ProducerConfig};
use milena_protocol::{
    ErrorCode,
    records::{Batches, Compression, ReadOptions},
};

use crate::script::{Produced, Said, Script, Sent, config, partition};

const TOO_LARGE: Said = Said::code(ErrorCode::MESSAGE_TOO_LARGE);

/// An acknowledged record, then batches in flight with so many records each, all named by one count.
fn pipeline(script: &mut Script, counts: &[usize]) -> (Vec<Produced>, Vec<Delivery>) {
    script.settle(0, 0);
    let (mut requests, mut deliveries) = (Vec::new(), Vec::new());
    for count in counts {
        for _ in 0..*count {
            let value = format!("record {:04}", deliveries.len());
            deliveries.push(script.offer(Some(0), &value).unwrap());
        }
        script.drain();
        requests.push(script.only_request());
    }
    (requests, deliveries)
}

fn values(batch: &Sent) -> Vec<String> {
    let batch = Batches::new(batch.bytes.clone()).next().unwrap().unwrap();
    let decoded = batch.decode(&ReadOptions::default()).unwrap();
    let value = |record: Result<_, _>| {
        let record: milena_protocol::records::RecordView<'_> = record.unwrap();
        String::from_utf8(record.value().unwrap().to_vec()).unwrap()
    };
    decoded.records().map(value).collect()
}

/// Takes batches as a log does that allows `most` records a batch, until nothing more comes. Returns the log.
fn take_all(script: &mut Script, mut end: i64, most: i32) -> Vec<String> {
    let mut log = Vec::new();
    while let Some(request) = script.next_request() {
        let batch = &request.batches[0];
        // The settled record has offset and number 0: the two go together.
        if i64::from(batch.base_sequence) != end {
            script.answer(&request, &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
        } else if batch.count > most {
            script.answer(&request, &[TOO_LARGE]);
        } else {
            log.extend(values(batch));
            script.answer(&request, &[Said::written(end)]);
            end += i64::from(batch.count);
        }
    }
    log
}

/// P12.
#[test]
fn a_batch_that_is_too_large_goes_out_in_parts_in_order_without_a_pause() {
    for (compression, code) in [
        (Compression::None, ErrorCode::MESSAGE_TOO_LARGE),
        (Compression::Gzip, ErrorCode::MESSAGE_TOO_LARGE),
        (Compression::None, ErrorCode::RECORD_LIST_TOO_LARGE),
    ] {
        let mut script = Script::new(ProducerConfig { codec: compression.into(), ..config() }, 1);
        let (requests, deliveries) = pipeline(&mut script, &[9, 2, 3]);
        script.answer(&requests[0], &[Said::code(code)]);
        for behind in &requests[1..] {
            script.answer(behind, &[Said::code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)]);
        }
        // The batches behind pause, as after every refusal that passes.
        script.wait(150);
        let log = take_all(&mut script, 1, 2);
        let expected: Vec<_> = (0..14).map(|number| format!("record {number:04}")).collect();
        assert_eq!(log, expected);
        for (delivery, offset) in deliveries.iter().zip(1..) {
            assert_eq!(delivery.result().unwrap().unwrap().offset, Some(offset));
        }
        assert_eq!(script.ids_asked, 1);
        assert_eq!(script.producer.accumulator().used(), 0);
        script.settle(0, 15);
    }
}

/// P12.
#[test]
fn no_retry_is_charged_for_a_split_and_the_parts_have_the_numbers_of_the_whole() {
    let mut script = Script::new(config(), 1);
    let (requests, _deliveries) = pipeline(&mut script, &[4]);
    assert_eq!((requests[0].batches[0].base_sequence, requests[0].batches[0].count), (1, 4));
    script.answer(&requests[0], &[TOO_LARGE]);
    let first = script.only_request();
    assert_eq!((first.batches[0].base_sequence, first.batches[0].count), (1, 2));
    // Both halves are charged.
    let both = script.producer.accumulator().used();
    assert!(both > 2 * first.batches[0].bytes.len());
    script.answer(&first, &[Said::written(1)]);
    assert!((1..both).contains(&script.producer.accumulator().used()));
    let second = script.only_request();
    assert_eq!((second.batches[0].base_sequence, second.batches[0].count), (3, 2));
    script.answer(&second, &[Said::written(3)]);
    assert_eq!(script.producer.accumulator().used(), 0);
}

/// P1, P12: a part is as much a batch as any other.
#[test]
fn a_part_without_an_answer_goes_out_again_as_the_same_bytes_and_is_not_cut_again() {
    let mut script = Script::new(config(), 1);
    let (requests, deliveries) = pipeline(&mut script, &[4]);
    script.answer(&requests[0], &[TOO_LARGE]);
    let first = script.only_request();
    script.fail(&first, FailureKind::Unanswered);
    script.wait(150);
    let again = script.only_request();
    assert_eq!(again.batches, first.batches);
    // The broker looks at the length first: whether the first try was written is not known.
    script.answer(&again, &[TOO_LARGE]);
    let told: Vec<_> = deliveries.iter().map(Delivery::result).collect();
    for written in &told[..2] {
        let error = written.clone().unwrap().unwrap_err();
        assert_eq!(error.certainty, Certainty::MaybeWritten);
        assert!(matches!(error.cause, ProduceFailure::Refused { .. }), "{error}");
    }
    // The other part goes on under a new id, in which there can be no gap.
    let other = script.only_request();
    assert_eq!((script.ids_asked, other.batches[0].base_sequence), (2, 0));
    assert_eq!(values(&other.batches[0]), ["record 0002", "record 0003"]);
}

/// P12.
#[test]
fn a_record_that_is_too_large_alone_fails_alone_and_says_what_the_topic_allows() {
    let mut script = Script::new(config(), 1);
    let (requests, _) = pipeline(&mut script, &[1]);
    script.answer(&requests[0], &[Said::written(1)]);
    let mut deliveries = Vec::new();
    for value in ["small", &"x".repeat(5_000), "behind"] {
        deliveries.push(script.offer(Some(0), value).unwrap());
    }
    script.drain();
    let mut offset = 2;
    let mut log = Vec::new();
    while let Some(request) = script.next_request() {
        let batch = &request.batches[0];
        if batch.bytes.len() <= 1_000 {
            log.extend(values(batch));
            script.answer(&request, &[Said::written(offset)]);
            offset += i64::from(batch.count);
            continue;
        }
        let mut answer = partition(batch, TOO_LARGE);
        answer.error_message = Some("the maximum is 1000".into());
        script.answer_partitions(&request, vec![answer]);
    }
    assert_eq!(log, ["small", "behind"]);
    assert_eq!(deliveries[0].result().unwrap().unwrap().offset, Some(2));
    assert_eq!(deliveries[2].result().unwrap().unwrap().offset, Some(3));
    let error = deliveries[1].result().unwrap().unwrap_err();
    assert_eq!(error.certainty, Certainty::NotWritten);
    assert!(matches!(error.cause, ProduceFailure::TooLarge { len: 5_001.., .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("max.message.bytes") && text.contains("the maximum is 1000"), "{text}");
}

/// P12: KIP-126.
#[test]
fn batches_after_a_refusal_come_out_smaller_and_grow_again() {
    let mut script = Script::new(config(), 1);
    let (requests, _deliveries) = pipeline(&mut script, &[40]);
    let whole = requests[0].batches[0].bytes.len();
    script.answer(&requests[0], &[TOO_LARGE]);
    let mut offset = 1;
    let mut largest = Vec::new();
    for _ in 0..400 {
        while let Some(request) = script.next_request() {
            script.answer(&request, &[Said::written(offset)]);
            offset += i64::from(request.batches[0].count);
            largest.push(request.batches[0].bytes.len());
        }
        for number in 0..40 {
            let _delivery = script.offer(Some(0), &format!("record {number:04}")).unwrap();
        }
        script.drain();
    }
    assert!(largest[2..200].iter().all(|len| *len < whole), "{whole}: {:?}", &largest[..50]);
    assert!(largest[300..].iter().any(|len| *len >= whole), "{whole}: {:?}", largest.last());
}

/// P12, P18: a flush is over when every part is.
#[test]
fn a_flush_waits_for_the_last_part() {
    let mut script = Script::new(config(), 1);
    let (requests, _deliveries) = pipeline(&mut script, &[2]);
    let flush = script.producer.flush();
    script.answer(&requests[0], &[TOO_LARGE]);
    let flushed = milena_producer::ProducerEvent::Flushed(flush);
    let first = script.only_request();
    script.answer(&first, &[Said::written(1)]);
    assert!(!script.events.contains(&flushed));
    let second = script.only_request();
    script.answer(&second, &[Said::written(2)]);
    assert!(script.events.contains(&flushed));
}
