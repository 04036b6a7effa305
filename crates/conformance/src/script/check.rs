//! Whether the fields that a statement names exist, in the versions that it is about.

use std::collections::BTreeSet;

use milena_protocol::ErrorCode;

use super::{Entry, Expected, Place, ScriptError, Value};
use crate::{
    records,
    schema::{Field, Schema, Type},
};

pub(super) fn check_request(
    entries: &[Entry],
    schema: &Schema,
    versions: &[i16],
    variables: &BTreeSet<String>,
) -> Result<(), ScriptError> {
    let check = Check { schema, versions, is_request: true };
    check.entries(entries, &schema.fields)?;
    entries.iter().try_for_each(|entry| check_variables(&entry.value, variables, &entry.place))
}

/// Checks what is expected, and adds the variables that it gives a value.
pub(super) fn check_expected(
    expected: &Expected,
    schema: &Schema,
    versions: &[i16],
    variables: &mut BTreeSet<String>,
) -> Result<(), ScriptError> {
    let Expected::Fields(entries) = expected else { return Ok(()) };
    let check = Check { schema, versions, is_request: false };
    check.entries(entries, &schema.fields)?;
    entries.iter().try_for_each(|entry| check_variables(&entry.value, variables, &entry.place))?;
    entries.iter().for_each(|entry| captures(&entry.value, variables));
    Ok(())
}

pub(super) fn check_variables(
    value: &Value,
    variables: &BTreeSet<String>,
    place: &Place,
) -> Result<(), ScriptError> {
    let mut unknown = None;
    value.each(&mut |value| match value {
        Value::Variable(name, _) if !variables.contains(name) => {
            unknown.get_or_insert(name);
        }
        _ => {}
    });
    let Some(name) = unknown else { return Ok(()) };
    let error = ScriptError::new(place.clone(), format!("`${name}` has no value here"));
    Err(error.suggest(name, variables.iter().map(String::as_str)))
}

fn captures(value: &Value, variables: &mut BTreeSet<String>) {
    value.each(&mut |value| {
        if let Value::Capture(name, _) = value {
            variables.insert(name.clone());
        }
    });
}

struct Check<'c> {
    schema: &'c Schema,
    versions: &'c [i16],
    is_request: bool,
}

impl Check<'_> {
    fn entries(&self, entries: &[Entry], fields: &[Field]) -> Result<(), ScriptError> {
        entries.iter().try_for_each(|entry| {
            let field = self.field(entry, fields)?;
            self.value(&entry.value, field, &entry.place)
        })
    }

    fn field<'f>(&self, entry: &Entry, fields: &'f [Field]) -> Result<&'f Field, ScriptError> {
        let Some(field) = fields.iter().find(|field| field.name == entry.name) else {
            let message = format!("{} has no field `{}` here", self.schema.name, entry.name);
            let known = fields.iter().map(|field| field.name.as_str());
            let error = ScriptError::new(entry.place.clone(), message).suggest(&entry.name, known.clone());
            if error.advice.is_some() {
                return Err(error);
            }
            return Err(error.advise(format!("it has {}", known.collect::<Vec<_>>().join(", "))));
        };
        // A definition or a loop may be about several versions, and leaves away what one has not got.
        let is_general = entry.place.called_at.is_some() || entry.place.in_loop;
        if is_general || self.versions.iter().any(|version| field.versions.contain(*version)) {
            return Ok(field);
        }
        let versions = field.versions;
        let message = format!("`{}` is in no version that is asked", field.name);
        let last = if versions.last == i16::MAX { "on".into() } else { format!("to {}", versions.last) };
        let error = ScriptError::new(entry.place.clone(), message);
        Err(error.advise(format!("it is there from version {} {last}", versions.first)))
    }

    fn value(&self, value: &Value, field: &Field, place: &Place) -> Result<(), ScriptError> {
        let every = |values: &[Value]| values.iter().try_for_each(|value| self.value(value, field, place));
        let wrong = |message: String| Err(ScriptError::new(place.clone(), message));
        let is_pattern = matches!(
            value,
            Value::Anything
                | Value::Capture(..)
                | Value::Not(_)
                | Value::Either(_)
                | Value::Between(..)
                | Value::Contains(_)
                | Value::AnyOrder(_)
                | Value::Count(_)
                | Value::Hole { .. }
        );
        if is_pattern && self.is_request {
            return wrong(format!("`{}` of a request needs a value, not a pattern", field.name));
        }
        match (value, &field.element) {
            // Batches, shown one by one.
            (Value::List(batches) | Value::Contains(batches), Type::Bytes)
                if !self.is_request && !field.is_array =>
            {
                batches.iter().try_for_each(records::check_view)
            }
            (Value::List(values) | Value::Contains(values) | Value::AnyOrder(values), _) => {
                if field.is_array { every(values) } else { wrong(format!("`{}` is no array", field.name)) }
            }
            (Value::Either(values), _) => every(values),
            (Value::Not(value) | Value::Capture(_, value), _) => self.value(value, field, place),
            (Value::Structure(entries), Type::Structure(name)) => {
                self.entries(entries, self.schema.structure(name))
            }
            (Value::Structure(_), _) => wrong(format!("`{}` is no structure", field.name)),
            (Value::Word(word), Type::Int16) if is_error_code(field) => known_code(word, place),
            (Value::Word(word), _) => {
                wrong(format!("`{word}` is no value of `{}`", field.name)).map_err(|error: ScriptError| {
                    error.advise("texts are written in quotes, variables with `$`")
                })
            }
            (
                Value::Int(number),
                Type::Bool | Type::String | Type::Uuid | Type::Bytes | Type::Structure(_),
            ) => wrong(format!("`{}` can't be {number}", field.name)),
            (Value::Int(number), type_) if !type_.range().contains(number) => {
                wrong(format!("{number} does not fit in `{}`", field.name))
            }
            (Value::Bool(_), type_) if *type_ != Type::Bool => wrong(format!("`{}` is no bool", field.name)),
            (Value::Call { function, place, .. }, _) => records::check_function(function, place),
            _ => Ok(()),
        }
    }
}

/// Whether a field holds an error code, which scripts write by its name.
pub(crate) fn is_error_code(field: &Field) -> bool {
    field.element == Type::Int16 && is_error_code_name(&field.name)
}

/// The same by the field's name.
pub(crate) fn is_error_code_name(name: &str) -> bool {
    name.ends_with("errorCode") || name.ends_with("ErrorCode")
}

fn known_code(word: &str, place: &Place) -> Result<(), ScriptError> {
    if ErrorCode::all().any(|code| code.name() == Some(word)) {
        return Ok(());
    }
    let error = ScriptError::new(place.clone(), format!("`{word}` is no error code"));
    Err(error.suggest(word, ErrorCode::all().filter_map(ErrorCode::name)))
}
