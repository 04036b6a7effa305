//! Arrays that stay in the frame are checked by a walk of its own when they are read. It must accept exactly what decoding
//! an element accepts: else iterating would end early, or a good frame would be refused.
//!
//! The elements of every golden message that has such arrays are cut short and damaged, and both are asked.

#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use bytes::Bytes;
use milena_protocol::{
    messages::{ApiKey, Request, Response},
    wire::{Decode, Encode, Listed, Reader, Writer},
};
use protocol_tests::golden;

/// Damaged copies of each element, besides every prefix of it.
const DAMAGED: usize = 200;

/// How often the two agreed, by what they said.
#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    random: fastrand::Rng,
}

impl Tally {
    /// Both ways of reading every element of `listed`, whole, cut and damaged.
    fn elements<T: Decode + Encode + Clone + PartialEq>(&mut self, listed: &Listed<T>, version: i16) {
        let elements: Vec<T> = listed.iter().collect();
        assert_eq!(elements.len(), listed.len(), "iterating ends early");
        let mut walk = listed.walk();
        let lent = elements.iter().all(|element| walk.lend_next().is_some_and(|lent| lent == element));
        assert!(lent && walk.lend_next().is_none(), "an element keeps something of the one before");
        for element in &elements {
            let mut writer = Writer::new();
            element.encode(&mut writer, version).unwrap();
            let bytes = writer.finish().to_bytes();
            assert!(self.agree::<T>(bytes.clone(), version), "the element itself");
            for len in 0..bytes.len().min(600) {
                assert!(!self.agree::<T>(bytes.slice(..len), version), "{len} of {}", bytes.len());
            }
            for _ in 0..DAMAGED {
                let mut damaged = bytes.to_vec();
                for _ in 0..self.random.usize(1..4) {
                    let at = self.random.usize(..damaged.len());
                    let any = self.random.u8(..);
                    damaged[at] = *self.random.choice(&[0, 1, 2, 0x7f, 0x80, 0xff, any]).unwrap();
                }
                self.agree::<T>(damaged.into(), version);
            }
        }
    }

    /// True when both accept the bytes.
    fn agree<T: Decode>(&mut self, bytes: Bytes, version: i16) -> bool {
        let (mut walked, mut built) = (Reader::new(&bytes), Reader::new(&bytes));
        let checked = T::check(&mut walked, version);
        let decoded = T::decode(&mut built, version).map(drop);
        assert_eq!(checked.is_ok(), decoded.is_ok(), "{checked:?}, but {decoded:?} for {bytes:?}");
        if decoded.is_ok() {
            assert_eq!(walked.remaining(), built.remaining(), "{bytes:?}");
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
        decoded.is_ok()
    }

    fn request(&mut self, request: &Request, version: i16) {
        let Request::Produce(produce) = request else { return };
        self.elements(&produce.topic_data, version);
        for topic in &produce.topic_data {
            self.elements(&topic.partition_data, version);
        }
    }

    fn response(&mut self, response: &Response, version: i16) {
        match response {
            Response::Fetch(fetch) => {
                self.elements(&fetch.node_endpoints, version);
                self.elements(&fetch.responses, version);
                for topic in &fetch.responses {
                    self.elements(&topic.partitions, version);
                    for partition in &topic.partitions {
                        partition.aborted_transactions.iter().for_each(|all| self.elements(all, version));
                    }
                }
            }
            Response::ShareFetch(fetch) => {
                self.elements(&fetch.node_endpoints, version);
                self.elements(&fetch.responses, version);
                for topic in &fetch.responses {
                    self.elements(&topic.partitions, version);
                    for partition in &topic.partitions {
                        self.elements(&partition.acquired_records, version);
                    }
                }
            }
            Response::Metadata(metadata) => {
                metadata.topics.iter().for_each(|topic| self.elements(&topic.partitions, version));
            }
            _ => {}
        }
    }
}

#[test]
fn checking_accepts_what_decoding_accepts() {
    let mut tally = Tally { random: fastrand::Rng::with_seed(7), ..Tally::default() };
    for line in golden::lines() {
        let Some(api) = line["apiKey"].as_i64().and_then(|key| ApiKey::from_code(key.try_into().unwrap()))
        else {
            continue;
        };
        let version = line["version"].as_i64().unwrap().try_into().unwrap();
        let bytes = golden::unhex(line["hex"].as_str().unwrap()).into();
        let mut reader = Reader::new(&bytes);
        match line["kind"].as_str().unwrap() {
            "request" => tally.request(&Request::decode(api, &mut reader, version).unwrap(), version),
            "response" => tally.response(&Response::decode(api, &mut reader, version).unwrap(), version),
            _ => {}
        }
    }
    assert!(tally.accepted > 10_000 && tally.refused > 10_000, "{} and {}", tally.accepted, tally.refused);
}

/// Unknown tagged fields are the one thing an element is charged for. An element that was accepted must come out again.
#[test]
fn elements_with_many_unknown_tags_come_out_as_often_as_they_went_in() {
    use milena_protocol::messages::produce::PartitionProduceData;
    let mut element = vec![0, 0, 0, 1, 0];
    element.push(100);
    element.extend((100..200u8).flat_map(|tag| if tag < 128 { vec![tag, 0] } else { vec![tag, 1, 0] }));
    for count in 1..=40u8 {
        let mut array = vec![count + 1];
        array.extend(element.repeat(count.into()));
        let bytes = array.into();
        let listed = Reader::new(&bytes).listed::<PartitionProduceData>(true, 12).unwrap();
        assert_eq!(listed.iter().count(), usize::from(count));
        assert!(listed.iter().all(|element| element.unknown_tags.iter().count() == 100));
    }
}
