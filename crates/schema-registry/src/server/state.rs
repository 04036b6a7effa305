//! What the registry holds.

use std::collections::BTreeMap;

use super::compatibility::{Older, reasons};
use crate::{
    CompatibilityLevel, RegisteredSchema, Schema, SchemaId, SchemaReference, SchemaType, avro::ParsedAvro,
};

/// The registry's no: status, code, words.
pub(super) type Refusal = (u16, i32, String);

pub(super) struct State {
    pub(super) subjects: BTreeMap<String, Subject>,
    pub(super) level: CompatibilityLevel,
    ids: BTreeMap<SchemaId, Schema>,
}

#[derive(Default)]
pub(super) struct Subject {
    pub(super) level: Option<CompatibilityLevel>,
    versions: BTreeMap<u32, Held>,
    last: u32,
}

struct Held {
    id: SchemaId,
    schema: Schema,
    parsed: Option<ParsedAvro>,
    is_deleted: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { subjects: BTreeMap::new(), level: CompatibilityLevel::Backward, ids: BTreeMap::new() }
    }
}

impl Subject {
    fn live(&self) -> impl DoubleEndedIterator<Item = (u32, &Held)> {
        self.versions.iter().filter(|(_, held)| !held.is_deleted).map(|(version, held)| (*version, held))
    }

    pub(super) fn is_live(&self) -> bool {
        self.live().next().is_some()
    }
}

fn no_subject(name: &str) -> Refusal {
    (404, 40401, format!("Subject '{name}' not found."))
}

impl State {
    pub(super) fn schema(&self, id: SchemaId) -> Result<&Schema, Refusal> {
        self.ids.get(&id).ok_or_else(|| (404, 40403, format!("Schema {id} not found")))
    }

    fn live(&self, name: &str) -> Result<&Subject, Refusal> {
        self.subjects.get(name).filter(|subject| subject.is_live()).ok_or_else(|| no_subject(name))
    }

    pub(super) fn versions(&self, name: &str) -> Result<Vec<u32>, Refusal> {
        Ok(self.live(name)?.live().map(|(version, _)| version).collect())
    }

    /// A version by its number or by `latest`.
    fn held(&self, name: &str, version: &str) -> Result<(u32, &Held), Refusal> {
        let subject = self.live(name)?;
        let number = match version {
            "latest" | "-1" => subject.live().next_back().map(|(version, _)| version),
            number => Some(parse_version(number)?),
        };
        let held = subject.live().find(|(of, _)| Some(*of) == number);
        held.ok_or_else(|| (404, 40402, format!("Version {version} not found.")))
    }

    pub(super) fn version(&self, name: &str, version: &str) -> Result<RegisteredSchema, Refusal> {
        let (version, held) = self.held(name, version)?;
        Ok(RegisteredSchema { subject: name.to_owned(), version, id: held.id, schema: held.schema.clone() })
    }

    pub(super) fn referenced_by(&self, name: &str, version: &str) -> Result<Vec<SchemaId>, Refusal> {
        let (version, _) = self.held(name, version)?;
        let is_meant =
            |reference: &SchemaReference| reference.subject == name && reference.version == version;
        let live = self.subjects.values().flat_map(Subject::live);
        let mut ids: Vec<_> = live
            .filter(|(_, held)| held.schema.references.iter().any(is_meant))
            .map(|(_, held)| held.id)
            .collect();
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    pub(super) fn register(
        &mut self,
        name: &str,
        schema: Schema,
        normalize: bool,
    ) -> Result<SchemaId, Refusal> {
        let parsed = self.parsed(&schema)?;
        if let Ok(found) = self.find(name, &schema, normalize) {
            return Ok(found.id);
        }
        let against = self.against(name, None, &schema, parsed.as_ref());
        if !against.is_empty() {
            let words = format!(
                "Schema being registered is incompatible with an earlier schema for subject \"{name}\"; details: {against:?}"
            );
            return Err((409, 409, words));
        }
        let known = self.ids.iter().find(|(_, known)| **known == schema).map(|(id, _)| *id);
        let next = self.ids.last_key_value().map_or(0, |(id, _)| id.0).saturating_add(1);
        let id = known.unwrap_or(SchemaId(next));
        self.ids.insert(id, schema.clone());
        let subject = self.subjects.entry(name.to_owned()).or_default();
        subject.last = subject.last.saturating_add(1);
        subject.versions.insert(subject.last, Held { id, schema, parsed, is_deleted: false });
        Ok(id)
    }

    /// Where a schema is under a subject.
    pub(super) fn find(
        &self,
        name: &str,
        schema: &Schema,
        normalize: bool,
    ) -> Result<RegisteredSchema, Refusal> {
        let is_same =
            |held: &Held| held.schema == *schema || normalize && normal(&held.schema) == normal(schema);
        let found = self.live(name)?.live().find(|(_, held)| is_same(held));
        let (version, held) = found.ok_or_else(|| (404, 40403, "Schema not found".to_owned()))?;
        Ok(RegisteredSchema { subject: name.to_owned(), version, id: held.id, schema: held.schema.clone() })
    }

    pub(super) fn check(&self, name: &str, version: &str, schema: &Schema) -> Result<Vec<String>, Refusal> {
        let (version, _) = self.held(name, version)?;
        let parsed = self.parsed(schema)?;
        Ok(self.against(name, Some(version), schema, parsed.as_ref()))
    }

    fn against(
        &self,
        name: &str,
        only: Option<u32>,
        schema: &Schema,
        parsed: Option<&ParsedAvro>,
    ) -> Vec<String> {
        let Some(subject) = self.subjects.get(name) else { return Vec::new() };
        let compared = subject.live().filter(|(version, _)| only.is_none_or(|only| only == *version));
        let older: Vec<_> = compared
            .map(|(version, held)| Older {
                version,
                schema_type: held.schema.schema_type,
                parsed: held.parsed.as_ref(),
            })
            .collect();
        reasons(subject.level.unwrap_or(self.level), schema.schema_type, parsed, &older)
    }

    fn parsed(&self, schema: &Schema) -> Result<Option<ParsedAvro>, Refusal> {
        let mut texts = Vec::new();
        self.referenced(schema, &mut texts, 0)?;
        if schema.schema_type != SchemaType::Avro {
            return Ok(None);
        }
        let parsed = ParsedAvro::parse(schema, &texts, "Invalid schema");
        parsed.map(Some).map_err(|error| (422, 42201, error.to_string()))
    }

    /// The texts of what a schema refers to, each once.
    fn referenced<'a>(
        &'a self,
        schema: &Schema,
        texts: &mut Vec<&'a str>,
        depth: usize,
    ) -> Result<(), Refusal> {
        for SchemaReference { subject, version, .. } in &schema.references {
            let held = self.held(subject, &version.to_string()).ok().filter(|_| depth < 32);
            let (_, held) = held.ok_or_else(|| {
                (
                    422,
                    42201,
                    format!("No schema reference found for subject \"{subject}\" and version {version}"),
                )
            })?;
            self.referenced(&held.schema, texts, depth.saturating_add(1))?;
            if !texts.contains(&held.schema.schema.as_str()) {
                texts.push(&held.schema.schema);
            }
        }
        Ok(())
    }

