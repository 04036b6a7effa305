//! Variables, and values with their variables replaced.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use serde_json::{Map, Value as Json};

use crate::{
    records::{Argument, call},
    schema::{self, Field, Schema, Type, base64},
    script::{Entry, Value},
};

/// The variables of a script.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) variables: BTreeMap<String, Json>,
}

/// The field that a value is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'s> {
    pub(super) schema: &'s Schema,
    pub(super) field: &'s Field,
    pub(super) version: i16,
}

impl Scope {
    pub(super) fn set(&mut self, name: &str, value: impl Into<Json>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    pub(super) fn text(&self, value: &Value) -> Result<String, String> {
        match self.evaluate(value, None)? {
            Json::String(text) => Ok(text),
            other => Err(format!("{other} is no name")),
        }
    }

    /// The message that these fields make up; those that the version has not got are left out.
    pub(super) fn message(&self, entries: &[Entry], schema: &Schema, version: i16) -> Result<Json, String> {
        self.structure(entries, schema, &schema.fields, version)
    }

    fn structure(
        &self,
        entries: &[Entry],
        schema: &Schema,
        fields: &[Field],
        version: i16,
    ) -> Result<Json, String> {
        let mut message = Map::new();
        for entry in entries {
            let Some(field) = fields.iter().find(|field| field.name == entry.name) else { continue };
            if field.versions.contain(version) {
                let place = Place { schema, field, version };
                message.insert(entry.name.clone(), self.evaluate(&entry.value, Some(place))?);
            }
        }
        Ok(message.into())
    }

    /// The value as Kafka's JSON has it.
    pub(super) fn evaluate(&self, value: &Value, place: Option<Place<'_>>) -> Result<Json, String> {
        let element = place.map(|place| &place.field.element);
        Ok(match value {
            Value::Null => Json::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Text(text) if element == Some(&Type::Bytes) => base64(text.as_bytes(), "+/").into(),
            Value::Text(text) => text.as_str().into(),
            Value::Word(word) => match ErrorCode::all().find(|code| code.name() == Some(word)) {
                Some(code) if place.is_some() => code.0.into(),
                _ => word.as_str().into(),
            },
            Value::Variable(name, more) => self.variable(name, *more)?,
            Value::List(values) => {
                values.iter().map(|value| self.evaluate(value, place)).collect::<Result<_, _>>()?
            }
            Value::Structure(entries) => {
                let Some(Place { schema, field, version }) = place else {
                    return Err("a structure needs a field to be in".into());
                };
                let Type::Structure(name) = &field.element else {
                    return Err(format!("`{}` is no structure", field.name));
                };
                self.structure(entries, schema, schema.structure(name), version)?
            }
            Value::Call { function, arguments, .. } => match self.call(function, arguments)? {
                Argument::Text(text) if element == Some(&Type::Bytes) => base64(text.as_bytes(), "+/").into(),
                Argument::Text(text) => text.into(),
                Argument::Bytes(bytes) => base64(&bytes, "+/").into(),
                other => return Err(format!("`{function}` makes {other:?}")),
            },
            other => return Err(format!("{other:?} is a pattern, not a value")),
        })
    }

    pub(super) fn variable(&self, name: &str, more: i64) -> Result<Json, String> {
        let value = self.variables.get(name).ok_or_else(|| format!("`${name}` has no value"))?;
        match (value.as_i64(), more) {
            (_, 0) => Ok(value.clone()),
            (Some(number), more) => Ok(number.wrapping_add(more).into()),
            (None, _) => Err(format!("`${name}` is no number")),
        }
    }

    fn call(&self, function: &str, arguments: &[(Option<String>, Value)]) -> Result<Argument, String> {
        if function == "data" {
            return self.data(arguments).map(Argument::Bytes);
        }
        let now = self.variable("now", 0)?.as_i64().unwrap_or_default();
        let given = arguments.iter().map(|(name, value)| Ok((name.clone(), self.argument(value)?)));
        call(function, &given.collect::<Result<Vec<_>, String>>()?, now)
    }

    fn argument(&self, value: &Value) -> Result<Argument, String> {
        Ok(match value {
            Value::List(record) => {
                let bytes =
                    |value: Option<&Value>| match value.map(|value| self.argument(value)).transpose()? {
                        None | Some(Argument::Null) => Ok(None),
                        Some(Argument::Text(text)) => Ok(Some(text.into_bytes())),
                        Some(Argument::Bytes(bytes)) => Ok(Some(bytes)),
                        Some(other) => Err(format!("{other:?} is no key and no value")),
                    };
                Argument::Record(bytes(record.first())?, bytes(record.get(1))?)
            }
            Value::Call { function, arguments, .. } => self.call(function, arguments)?,
            other => match self.evaluate(other, None)? {
                Json::Null => Argument::Null,
                Json::Bool(value) => Argument::Bool(value),
                Json::String(text) => Argument::Text(text),
                Json::Number(number) => Argument::Int(number.as_i64().unwrap_or_default()),
                other => return Err(format!("{other} can't be an argument")),
            },
        })
    }

    /// `data(ConsumerProtocolSubscription version=3 topics=[…])`: a structure of no API, behind its version.
    fn data(&self, arguments: &[(Option<String>, Value)]) -> Result<Vec<u8>, String> {
        let Some((None, Value::Word(name))) = arguments.first() else {
            return Err("`data` begins with the name of a structure".into());
        };
        let schema = Schema::find(name).ok_or_else(|| format!("there is no structure {name}"))?;
        let mut version = schema.valid.first;
        let mut json = Map::new();
        for (field, value) in arguments.iter().skip(1) {
            let field = field.as_deref().unwrap_or_default();
            if let ("version", Value::Int(number)) = (field, value) {
                version = i16::try_from(*number).map_err(|_| format!("{number} is no version"))?;
                continue;
            }
            let known = schema.fields.iter().find(|known| known.name == field);
            let known = known.ok_or_else(|| format!("{name} has no field `{field}`"))?;
            let place = Place { schema: &schema, field: known, version };
            json.insert(field.to_owned(), self.evaluate(value, Some(place))?);
        }
        let structure = schema.structure_of(&json.into()).map_err(|error| error.to_string())?;
        let body = schema::write(&schema, &structure, version).map_err(|error| format!("{error:?}"))?;
        Ok([version.to_be_bytes().to_vec(), body].concat())
    }
}
