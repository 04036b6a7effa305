//! One request and its answer.

use std::time::Duration;

use milena_protocol::{ApiKey, ErrorCode};
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};

use super::{
    connection::{Broken, BrokenKind, Connection},
    pattern::{Findings, compare},
    performance::{Next, Performance},
    verify::{self, Answer},
};
use crate::{
    report::{Check, FailureKind},
    schema::{Schema, write},
    script::{Entry, Expected, Place, Retry, Schemas, Step, Target, Value, is_error_code_name},
};

/// How long an answer may take, and how long a code that passes by itself may last.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long nothing must come where nothing is expected.
const SILENCE: Duration = Duration::from_millis(100);

/// How long until a request is sent again.
const PAUSE: Duration = Duration::from_millis(25);

/// Codes that say that the brokers are not so far yet.
const PASSING: [ErrorCode; 6] = [
    ErrorCode::CONCURRENT_TRANSACTIONS,
    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ErrorCode::NOT_COORDINATOR,
    ErrorCode::NOT_ENOUGH_REPLICAS,
    ErrorCode::NOT_LEADER_OR_FOLLOWER,
];

/// A request whose answer is awaited later.
pub(super) struct Pending {
    connection: String,
    id: i32,
    api: ApiKey,
    version: i16,
    schemas: Schemas,
}

/// What came back.
enum Reply {
    Answer(Answer),
    Nothing,
    Closed,
}

/// A reply held against what is expected.
struct Judged {
    findings: Findings,
    wrong_bytes: Option<String>,
    /// It says something else altogether, such as that the connection is closed.
    other: Option<String>,
    passing: bool,
}

impl Performance {
    pub(super) async fn step(&mut self, step: &Step, place: &Place, turn: Option<usize>) -> Next {
        let is_offered = |version: &i16| step.claimed.is_some() || self.cluster.offers(step.api, *version);
        let (offered, missing): (Vec<i16>, Vec<i16>) = step.versions.iter().copied().partition(is_offered);
        self.outcome.not_offered.extend(missing.iter().map(|version| (step.api, *version)));
        if offered.is_empty() {
            self.skipped_turn = turn;
            let version = missing.first().copied().unwrap_or_default();
            if turn.is_some() {
                return Next::GoOn;
            }
            self.outcome.skipped = Some(format!("{} v{version} is not offered", step.api.name()));
            return Next::Stop;
        }
        for (at, version) in offered.into_iter().enumerate() {
            self.scope.set("v", version);
            self.scope.set("i", at);
            if let Some(later) = &step.later {
                if let Err(message) = self.send_later(step, version, later).await {
                    self.fail(place, Some((step.api, version)), FailureKind::Stopped(message), None);
                    return Next::Stop;
                }
                continue;
            }
            let judged = self.until_settled(step, version).await;
            let request = (step.api, step.claimed.unwrap_or(version));
            let next = self.conclude(judged, request, &step.expected, step.core_differs.as_ref(), place);
            if matches!(next, Next::Stop) {
                return next;
            }
        }
        Next::GoOn
    }

    /// Sends the request until the answer is one to be judged.
    async fn until_settled(&mut self, step: &Step, version: i16) -> Result<Judged, String> {
        let patience = if let Retry::Within(within) = step.retry { within } else { PATIENCE };
        let deadline = Instant::now() + patience;
        loop {
            let reply = self.exchange(step, version).await?;
            let answered = step.answered.unwrap_or(version);
            let judged = self.judge(reply, &step.expected, &step.schemas.response, answered);
            let again = match step.retry {
                Retry::Once => false,
                Retry::Passing => judged.passing,
                Retry::Within(_) => !judged.is_good(),
            };
            if !again || Instant::now() >= deadline {
                return Ok(judged);
            }
            if judged.passing {
                self.addresses.clear();
            }
            sleep(PAUSE).await;
        }
    }

