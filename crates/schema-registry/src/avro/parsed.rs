//! A schema in Avro, ready to be used.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use apache_avro::schema::{Name, Names, ResolvedSchema};

use super::check::tries;
use crate::{Error, Schema, SchemaRegistry, SchemaType};

/// How deep a schema may be nested. Parsing and decoding go as deep as it.
const DEEPEST: usize = 100;

/// A schema with all that it refers to.
pub(crate) struct ParsedAvro {
    schema: apache_avro::Schema,
    names: Names,
    tries: u64,
}

impl ParsedAvro {
    /// Gets what the schema refers to, and parses both.
    pub(crate) async fn fetch(
        registry: &SchemaRegistry,
        schema: &Schema,
        doing: &str,
    ) -> Result<Self, Error> {
        let references = registry.references(schema).await?;
        let texts: Vec<&str> = references.iter().map(|(_, schema)| schema.schema.as_str()).collect();
        Self::parse(schema, &texts, doing)
    }

    /// Parses a schema, with the texts of what it refers to.
    pub(crate) fn parse(schema: &Schema, references: &[&str], doing: &str) -> Result<Self, Error> {
        if schema.schema_type != SchemaType::Avro {
            return Err(Error::misuse(doing, format!("the schema is {:?}, not Avro", schema.schema_type)));
        }
        let invalid = |error: String| Error::misuse(doing, format!("the schema is none in Avro: {error}"));
        for text in references.iter().chain([&schema.schema.as_str()]) {
            bound_nesting(text).map_err(|error| invalid(error.to_owned()))?;
        }
        let parsed = guarded(|| {
            let (mut root, others) = apache_avro::Schema::parse_str_with_list(&schema.schema, references)?;
            root.denormalize(&others)?;
            let resolved = ResolvedSchema::new(&root)?;
            let names =
                resolved.get_names().iter().map(|(name, schema)| (name.clone(), (*schema).clone())).collect();
            Ok(Self { tries: tries(&root), schema: root, names })
        });
        parsed.map_err(invalid)
    }

    pub(crate) fn schema(&self) -> &apache_avro::Schema {
        &self.schema
    }

    /// How often the levels of a record are resolved into this schema.
    pub(super) fn tries(&self) -> u64 {
        self.tries
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The full name, if it is a named type.
    pub(crate) fn full_name(&self) -> Option<String> {
        self.schema().name().map(Name::to_string)
    }
}

pub(crate) type Shared = Arc<ParsedAvro>;

/// Runs what comes from elsewhere: a panic of it is an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, apache_avro::Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the Avro implementation panicked".to_owned()),
    }
}

fn bound_nesting(text: &str) -> Result<(), &'static str> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth = depth.saturating_add(1),
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err("it is nested too deep");
        }
    }
    Ok(())
}
