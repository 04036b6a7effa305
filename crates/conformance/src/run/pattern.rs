//! An answer held against what is expected.

use serde::Serialize;
use serde_json::Value as Json;

use super::{
    scope::{Place, Scope},
    show::{show, show_lasting},
};
use crate::{
    records::view,
    schema::{Path, Type, unbase64},
    script::{Entry, Value, is_error_code},
};

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where in the answer.
    pub at: String,
    /// What must be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What goes in the place of a `__`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// What there is, as scripts write it.
    pub text: String,
}

/// What came of a comparison.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) differences: Vec<Difference>,
    pub(super) captures: Vec<(String, Json)>,
    pub(super) filled: Vec<Filled>,
}

/// Compares a message with the fields that are expected of it.
pub(super) fn compare(
    scope: &Scope,
    entries: &[Entry],
    schema: &crate::schema::Schema,
    version: i16,
    json: &Json,
) -> Findings {
    let mut comparison = Comparison { scope, findings: Findings::default() };
    for entry in entries {
        let Some(field) = schema.fields.iter().find(|field| field.name == entry.name) else { continue };
        comparison.entry(entry, Place { schema, field, version }, json, &Path::default());
    }
    comparison.findings
}

struct Comparison<'s> {
    scope: &'s Scope,
    findings: Findings,
}

