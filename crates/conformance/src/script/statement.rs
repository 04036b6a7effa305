//! One statement that is no request.

use std::{collections::BTreeMap, time::Duration};

use milena_protocol::ApiKey;

use super::{
    Action, Expected, Place, Role, ScriptError, Statement, Target, TopicSpec,
    check::{check_expected, check_variables},
    cursor::Cursor,
    expand::Expansion,
};

/// How long an answer may take that nothing else is said of.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Longest that a script may ask for at once.
const LONGEST: Duration = Duration::from_secs(120);

const KEYWORDS: [&str; 15] = [
    "topic",
    "group",
    "transactional-id",
    "new-topic",
    "name",
    "set",
    "pause",
    "connect",
    "close",
    "await",
    "needs",
    "use",
    "def",
    "for",
    "core",
];

impl Expansion<'_> {
    pub(super) fn statement(
        &mut self,
        cursor: &mut Cursor,
        place: Place,
        turn: Option<usize>,
    ) -> Result<(), ScriptError> {
        let word =
            cursor.word().ok_or_else(|| cursor.error(format!("expected a statement{}", cursor.found())))?;
        cursor.skip_spaces();
        let action = match &*word {
            "needs" => return self.needs(cursor),
            "topic" => self.topic(cursor)?,
            "group" => self.name(cursor, Role::Group)?,
            "transactional-id" => self.name(cursor, Role::TransactionalId)?,
            "new-topic" => self.name(cursor, Role::Topic)?,
            "name" => self.name(cursor, Role::Plain)?,
            "set" => self.set(cursor)?,
            "pause" => Action::Pause(duration(cursor)?),
            "connect" => self.connect(cursor)?,
            "close" => Action::Close(cursor.word().ok_or_else(|| cursor.error("expected a connection"))?),
            "await" => self.awaited(cursor)?,
            name if name.starts_with(char::is_uppercase) => self.step(cursor, name, &place)?,
            name => {
                let error = ScriptError::new(place, format!("`{name}` is no statement"));
                return Err(error.suggest(name, KEYWORDS.into_iter().chain(self.defined())));
            }
        };
        if !cursor.is_done() {
            return Err(cursor.error(format!("expected the end of `{word}`{}", cursor.found())));
        }
        self.push(Statement { place, turn, action })
    }

    fn needs(&mut self, cursor: &mut Cursor) -> Result<(), ScriptError> {
        if !cursor.take_word("brokers") {
            return Err(cursor.error("expected `brokers`").advise("write `needs brokers 2`"));
        }
        cursor.skip_blank();
        let count = cursor.integer()?.and_then(|count| usize::try_from(count).ok());
        self.script.brokers = count.ok_or_else(|| cursor.error("expected a number"))?;
        Ok(())
    }

    fn topic(&mut self, cursor: &mut Cursor) -> Result<Action, ScriptError> {
        let variable = cursor.word().ok_or_else(|| cursor.error("expected a name for the topic"))?;
        let mut topic =
            TopicSpec { variable: variable.clone(), partitions: 1, replicas: 0, settings: BTreeMap::new() };
        while !cursor.is_done() {
            let place = cursor.place();
            if let Some(setting) = cursor.quoted()? {
                cursor.expect("=")?;
                let value = cursor.quoted()?.ok_or_else(|| cursor.error("expected a value in quotes"))?;
                topic.settings.insert(setting, value);
                continue;
            }
            let word = cursor.word().unwrap_or_default();
            cursor.expect("=")?;
            let number = cursor.integer()?.ok_or_else(|| cursor.error("expected a number"))?;
            let wrong = || ScriptError::new(place.clone(), format!("{number} is out of range"));
            match &*word {
                "partitions" => topic.partitions = i32::try_from(number).map_err(|_| wrong())?,
                "replicas" => topic.replicas = i16::try_from(number).map_err(|_| wrong())?,
                other => {
                    let error = ScriptError::new(place, format!("a topic has no `{other}`"));
                    return Err(error.advise("settings are written in quotes: `\"retention.ms\"=\"1\"`"));
                }
            }
        }
        self.variables.insert(format!("{variable}.id"));
        self.variables.insert(variable);
        Ok(Action::Topic(topic))
    }

    fn name(&mut self, cursor: &mut Cursor, role: Role) -> Result<Action, ScriptError> {
        let variable = cursor.word().ok_or_else(|| cursor.error("expected a name"))?;
        self.variables.insert(variable.clone());
        Ok(Action::Name { variable, role })
    }

    fn set(&mut self, cursor: &mut Cursor) -> Result<Action, ScriptError> {
        let variable = cursor.word().ok_or_else(|| cursor.error("expected a name"))?;
        cursor.expect("=")?;
        let place = cursor.place();
        let value = cursor.value()?;
        check_variables(&value, &self.variables, &place)?;
        self.variables.insert(variable.clone());
        Ok(Action::Set { variable, value })
    }

    fn connect(&mut self, cursor: &mut Cursor) -> Result<Action, ScriptError> {
        let name = cursor.word().ok_or_else(|| cursor.error("expected a name for the connection"))?;
        cursor.skip_blank();
        Ok(Action::Connect { name, target: self.target(cursor)? })
    }

    /// `await NAME [within 5s] -> …`
    fn awaited(&mut self, cursor: &mut Cursor) -> Result<Action, ScriptError> {
        let place = cursor.place();
        let name = cursor.word().ok_or_else(|| cursor.error("expected the name of a request"))?;
        cursor.skip_blank();
        let mut within = PATIENCE;
        if cursor.take_word("within") {
            cursor.skip_blank();
            within = duration(cursor)?;
        }
        let Some(schemas) = self.under_way.remove(&name) else {
            let error = ScriptError::new(place, format!("no request is called `{name}`"));
            return Err(error.suggest(&name, self.under_way.keys().map(String::as_str)));
        };
        let expected = expected(cursor)?;
        let versions = [schemas.response.valid.last];
        check_expected(&expected, &schemas.response, &versions, &mut self.variables)?;
        Ok(Action::Await { name, expected, within, core_differs: self.core_differs.clone() })
    }

    pub(super) fn target(&mut self, cursor: &mut Cursor) -> Result<Target, ScriptError> {
        cursor.expect("@")?;
        let place = cursor.place();
        let word = cursor.word().ok_or_else(|| cursor.error("expected somebody to ask after `@`"))?;
        if !cursor.take("(") {
            return Ok(if word == "bootstrap" { Target::Bootstrap } else { Target::Connection(word) });
        }
        cursor.skip_blank();
        if word == "broker" {
            let number = cursor.integer()?.and_then(|number| usize::try_from(number).ok());
            let number =
                number.filter(|number| *number > 0).ok_or_else(|| cursor.error("expected a number"))?;
            cursor.skip_blank();
            cursor.expect(")")?;
            self.script.brokers = self.script.brokers.max(number);
            return Ok(Target::Broker(number));
        }
        let name = cursor.value()?;
        check_variables(&name, &self.variables, &place)?;
        cursor.skip_blank();
        let partition = cursor.integer()?.and_then(|number| i32::try_from(number).ok());
        cursor.skip_blank();
        cursor.expect(")")?;
        if word.starts_with("not-") {
            self.script.brokers = self.script.brokers.max(2);
        }
        match &*word {
            "leader" => Ok(Target::Leader(name, partition.unwrap_or_default())),
            "not-leader" => Ok(Target::NotLeader(name, partition.unwrap_or_default())),
            "group" => Ok(Target::Group(name)),
            "not-group" => Ok(Target::NotGroup(name)),
            "txn" => Ok(Target::Transaction(name)),
            "not-txn" => Ok(Target::NotTransaction(name)),
            other => {
                let known =
                    ["leader", "not-leader", "group", "not-group", "txn", "not-txn", "broker", "bootstrap"];
                Err(ScriptError::new(place, format!("nobody is called `@{other}(…)`")).suggest(other, known))
            }
        }
    }
}

