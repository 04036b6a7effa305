//! Answers as scripts write them.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use serde_json::Value as Json;

use super::scope::Place;
use crate::{
    records::view,
    schema::{Type, unbase64},
    script::is_error_code,
};

/// Below this, a number is more likely itself than the value of a variable.
const SMALL: i64 = 1_000;

/// From here on a number is a time in milliseconds since 1970.
const MANY_MS: i64 = 1_000_000_000_000;

/// Longest that is shown.
const LONGEST: usize = 4_000;

/// What of a batch is shown.
const OF_BATCH: [&str; 7] = ["offset", "n", "pid", "epoch", "seq", "txn", "control"];

/// A value, with the names of variables that have it.
pub(super) fn show(json: &Json, place: Option<Place<'_>>, variables: &BTreeMap<String, Json>) -> String {
    let mut text = String::new();
    Show { variables, text: &mut text, lasting: false }.value(json, place, "");
    if let Some((at, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// The same as a pattern that also fits next time: times and the epochs of coordinators are only told from nothing.
pub(super) fn show_lasting(
    json: &Json,
    place: Option<Place<'_>>,
    variables: &BTreeMap<String, Json>,
) -> String {
    let mut text = String::new();
    let name = place.map(|place| place.field.name.clone()).unwrap_or_default();
    Show { variables, text: &mut text, lasting: true }.value(json, place, &name);
    text
}

struct Show<'s> {
    variables: &'s BTreeMap<String, Json>,
    text: &'s mut String,
    lasting: bool,
}

impl Show<'_> {
    fn value(&mut self, json: &Json, place: Option<Place<'_>>, name: &str) {
        match json {
            Json::Null => self.text.push_str("null"),
            Json::Bool(value) => self.text.push_str(if *value { "true" } else { "false" }),
            Json::Number(number) => self.number(number, json, place, name),
            Json::String(text) => self.string(text, json, place),
            Json::Array(elements) => self.list(elements, place),
            Json::Object(fields) if place.is_none() && fields.contains_key("epoch") => {
                self.fields(OF_BATCH.iter().map(|name| ((*name).to_owned(), None)), json);
            }
            Json::Object(fields) => {
                let inside = place.and_then(|Place { schema, field, version }| match &field.element {
                    Type::Structure(name) => Some((schema, schema.structure(name), version)),
                    _ => None,
                });
                let names: Vec<_> = match inside {
                    Some((schema, known, version)) => known
                        .iter()
                        .map(|field| (field.name.clone(), Some(Place { schema, field, version })))
                        .collect(),
                    None => fields.keys().map(|name| (name.clone(), None)).collect(),
                };
                self.fields(names.into_iter(), json);
            }
        }
    }

    fn fields<'p>(&mut self, names: impl Iterator<Item = (String, Option<Place<'p>>)>, json: &Json) {
        self.text.push('{');
        let mut is_first = true;
        for (name, place) in names {
            let Some(value) = json.get(&name).filter(|value| place.is_some() || !value.is_null()) else {
                continue;
            };
            if !std::mem::take(&mut is_first) {
                self.text.push(' ');
            }
            self.text.push_str(&name);
            self.text.push('=');
            self.value(value, place, &name);
        }
        self.text.push('}');
    }

    fn list(&mut self, elements: &[Json], place: Option<Place<'_>>) {
        self.text.push('[');
        for (at, element) in elements.iter().enumerate() {
            if at > 0 {
                self.text.push(' ');
            }
            self.value(element, place, "");
        }
        self.text.push(']');
    }

    fn number(&mut self, number: &serde_json::Number, json: &Json, place: Option<Place<'_>>, name: &str) {
        let value = number.as_i64().unwrap_or_default();
        let code = place.filter(|place| is_error_code(place.field)).and_then(|_| i16::try_from(value).ok());
        if let Some(name) = code.and_then(|code| ErrorCode(code).name()) {
            return self.text.push_str(name);
        }
        let is_id = value >= 0 && (name == "pid" || name.ends_with("roducerId"));
        let same =
            self.variable(json, |variable| if is_id { variable.ends_with(".id") } else { value >= SMALL });
        let is_passing = value > MANY_MS || name == "coordinatorEpoch" && (0..SMALL).contains(&value);
        match same {
            Some(name) => {
                self.text.push('$');
                self.text.push_str(&name);
            }
            None if self.lasting && is_passing => self.text.push_str("!-1"),
            None => self.text.push_str(&number.to_string()),
        }
    }

    fn string(&mut self, text: &str, json: &Json, place: Option<Place<'_>>) {
        if let Some(name) = self.variable(json, |_| !text.is_empty()) {
            self.text.push('$');
            return self.text.push_str(&name);
        }
        let bytes = place.filter(|place| place.field.element == Type::Bytes).and_then(|_| unbase64(text));
        let Some(bytes) = bytes else { return self.text.push_str(&format!("{text:?}")) };
        if place.is_some_and(|place| place.field.name == "records") {
            return self.value(&view(bytes), None, "");
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.chars().all(|letter| !letter.is_control()) => {
                self.text.push_str(&format!("{text:?}"));
            }
            _ => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                self.text.push_str(&format!("hex(\"{digits}\")"));
            }
        }
    }

    /// The variable with this value, of those that fit, that has the shortest name.
    fn variable(&self, json: &Json, fits: impl Fn(&str) -> bool) -> Option<String> {
        let same =
            self.variables.iter().filter(|(name, value)| *value == json && fits(name)).map(|(name, _)| name);
        same.min_by_key(|name| name.len()).cloned()
    }
}
