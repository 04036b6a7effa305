//! Producer ids: when one is asked for, and what becomes of the batches under the old one.

use milena_cluster::FailureKind;

use crate::script::{Script, TOPIC, config};

/// Without a topic no producer id is asked for, and nothing says that one is due.
#[test]
fn a_topic_that_vanishes_while_an_id_is_asked_for_does_not_make_the_machine_spin() {
    let mut script = Script::without_metadata(config(), 1);
    script.grants_ids = false;
    assert!(script.try_enqueue(0, "first").is_err());
    script.drain();
    assert_eq!(script.ids_asked, 1);
    script.topic_exists = false;
    script.run_to(400_000);
    assert!(!script.producer.topic_failure(TOPIC).unwrap().is_empty());
    script.fail_id_request(FailureKind::Unanswered);
    script.wait(60_000);
    assert_eq!(script.ids_asked, 1);
    script.topic_exists = true;
    script.grants_ids = true;
    script.wait(5_000);
    assert_eq!(script.ids_asked, 2);
    script.settle(0, 0);
}
