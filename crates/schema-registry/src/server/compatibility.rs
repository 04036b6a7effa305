//! Whether schemas get along.

use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

use crate::{CompatibilityLevel, SchemaType, avro::ParsedAvro};

/// A version to compare with.
pub(super) struct Older<'a> {
    pub(super) version: u32,
    pub(super) schema_type: SchemaType,
    pub(super) parsed: Option<&'a ParsedAvro>,
}

/// What is against a new schema beside `older`, in ascending order. Nothing: it is compatible.
pub(super) fn reasons(
    level: CompatibilityLevel,
    new_type: SchemaType,
    new: Option<&ParsedAvro>,
    older: &[Older<'_>],
) -> Vec<String> {
    use CompatibilityLevel as Level;
    let (backward, forward, is_transitive) = match level {
        Level::None => return Vec::new(),
        Level::Backward => (true, false, false),
        Level::BackwardTransitive => (true, false, true),
        Level::Forward => (false, true, false),
        Level::ForwardTransitive => (false, true, true),
        Level::Full => (true, true, false),
        Level::FullTransitive => (true, true, true),
    };
    let compared = if is_transitive {
        older
    } else {
        older.split_last().map_or(&[][..], |(last, _)| std::slice::from_ref(last))
    };
    let mut reasons = Vec::new();
    for old in compared {
        let version = old.version;
        if old.schema_type != new_type {
            reasons.push(format!("version {version} is {:?}, the new schema {new_type:?}", old.schema_type));
        }
        let (Some(new), Some(old)) = (new, old.parsed) else { continue };
        if backward && let Some(reason) = against(old, new) {
            reasons.push(format!("the new schema can't read what version {version} writes: {reason}"));
        }
        if forward && let Some(reason) = against(new, old) {
            reasons.push(format!("version {version} can't read what the new schema writes: {reason}"));
        }
    }
    if !reasons.is_empty() {
        reasons.push(format!("{{compatibility: '{level}'}}"));
    }
    reasons
}

/// Why `reader` can't read all that `writer` writes.
fn against(writer: &ParsedAvro, reader: &ParsedAvro) -> Option<String> {
    match SchemaCompatibility::can_read(writer.schema(), reader.schema()) {
        Ok(Compatibility::Full) => None,
        // A union or an enum of the writer's has what the reader's has not.
        Ok(_) => Some("some of the values can't be read".to_owned()),
        Err(error) => {
            let source =
                std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            Some(format!("{error}{source}"))
        }
    }
}
