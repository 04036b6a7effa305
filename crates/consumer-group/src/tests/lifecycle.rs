//! Beginning, changing one's mind, and the end.

use super::*;
use crate::{CommitError, CommitMode, ConsumerError, SubscribeError};

#[test]
fn nothing_is_asked_before_there_is_something_to_read() {
    let mut script = Script::new(in_group());
    script.drain();
    assert_eq!(script.consumer.poll_timeout(), None);
    assert_eq!(
        script.consumer.explain(script.now()),
        ["neither subscribed nor assigned", "nothing is due: an answer or a call is waited for"]
    );
}

#[test]
fn a_subscription_and_an_assignment_exclude_each_other() {
    let mut script = Script::reading(in_group(), &[0]);
    assert_eq!(script.consumer.subscribe(script.now(), ["letters".into()]), Err(SubscribeError::Assigned));
    script.consumer.unsubscribe(script.now());
    assert_eq!(script.consumer.assignment(), []);
    script.subscribe();
    assert_eq!(script.consumer.assign(script.now(), []), Err(SubscribeError::Subscribed));
    let mut script = Script::new(ConsumerConfig::default());
    assert_eq!(script.consumer.subscribe(script.now(), ["letters".into()]), Err(SubscribeError::NoGroup));
}

#[test]
fn closing_waits_for_commits_that_are_under_way() {
    let mut script = Script::reading(in_group(), &[10]);
    let commit = script.commit(0, 11, CommitMode::Sync).unwrap();
    let (id, _) = asked_for!(script, OffsetCommit);
    script.consumer.close(script.now());
    assert_eq!(script.news(), []);
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE)]));
    assert_eq!(script.news(), [Event::Committed { id: commit, result: Ok(()) }, Event::Closed]);
    assert_eq!(script.commit(0, 11, CommitMode::Sync), Err(CommitError::Closed));
    assert_eq!(script.consumer.subscribe(script.now(), []), Err(SubscribeError::Closed));
    assert!(script.consumer.poll_request(script.now()).is_none());
}

#[test]
fn leaving_a_group_that_was_never_reached_ends_in_time() {
    let mut script = Script::new(in_group());
    script.cluster.is_up = false;
    script.subscribe();
    script.consumer.close(script.now());
    script.drain();
    script.pass_until(5_001);
    assert_eq!(script.news(), [Event::Closed]);
}

/// A subscription right after the end of another one does not lose its way.
#[test]
fn a_subscription_while_the_group_is_being_left_joins_again() {
    let mut script = Script::new(in_group());
    script.subscribe();
    script.consumer.unsubscribe(script.now());
    script.subscribe();
    assert!(script.waits_for(ApiKey::JoinGroup));
    assert_eq!(script.consumer.subscription(), ["letters"]);
}

#[test]
fn a_topic_one_may_not_see_is_named_once() {
    let mut script = Script::new(in_group());
    script.subscribe();
    let answer = MetadataResponse {
        topics: vec![MetadataResponseTopic {
            name: Some("letters".into()),
            error_code: ErrorCode::TOPIC_AUTHORIZATION_FAILED.0,
            ..Default::default()
        }],
        ..Default::default()
    };
    script.pass_until(299_999);
    script.news();
    for ms in [300_001, 301_000, 302_000] {
        script.cluster.is_up = true;
        while let Some(due) = script.consumer.poll_timeout().filter(|due| due.at <= script.at(ms)) {
            script.consumer.handle_timeout(due.at);
            while let Some(outgoing) = script.consumer.poll_request(due.at) {
                if outgoing.api() == ApiKey::Metadata {
                    script.consumer.handle_response(due.at, outgoing.id, Ok(answer.clone().into()));
                }
            }
        }
    }
    let refused: Vec<_> =
        script.news().into_iter().filter(|event| matches!(event, Event::Failed(_))).collect();
    let error = ConsumerError::Topic { topic: "letters".into(), code: ErrorCode::TOPIC_AUTHORIZATION_FAILED };
    assert_eq!(refused, [Event::Failed(error)]);
}

/// A stuck consumer says why, partition by partition.
#[test]
fn every_partition_says_why_it_is_not_fetched() {
    let mut script = Script::new(in_group());
    script.cluster.topics.get_mut("letters").unwrap().1 = vec![(1, 5), (-1, 5), (1, 5)];
    let position = Some(crate::Position { offset: 3, leader_epoch: None });
    let partitions = [(letters(0), position), (letters(1), position), (letters(2), None)];
    script.consumer.assign(script.now(), partitions).unwrap();
    script.drain();
    let lines = script.consumer.explain(script.now());
    assert_eq!(
        lines[..4],
        [
            "assigned by hand",
            "letters-0 at offset 3: waits for the answer of broker 1",
            "letters-1 at offset 3: has no known leader: waits for metadata (for 0 ms)",
            "letters-2 at no offset yet: waits for the committed offset",
        ]
    );
    assert!(lines[4].ends_with(": ask for metadata"), "{}", lines[4]);
    script.consumer.pause(&letters(0)).unwrap();
    assert_eq!(script.consumer.explain(script.now())[1], "letters-0 at offset 3: is paused");
}

/// The same script gives the same requests.
#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut script = Script::new(ConsumerConfig { seed, ..in_group() });
        script.subscribe();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let (id, _) = asked_for!(script, JoinGroup);
            script.fail(id, FailureKind::NotSent);
            waits.push(script.consumer.poll_timeout().unwrap().at - script.at(0));
            script.pass_next();
        }
        waits
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