    pub(super) fn delete_version(
        &mut self,
        name: &str,
        version: &str,
        is_hard: bool,
    ) -> Result<u32, Refusal> {
        if !is_hard {
            let (number, _) = self.held(name, version)?;
            self.unreferenced(name, number)?;
            let subject = self.subjects.get_mut(name).ok_or_else(|| no_subject(name))?;
            subject.versions.entry(number).and_modify(|held| held.is_deleted = true);
            return Ok(number);
        }
        let number = parse_version(version)?;
        let subject = self.subjects.get_mut(name).ok_or_else(|| no_subject(name))?;
        match subject.versions.get(&number) {
            None => Err((404, 40402, format!("Version {number} not found."))),
            Some(held) if !held.is_deleted => Err((
                404,
                40407,
                format!(
                    "Subject '{name}' Version {number} was not deleted first before being permanently deleted"
                ),
            )),
            Some(_) => {
                subject.versions.remove(&number);
                self.forget();
                Ok(number)
            }
        }
    }

    pub(super) fn delete_subject(&mut self, name: &str, is_hard: bool) -> Result<Vec<u32>, Refusal> {
        if !is_hard {
            let versions = self.versions(name)?;
            for version in &versions {
                self.unreferenced(name, *version)?;
            }
            let subject = self.subjects.get_mut(name).ok_or_else(|| no_subject(name))?;
            subject.versions.values_mut().for_each(|held| held.is_deleted = true);
            subject.level = None;
            return Ok(versions);
        }
        let subject = self.subjects.get(name).ok_or_else(|| no_subject(name))?;
        if subject.is_live() {
            return Err((
                404,
                40405,
                format!("Subject '{name}' was not deleted first before being permanently deleted"),
            ));
        }
        let versions = subject.versions.keys().copied().collect();
        self.subjects.remove(name);
        self.forget();
        Ok(versions)
    }

    fn unreferenced(&self, name: &str, version: u32) -> Result<(), Refusal> {
        match self.referenced_by(name, &version.to_string())?.first() {
            Some(id) => Err((
                422,
                42206,
                format!("One or more references exist to the schema {name} version {version}: id {id}"),
            )),
            None => Ok(()),
        }
    }

    /// Drops the ids that no subject holds.
    fn forget(&mut self) {
        let subjects = &self.subjects;
        self.ids.retain(|id, _| {
            subjects.values().any(|subject| subject.versions.values().any(|held| held.id == *id))
        });
    }
}

fn parse_version(version: &str) -> Result<u32, Refusal> {
    let number = version.parse().ok().filter(|number| *number > 0 && i32::try_from(*number).is_ok());
    let words = || {
        format!(
            "The specified version '{version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
        )
    };
    number.ok_or_else(|| (422, 42202, words()))
}

/// White space makes no difference, and neither does the order of a JSON object's members.
fn normal(schema: &Schema) -> String {
    match serde_json::from_str::<serde_json::Value>(&schema.schema) {
        Ok(value) => value.to_string(),
        Err(_) => schema.schema.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