/// `-> …`
pub(super) fn expected(cursor: &mut Cursor) -> Result<Expected, ScriptError> {
    cursor.skip_blank();
    if !cursor.take("->") {
        let error = cursor.error(format!("expected `->` and what must be answered{}", cursor.found()));
        return Err(error.advise("`-> anything` takes whatever comes"));
    }
    cursor.skip_blank();
    if cursor.take_word("nothing") {
        return Ok(Expected::Nothing);
    }
    if cursor.take_word("closed") {
        return Ok(Expected::Closed);
    }
    if cursor.take_word("anything") {
        return Ok(Expected::Fields(Vec::new()));
    }
    cursor.entries().map(Expected::Fields)
}

/// `5s`, `200ms`
pub(super) fn duration(cursor: &mut Cursor) -> Result<Duration, ScriptError> {
    let place = cursor.place();
    let number = cursor.integer()?.and_then(|number| u64::try_from(number).ok());
    let unit = cursor.word().unwrap_or_default();
    let duration = match (number, &*unit) {
        (Some(number), "s") => Duration::from_secs(number),
        (Some(number), "ms") => Duration::from_millis(number),
        _ => return Err(ScriptError::new(place, "expected a time, such as `5s` or `200ms`")),
    };
    if duration > LONGEST {
        return Err(ScriptError::new(place, format!("more than {} s", LONGEST.as_secs())));
    }
    Ok(duration)
}

/// The API of this name.
pub(super) fn api(name: &str, place: &Place) -> Result<ApiKey, ScriptError> {
    let found = ApiKey::ALL.iter().find(|api| api.name() == name);
    found.copied().ok_or_else(|| {
        let error = ScriptError::new(place.clone(), format!("Kafka has no API `{name}`"));
        error.suggest(name, ApiKey::ALL.iter().map(|api| api.name()))
    })
}
