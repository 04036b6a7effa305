//! Scripts: what is asked, and what must be answered.
//!
//! - [`Script`] and what it is made of;
//! - `lines`, `expand`: lines to statements, with definitions put in the place of their calls;
//! - `cursor`, `value`, `statement`, `step`: the text of one statement;
//! - `check`: whether the fields that it names exist;
//! - [`ScriptError`]: what is wrong with a script, where, and what may be meant.

mod check;
mod cursor;
mod error;
mod expand;
mod library;
mod lines;
mod statement;
mod step;
mod value;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use milena_protocol::ApiKey;

use crate::schema::Schema;

pub(crate) use check::{is_error_code, is_error_code_name};
pub use error::{Place, ScriptError};
pub use library::{LoadError, Source, builtin, from_folder, parse};
pub use value::{Entry, Value};

/// A script: statements that are carried out one after the other.
#[derive(Clone, Debug)]
pub struct Script {
    /// The name of its file, without folder and ending.
    pub name: String,
    /// What it is about: the first line of the comment that it begins with.
    pub title: String,
    /// Fewest brokers that it makes sense on.
    pub brokers: usize,
    /// Why Milena's embedded broker may answer otherwise anywhere in the script.
    pub core_differs: Option<String>,
    /// What it does.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Where it stands.
    pub place: Place,
    /// Which turn of which loop it belongs to. When a version is not offered, the rest of the turn is passed over.
    pub turn: Option<usize>,
    /// What it does.
    pub action: Action,
}

/// What a statement does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Creates a topic with a name of its own, and waits until every broker knows its leaders.
    Topic(TopicSpec),
    /// Makes up a name that nobody else uses.
    Name {
        /// The variable that holds it.
        variable: String,
        /// What it will name.
        role: Role,
    },
    /// Gives a variable a value.
    Set {
        /// The variable.
        variable: String,
        /// Its value.
        value: Value,
    },
    /// Does nothing for a while.
    Pause(Duration),
    /// Opens a connection of its own.
    Connect {
        /// What it is called.
        name: String,
        /// To whom.
        target: Target,
    },
    /// Closes a connection.
    Close(String),
    /// Sends a request and holds the answer against what is expected.
    Step(Box<Step>),
    /// Holds the answer to a request that was sent earlier against what is expected.
    Await {
        /// What the request was called.
        name: String,
        /// What must be answered.
        expected: Expected,
        /// How long the answer may take.
        within: Duration,
        /// Why Milena's embedded broker answers otherwise.
        core_differs: Option<String>,
    },
}

/// What a made-up name is for: what must be removed in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A group.
    Group,
    /// A transactional id, which the cluster forgets by itself.
    TransactionalId,
    /// A topic that the script creates with CreateTopics.
    Topic,
    /// Anything else.
    Plain,
}

/// A topic to be created.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// The variable that holds its name; with `.id` behind it, its id.
    pub variable: String,
    /// Partitions.
    pub partitions: i32,
    /// Replicas; zero is three, or as many as there are brokers.
    pub replicas: i16,
    /// Settings of its own.
    pub settings: BTreeMap<String, String>,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The first broker that the run was told of.
    Bootstrap,
    /// The broker with this place in the list of brokers, from 1, sorted by id.
    Broker(usize),
    /// The leader of a partition of a topic.
    Leader(Value, i32),
    /// A broker that does not lead the partition.
    NotLeader(Value, i32),
    /// The coordinator of a group.
    Group(Value),
    /// The coordinator of a transactional id.
    Transaction(Value),
    /// A broker that does not coordinate the group.
    NotGroup(Value),
    /// A broker that does not coordinate the transactional id.
    NotTransaction(Value),
    /// A connection that was opened before.
    Connection(String),
}

/// A request and what must be answered.
#[derive(Clone, Debug)]
pub struct Step {
    /// The API.
    pub api: ApiKey,
    /// The versions, each of which is asked in turn.
    pub versions: Vec<i16>,
    /// The version that the header claims, where it is not that of the bytes.
    pub claimed: Option<i16>,
    /// The version of the answer, where it is not that of the request.
    pub answered: Option<i16>,
    /// Bytes that are left away at the end of the request.
    pub cut: usize,
    /// Whom to ask.
    pub target: Target,
    /// When to ask again.
    pub retry: Retry,
    /// The name by which the answer is awaited later.
    pub later: Option<String>,
    /// The fields of the request.
    pub fields: Vec<Entry>,
    /// What must be answered.
    pub expected: Expected,
    /// Why Milena's embedded broker answers otherwise.
    pub core_differs: Option<String>,
    /// How the two messages look.
    pub schemas: Schemas,
}

/// The schemas of a request and of its answer.
#[derive(Clone, Debug)]
pub struct Schemas {
    /// Of the request.
    pub request: Arc<Schema>,
    /// Of the response.
    pub response: Arc<Schema>,
}

/// When a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// While it is answered with a code that passes by itself, such as CONCURRENT_TRANSACTIONS, and that is not expected.
    Passing,
    /// Never.
    Once,
    /// Until it is answered as expected, for so long.
    Within(Duration),
}

/// What must be answered.
#[derive(Clone, Debug)]
pub enum Expected {
    /// These fields; others may hold anything.
    Fields(Vec<Entry>),
    /// Nothing at all.
    Nothing,
    /// The broker closes the connection.
    Closed,
}