    async fn exchange(&mut self, step: &Step, version: i16) -> Result<Reply, String> {
        let (name, mut connection) = self.connection(&step.target).await?;
        let id = connection.next_id();
        let frame = self.frame(step, version, id)?;
        let answered = step.answered.unwrap_or(version);
        let within = if matches!(step.expected, Expected::Nothing) { SILENCE } else { PATIENCE };
        let reply = match connection.send(&frame).await {
            Ok(()) => connection.receive(within).await,
            Err(broken) => Err(broken),
        };
        match reply {
            Ok(frame) => {
                self.connections.insert(name, connection);
                let answer = verify::read(&frame, id, step.api, answered, &step.schemas.response)?;
                Ok(Reply::Answer(answer))
            }
            Err(Broken { kind: BrokenKind::Timeout(_), .. })
                if matches!(step.expected, Expected::Nothing) =>
            {
                self.connections.insert(name, connection);
                Ok(Reply::Nothing)
            }
            Err(Broken { kind: BrokenKind::Closed, .. }) => Ok(Reply::Closed),
            Err(broken) => Err(broken.to_string()),
        }
    }

    /// The connection to whom a step names, which is taken out and has to be put back.
    async fn connection(&mut self, target: &Target) -> Result<(String, Connection), String> {
        if let Target::Connection(name) = target {
            let connection = self.connections.remove(name);
            let connection = connection.ok_or_else(|| format!("no connection is called `{name}`"))?;
            return Ok((name.clone(), connection));
        }
        let address = self.address(target).await?;
        let connection = match self.connections.remove(&address) {
            Some(connection) => connection,
            None => Connection::open(&address).await.map_err(|broken| broken.to_string())?,
        };
        Ok((address, connection))
    }

    fn frame(&self, step: &Step, version: i16, id: i32) -> Result<Vec<u8>, String> {
        let schema = &step.schemas.request;
        let message = self.scope.message(&step.fields, schema, version)?;
        let structure = schema.structure_of(&message).map_err(|error| error.to_string())?;
        let mut body = write(schema, &structure, version).map_err(|refusal| {
            format!("version {version} of {} can't carry the request: {refusal:?}", schema.name)
        })?;
        body.truncate(body.len().saturating_sub(step.cut));
        let mut frame = Vec::new();
        frame.extend(step.api.code().to_be_bytes());
        frame.extend(step.claimed.unwrap_or(version).to_be_bytes());
        frame.extend(id.to_be_bytes());
        let client = b"milena-conformance";
        frame.extend((client.len() as i16).to_be_bytes());
        frame.extend(client);
        if schema.flexible.contain(version) {
            // No tagged fields.
            frame.push(0);
        }
        frame.extend(body);
        let length = i32::try_from(frame.len()).map_err(|_| "the request is too long".to_owned())?;
        Ok([&length.to_be_bytes()[..], &frame].concat())
    }

    async fn send_later(&mut self, step: &Step, version: i16, later: &str) -> Result<(), String> {
        let (name, mut connection) = self.connection(&step.target).await?;
        let id = connection.next_id();
        let frame = self.frame(step, version, id)?;
        connection.send(&frame).await.map_err(|broken| broken.to_string())?;
        self.connections.insert(name.clone(), connection);
        let pending = Pending { connection: name, id, api: step.api, version, schemas: step.schemas.clone() };
        self.pending.insert(later.to_owned(), pending);
        Ok(())
    }

    pub(super) async fn awaited(
        &mut self,
        name: &str,
        expected: &Expected,
        within: Duration,
        core_differs: Option<&String>,
        place: &Place,
    ) -> Next {
        let Some(pending) = self.pending.remove(name) else {
            let message = format!("no request called `{name}` is under way");
            self.fail(place, None, FailureKind::Stopped(message), None);
            return Next::Stop;
        };
        let judged = match self.connections.get_mut(&pending.connection) {
            None => Err(format!("no connection is called `{}`", pending.connection)),
            Some(connection) => match connection.receive(within).await {
                Ok(frame) => {
                    let schema = &pending.schemas.response;
                    verify::read(&frame, pending.id, pending.api, pending.version, schema).map(Reply::Answer)
                }
                Err(Broken { kind: BrokenKind::Closed, .. }) => Ok(Reply::Closed),
                Err(Broken { kind: BrokenKind::Timeout(_), .. }) if matches!(expected, Expected::Nothing) => {
                    Ok(Reply::Nothing)
                }
                Err(broken) => Err(broken.to_string()),
            },
        };
        let judged =
            judged.map(|reply| self.judge(reply, expected, &pending.schemas.response, pending.version));
        self.conclude(judged, (pending.api, pending.version), expected, core_differs, place)
    }