impl Comparison<'_> {
    fn entry(&mut self, entry: &Entry, place: Place<'_>, json: &Json, path: &Path) {
        if !place.field.versions.contain(place.version) {
            return;
        }
        let path = path.field(&entry.name);
        // A tagged field that is not there is at its default.
        let default;
        let found = match json.get(&entry.name) {
            Some(found) => found,
            None => {
                default = default_json(place);
                &default
            }
        };
        self.value(&entry.value, found, Some(place), &path);
    }

    fn value(&mut self, pattern: &Value, json: &Json, place: Option<Place<'_>>, path: &Path) {
        match pattern {
            Value::Anything => {}
            Value::Capture(name, inner) => {
                self.findings.captures.push((name.clone(), json.clone()));
                self.value(inner, json, place, path);
            }
            Value::Hole { line, column } => {
                let text = show_lasting(json, place, &self.scope.variables);
                self.findings.filled.push(Filled { line: *line, column: *column, text });
            }
            Value::Not(inner) => {
                if self.fits(inner, json, place, path) {
                    self.differ(pattern, json, place, path);
                }
            }
            Value::Either(choices) => {
                if !choices.iter().any(|choice| self.fits(choice, json, place, path)) {
                    self.differ(pattern, json, place, path);
                }
            }
            Value::Between(first, last) => {
                if !json.as_i64().is_some_and(|number| (*first..=*last).contains(&number)) {
                    self.differ(pattern, json, place, path);
                }
            }
            Value::Count(count) => {
                let bytes = json.as_str().and_then(unbase64).map(|bytes| bytes.len());
                let length = json.as_array().map(Vec::len).or(bytes);
                if length.and_then(|length| i64::try_from(length).ok()) != Some(*count) {
                    self.differ(pattern, json, place, path);
                }
            }
            Value::List(_) | Value::Contains(_) | Value::AnyOrder(_) => self.list(pattern, json, place, path),
            Value::Structure(entries) => self.structure(entries, pattern, json, place, path),
            _ => {
                let is_equal = self.scope.evaluate(pattern, place).is_ok_and(|value| value == *json);
                if !is_equal {
                    self.differ(pattern, json, place, path);
                }
            }
        }
    }

    fn structure(
        &mut self,
        entries: &[Entry],
        pattern: &Value,
        json: &Json,
        place: Option<Place<'_>>,
        path: &Path,
    ) {
        if !json.is_object() {
            return self.differ(pattern, json, place, path);
        }
        for entry in entries {
            let inside = place.and_then(|Place { schema, field, version }| {
                let Type::Structure(name) = &field.element else { return None };
                let field = schema.structure(name).iter().find(|field| field.name == entry.name)?;
                Some(Place { schema, field, version })
            });
            match inside {
                Some(inside) => self.entry(entry, inside, json, path),
                // A batch or a record.
                None => {
                    let found = json.get(&entry.name).unwrap_or(&Json::Null);
                    self.value(&entry.value, found, None, &path.field(&entry.name));
                }
            }
        }
    }

    fn list(&mut self, pattern: &Value, json: &Json, place: Option<Place<'_>>, path: &Path) {
        let batches;
        let (found, place) = match (place, json) {
            (Some(at), Json::String(bytes)) if at.field.element == Type::Bytes && !at.field.is_array => {
                batches = view(unbase64(bytes).unwrap_or_default());
                (batches.as_array(), None)
            }
            _ => (json.as_array(), place),
        };
        let Some(found) = found else { return self.differ(pattern, json, place, path) };
        match pattern {
            Value::List(patterns) => {
                if patterns.len() != found.len() {
                    self.differ(pattern, &found.clone().into(), place, path);
                    return;
                }
                for (at, (pattern, json)) in patterns.iter().zip(found).enumerate() {
                    self.value(pattern, json, place, &path.element(at));
                }
            }
            Value::Contains(patterns) => self.some(patterns, found, place, path),
            Value::AnyOrder(patterns) => {
                if patterns.len() != found.len() {
                    return self.differ(pattern, &found.clone().into(), place, path);
                }
                self.some(patterns, found, place, path);
            }
            _ => {}
        }
    }

    /// Every pattern has an element of its own.
    fn some(&mut self, patterns: &[Value], found: &[Json], place: Option<Place<'_>>, path: &Path) {
        let mut left: Vec<&Json> = found.iter().collect();
        for pattern in patterns {
            match left.iter().position(|json| self.fits(pattern, json, place, path)) {
                Some(at) => {
                    let json = left.remove(at);
                    self.value(pattern, json, place, path);
                }
                None => self.differ(pattern, &found.iter().cloned().collect(), place, path),
            }
        }
    }

    fn fits(&self, pattern: &Value, json: &Json, place: Option<Place<'_>>, path: &Path) -> bool {
        let mut other = Comparison { scope: self.scope, findings: Findings::default() };
        other.value(pattern, json, place, path);
        other.findings.differences.is_empty()
    }

    fn differ(&mut self, pattern: &Value, json: &Json, place: Option<Place<'_>>, path: &Path) {
        let expected = self.words(pattern, place);
        let found = show(json, place, &self.scope.variables);
        self.findings.differences.push(Difference { at: path.to_string(), expected, found });
    }

    /// The pattern in words, with the values of its variables.
    fn words(&self, pattern: &Value, place: Option<Place<'_>>) -> String {
        let list = |values: &[Value]| {
            values.iter().map(|value| self.words(value, place)).collect::<Vec<_>>().join(" ")
        };
        match pattern {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(number) => match place.filter(|place| is_error_code(place.field)) {
                Some(_) => show(&(*number).into(), place, &self.scope.variables),
                None => number.to_string(),
            },
            Value::Text(text) => format!("{text:?}"),
            Value::Word(word) => word.clone(),
            Value::Variable(name, more) => match self.scope.variable(name, *more) {
                Ok(value) if *more == 0 => format!("${name} ({value})"),
                Ok(value) => format!("${name}{more:+} ({value})"),
                Err(error) => error,
            },
            Value::List(values) => format!("[{}]", list(values)),
            Value::Contains(values) => format!("contains [{}]", list(values)),
            Value::AnyOrder(values) => format!("any-order [{}]", list(values)),
            Value::Structure(entries) => {
                let entry = |entry: &Entry| format!("{}={}", entry.name, self.words(&entry.value, place));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
            Value::Call { function, .. } => format!("{function}(…)"),
            Value::Anything | Value::Hole { .. } => "_".into(),
            Value::Capture(name, inner) => format!("?{name}:{}", self.words(inner, place)),
            Value::Not(inner) => format!("anything but {}", self.words(inner, place)),
            Value::Either(values) => {
                values.iter().map(|value| self.words(value, place)).collect::<Vec<_>>().join(" or ")
            }
            Value::Between(first, last) => format!("{first}..{last}"),
            Value::Count(count) => format!("{count} elements"),
        }
    }
}

fn default_json(place: Place<'_>) -> Json {
    place.schema.default_of(place.field).to_json(place.schema, place.field, place.version)
}
