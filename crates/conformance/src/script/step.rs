//! A request and what must be answered.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use milena_protocol::ApiKey;

use super::{
    Action, Expected, Place, Retry, Schemas, ScriptError, Step, Target,
    check::{check_expected, check_request},
    cursor::Cursor,
    expand::Expansion,
    statement::{api, duration, expected},
};
use crate::schema::Schema;

impl Expansion<'_> {
    /// `Api v3..5 [@whom] [once] [within 5s] [later NAME] [claims v9] [answered v0] [cut 1] fields -> …`
    pub(super) fn step(
        &mut self,
        cursor: &mut Cursor,
        name: &str,
        place: &Place,
    ) -> Result<Action, ScriptError> {
        let api = api(name, place)?;
        let schemas = schemas(api, place)?;
        let versions = versions(cursor, &schemas.request)?;
        let mut step = Step {
            api,
            versions,
            claimed: None,
            answered: None,
            cut: 0,
            target: Target::Bootstrap,
            retry: Retry::Passing,
            later: None,
            fields: Vec::new(),
            expected: Expected::Nothing,
            core_differs: self.core_differs.clone(),
            schemas,
        };
        while self.option(cursor, &mut step)? {}
        step.fields = cursor.entries()?;
        check_request(&step.fields, &step.schemas.request, &step.versions, &self.variables)?;
        if let Some(later) = &step.later {
            if !matches!(step.target, Target::Connection(_)) {
                let error = ScriptError::new(
                    place.clone(),
                    "an answer that is awaited later needs a connection of its own",
                );
                return Err(error.advise("`connect a @…` before it, and `@a` in the request"));
            }
            self.under_way.insert(later.clone(), step.schemas.clone());
            return Ok(Action::Step(Box::new(step)));
        }
        step.expected = expected(cursor)?;
        let versions = step.answered.map_or_else(|| step.versions.clone(), |version| vec![version]);
        check_expected(&step.expected, &step.schemas.response, &versions, &mut self.variables)?;
        Ok(Action::Step(Box::new(step)))
    }

    /// Whether an option stood here.
    fn option(&mut self, cursor: &mut Cursor, step: &mut Step) -> Result<bool, ScriptError> {
        cursor.skip_blank();
        if cursor.peek() == Some('@') {
            step.target = self.target(cursor)?;
        } else if cursor.take_word("once") {
            step.retry = Retry::Once;
        } else if cursor.take_word("within") {
            cursor.skip_blank();
            step.retry = Retry::Within(duration(cursor)?);
        } else if cursor.take_word("later") {
            cursor.skip_blank();
            step.later = Some(cursor.word().ok_or_else(|| cursor.error("expected a name after `later`"))?);
        } else if cursor.take_word("claims") {
            step.claimed = Some(version(cursor)?);
        } else if cursor.take_word("answered") {
            step.answered = Some(version(cursor)?);
        } else if cursor.take_word("cut") {
            cursor.skip_blank();
            let count = cursor.integer()?.and_then(|count| usize::try_from(count).ok());
            step.cut = count.ok_or_else(|| cursor.error("expected a number of bytes"))?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

fn version(cursor: &mut Cursor) -> Result<i16, ScriptError> {
    let place = cursor.place();
    cursor.skip_blank();
    cursor.take("v");
    let number = cursor.integer()?.and_then(|number| i16::try_from(number).ok());
    number.ok_or_else(|| ScriptError::new(place, "expected a version, such as `v9`"))
}

/// `v9`, `v3..13`
fn versions(cursor: &mut Cursor, schema: &Schema) -> Result<Vec<i16>, ScriptError> {
    let place = cursor.place();
    let first = version(cursor)?;
    let last = if cursor.take("..") { version(cursor)? } else { first };
    let known = schema.valid;
    if first > last || !known.contain(first) || !known.contain(last) {
        let asked = if first == last { first.to_string() } else { format!("{first}..{last}") };
        let error = ScriptError::new(place, format!("{} has no version {asked}", schema.name));
        return Err(error.advise(format!("it has {} to {}", known.first, known.last)));
    }
    Ok((first..=last).collect())
}

/// The schemas of an API, which are parsed once.
fn schemas(api: ApiKey, place: &Place) -> Result<Schemas, ScriptError> {
    static PARSED: LazyLock<Mutex<BTreeMap<ApiKey, Schemas>>> = LazyLock::new(Mutex::default);
    let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(schemas) = parsed.get(&api) {
        return Ok(schemas.clone());
    }
    let find = |kind: &str| {
        let name = format!("{}{kind}", api.name());
        let schema = Schema::find(&name).map(Arc::new);
        schema.ok_or_else(|| ScriptError::new(place.clone(), format!("Milena has no schema of {name}")))
    };
    let schemas = Schemas { request: find("Request")?, response: find("Response")? };
    parsed.insert(api, schemas.clone());
    Ok(schemas)
}