    fn judge(&self, reply: Reply, expected: &Expected, schema: &Schema, version: i16) -> Judged {
        let mut judged =
            Judged { findings: Findings::default(), wrong_bytes: None, other: None, passing: false };
        match (reply, expected) {
            (Reply::Answer(answer), Expected::Fields(entries)) => {
                judged.findings = compare(&self.scope, entries, schema, version, &answer.json);
                judged.wrong_bytes = answer.wrong_bytes;
                judged.passing = is_passing(&answer.json, entries);
            }
            (Reply::Nothing, Expected::Nothing) | (Reply::Closed, Expected::Closed) => {}
            (Reply::Answer(answer), _) => {
                judged.other = Some(format!("expected no answer, found {}", answer.json));
            }
            (Reply::Closed, _) => judged.other = Some("the broker closed the connection".into()),
            (Reply::Nothing, _) => {
                judged.other = Some("expected the connection to be closed; it is open".into());
            }
        }
        judged
    }

    /// Notes what came of a request.
    fn conclude(
        &mut self,
        judged: Result<Judged, String>,
        request: (ApiKey, i16),
        expected: &Expected,
        core_differs: Option<&String>,
        place: &Place,
    ) -> Next {
        let (api, version) = request;
        let judged = match judged {
            Ok(judged) => judged,
            Err(message) => {
                self.outcome.checks.push(Check { api, version, passed: false });
                self.fail(place, Some(request), FailureKind::Stopped(message), core_differs);
                return Next::Stop;
            }
        };
        let passed = judged.is_good();
        self.outcome.checks.push(Check { api, version, passed });
        if passed && core_differs.is_some() && self.is_core() {
            self.outcome.stale.push(place.clone());
        }
        let Judged { findings, wrong_bytes, other, .. } = judged;
        let is_other = other.is_some();
        for (name, value) in findings.captures {
            self.scope.set(&name, value);
        }
        self.outcome.filled.extend(findings.filled);
        if let Some(message) = wrong_bytes {
            self.fail(place, Some(request), FailureKind::Bytes(message), core_differs);
        }
        if !findings.differences.is_empty() {
            self.fail(place, Some(request), FailureKind::Words(findings.differences), core_differs);
        }
        if let Some(message) = other {
            self.fail(place, Some(request), FailureKind::Stopped(message), core_differs);
        }
        let missing = !passed && matches!(expected, Expected::Fields(entries) if self.lacks(entries));
        if is_other || missing { Next::Stop } else { Next::GoOn }
    }

    /// Whether a variable that these fields give a value has none.
    fn lacks(&self, entries: &[Entry]) -> bool {
        let mut lacks = false;
        for entry in entries {
            entry.value.each(&mut |value| {
                if let Value::Capture(name, _) = value {
                    lacks |= !self.scope.variables.contains_key(name);
                }
            });
        }
        lacks
    }
}

impl Judged {
    const fn is_good(&self) -> bool {
        self.findings.differences.is_empty() && self.wrong_bytes.is_none() && self.other.is_none()
    }
}

/// Whether an answer has a code that passes by itself and that nobody expects.
fn is_passing(json: &Json, expected: &[Entry]) -> bool {
    let mut words = Vec::new();
    for entry in expected {
        entry.value.each(&mut |value| {
            if let Value::Word(word) = value {
                words.push(word.clone());
            }
        });
    }
    let mut found = false;
    each_code(json, &mut |code| {
        found |= PASSING.contains(&code) && !words.iter().any(|word| Some(&**word) == code.name());
    });
    found
}

fn each_code(json: &Json, visit: &mut impl FnMut(ErrorCode)) {
    match json {
        Json::Object(fields) => {
            for (name, value) in fields {
                match value.as_i64().and_then(|code| i16::try_from(code).ok()) {
                    Some(code) if is_error_code_name(name) => visit(ErrorCode(code)),
                    _ => each_code(value, visit),
                }
            }
        }
        Json::Array(elements) => elements.iter().for_each(|element| each_code(element, visit)),
        _ => {}
    }
}
