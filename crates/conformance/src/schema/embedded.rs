//! The schemas that Milena is generated from, inside the library.

use super::Schema;

const SCHEMAS: &str = include_str!(concat!(env!("OUT_DIR"), "/schemas.json"));

impl Schema {
    /// The schema of this name, such as `FetchRequest`.
    #[must_use]
    pub fn find(wanted: &str) -> Option<Self> {
        let name = format!("\"name\":\"{wanted}\"");
        SCHEMAS.lines().filter(|text| text.contains(&name)).filter_map(Self::parse).find(|schema| {
            // A field or a structure of another message may have the name.
            schema.name == wanted
        })
    }

    /// The schema of this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[expect(clippy::panic, reason = "for tests, which name the messages that there are")]
    pub fn named(name: &str) -> Self {
        Self::find(name).unwrap_or_else(|| panic!("there is no schema of {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_understood() {
        assert!(SCHEMAS.lines().count() > 150);
        for line in SCHEMAS.lines() {
            let schema = Schema::parse(line).unwrap();
            assert_eq!(Schema::named(&schema.name).fields.len(), schema.fields.len());
        }
        assert!(Schema::find("NoSuchRequest").is_none());
    }
}
