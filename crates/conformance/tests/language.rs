//! The language: what scripts mean, and what is said of those that mean nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use std::collections::BTreeMap;

use milena_conformance::script::{Action, Script, ScriptError, Source, builtin, parse};

fn understand(text: &str) -> Result<Script, ScriptError> {
    let source = Source { file: "s.txt".into(), text: text.into(), path: None };
    let shared = BTreeMap::from([(
        "own".to_owned(),
        "def greet(code)\n  Heartbeat v4\n      groupId=\"g\"\n    -> errorCode=<code>\nend\n".to_owned(),
    )]);
    parse(&source, &shared, false)
}

fn error(text: &str) -> String {
    understand(text).map(|script| format!("understood: {:?}", script.statements)).unwrap_err().to_string()
}

#[test]
fn every_script_that_comes_with_milena_is_understood() {
    let (sources, shared) = builtin();
    assert!(sources.len() > 100);
    for source in &sources {
        let script = parse(source, &shared, false).unwrap_or_else(|error| panic!("{error}"));
        assert!(source.text.starts_with("# "), "{} does not say what it is about", source.file);
        assert!(!script.title.is_empty() && !script.statements.is_empty());
    }
}

#[test]
fn the_example_of_the_readme_is_understood() {
    let readme = include_str!("../../../fixtures/scenarios/README.md");
    let example = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let script = understand(example).unwrap();
    assert_eq!(script.statements.len(), 5);
    assert_eq!(script.title, "A batch that is sent again is written once, and its offset is told again.");
}

#[test]
fn a_loop_is_written_out_and_a_definition_put_in_place() {
    let text = "# t\nuse own\nfor code in NONE UNKNOWN_MEMBER_ID\n  greet <code>\nend\n";
    let script = understand(text).unwrap();
    let places: Vec<_> = script.statements.iter().map(|statement| statement.place.to_string()).collect();
    assert_eq!(places, ["lib/own.txt:2:3 (called at s.txt:4)", "lib/own.txt:2:3 (called at s.txt:4)"]);
    let turns: Vec<_> = script.statements.iter().map(|statement| statement.turn).collect();
    assert_eq!(turns, [Some(1), Some(2)]);
    assert!(script.statements.iter().all(|statement| matches!(statement.action, Action::Step(_))));
}

#[test]
fn errors_say_where_and_what_may_be_meant() {
    let heartbeat = |fields: &str| format!("# t\ngroup G\nHeartbeat v4 @group($G)\n    {fields}");
    let cases = [
        ("Heartbeet v4\n  -> anything", "s.txt:1:1: Kafka has no API `Heartbeet`; is `Heartbeat` meant?"),
        ("heartbeat v4\n  -> anything", "s.txt:1:1: `heartbeat` is no statement"),
        ("tpoic T", "s.txt:1:1: `tpoic` is no statement; is `topic` meant?"),
        ("Heartbeat v9\n  -> anything", "s.txt:1:11: HeartbeatRequest has no version 9; it has 0 to 4"),
        ("Heartbeat\n  -> anything", "s.txt:1:10: expected a version, such as `v9`"),
        (
            &heartbeat("groupID=$G\n  -> anything"),
            "s.txt:4:5: HeartbeatRequest has no field `groupID` here; is `groupId` meant?",
        ),
        (&heartbeat("groupId=$H\n  -> anything"), "s.txt:4:5: `$H` has no value here"),
        (
            &heartbeat("groupId=$G\n  -> errorCode=UNKNOWN_MEMBER"),
            "s.txt:5:6: `UNKNOWN_MEMBER` is no error code; is `UNKNOWN_MEMBER_ID` meant?",
        ),
        (&heartbeat("groupId=$G memberId=7\n  -> anything"), "s.txt:4:16: `memberId` can't be 7"),
        (
            &heartbeat("groupId=$G generationId=9999999999\n  -> anything"),
            "s.txt:4:16: 9999999999 does not fit in `generationId`",
        ),
        (
            &heartbeat("groupId=?x\n  -> anything"),
            "s.txt:4:5: `groupId` of a request needs a value, not a pattern",
        ),
        (
            &heartbeat("groupId=$G"),
            "s.txt:4:16: expected `->` and what must be answered, not the end of the line; `-> anything` takes whatever comes",
        ),
        (
            &heartbeat("groupId = $G\n  -> anything"),
            "s.txt:4:5: `groupId` has no value; write `groupId=…`, without spaces around `=`",
        ),
        (&heartbeat("groupId=\"g\n  -> anything"), "s.txt:4:13: a text without an end; expected `\"`"),
        (&heartbeat("groupId=$G groupId=$G\n  -> anything"), "s.txt:4:16: `groupId` is given twice"),
        (
            "Heartbeat v0..2\n    groupInstanceId=\"i\"\n  -> anything",
            "s.txt:2:5: `groupInstanceId` is in no version that is asked; it is there from version 3 on",
        ),
        (
            "Heartbeat v4 @leeder(\"t\" 0)\n  -> anything",
            "s.txt:1:15: nobody is called `@leeder(…)`; is `leader` meant?",
        ),
        (
            "Heartbeat v4 later x\n    groupId=\"g\"",
            "s.txt:1:1: an answer that is awaited later needs a connection of its own; `connect a @…` before it, and `@a` in the request",
        ),
        ("await x -> anything", "s.txt:1:7: no request is called `x`"),
        (
            "for v in 0..3\n  pause 1ms",
            "s.txt:1:1: `for` without `end`; indent what belongs to it, and write `end` in the column where it begins",
        ),
        ("end", "s.txt:1:1: `end` ends nothing"),
        ("pause 5m", "s.txt:1:7: expected a time, such as `5s` or `200ms`"),
        ("pause 500s", "s.txt:1:7: more than 120 s"),
        ("use txm", "s.txt:1:5: there is no lib/txm.txt"),
        ("use own\ngreet", "s.txt:2:6: `greet` needs `code`"),
        ("use own\ngreet NONE NONE", "s.txt:2:12: `greet` has no place for `NONE`"),
        (
            "use own\ngreet NOPE",
            "lib/own.txt:4:8 (called at s.txt:2): `NOPE` is no error code; is `NONE` meant?",
        ),
        ("def f(x)\n  f <x>\nend\nf 1", "s.txt:2:3 (called at s.txt:4): `f` calls itself"),
        (
            "Heartbeat v4\n  -> errorCode=__",
            "s.txt:2:16: `__` is still to be filled in; `milena conformance --fill` writes what the cluster answers, `_` takes anything",
        ),
        (
            "topic T\nFetch v12\n  -> responses=[{partitions=[{records=[{ofset=0}]}]}]",
            "s.txt:3:41: a batch has no `ofset`; it has offset, last, n, pid, epoch, seq, txn, control, codec, timestamps, first-time, max-time, leader-epoch, magic, records, error",
        ),
        (
            "Produce v9\n    topicData=[{name=\"t\" partitionData=[{index=0 records=batsh()}]}]\n  -> anything",
            "s.txt:2:58: there is no function `batsh`; is `batch` meant?",
        ),
        (
            "connect a @group(\"g\")\nHeartbeat v4 @a later x\n    groupId=\"g\"\n",
            "s.txt:3:1: the answer to `x` is never awaited",
        ),
    ];
    let differ: Vec<_> =
        cases.iter().map(|(text, said)| (error(text), *said)).filter(|(a, b)| a != b).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn a_script_of_loops_has_an_end() {
    let text = "for a in 0..99\n  for b in 0..99\n    pause 1ms\n  end\nend\n";
    assert_eq!(error(text), "s.txt:3:5: more than 2000 statements");
}
