//! Which field a byte of a message belongs to.

use super::{Field, Schema, Type};

/// The field that the byte at `at` of a message belongs to, such as `topics[2].partitions[0].leaderEpoch`; of bytes that are
/// no message in this version, the field where that shows.
///
/// `None` behind the message's end.
#[must_use]
pub fn locate(schema: &Schema, bytes: &[u8], version: i16, at: usize) -> Option<String> {
    let mut walk = Walk { schema, bytes, version, at, position: 0, path: Vec::new() };
    match walk.structure(&schema.fields) {
        Ok(()) => None,
        Err(Stopped) => Some(walk.path.concat()),
    }
}

/// The byte was reached, or what comes is no field.
struct Stopped;

struct Walk<'s, 'b> {
    schema: &'s Schema,
    bytes: &'b [u8],
    version: i16,
    at: usize,
    position: usize,
    /// Names with what stands before them.
    path: Vec<String>,
}

impl Walk<'_, '_> {
    fn structure(&mut self, fields: &[Field]) -> Result<(), Stopped> {
        let flexible = self.schema.flexible.contain(self.version);
        for field in fields {
            let is_here = field.versions.contain(self.version) && !field.tagged.contain(self.version);
            if is_here {
                let flexible = field.flexible.map_or(flexible, |own| own.contain(self.version));
                self.within(&field.name, |walk| walk.field(field, flexible))?;
            }
        }
        if flexible { self.tags(fields) } else { Ok(()) }
    }

    fn tags(&mut self, fields: &[Field]) -> Result<(), Stopped> {
        let count = self.within("tagged fields", Self::varint)?;
        for _ in 0..count {
            let tag = self.within("tagged fields", Self::varint)?;
            let known =
                fields.iter().find(|field| field.tagged.contain(self.version) && u64::from(field.tag) == tag);
            match known {
                Some(field) => self.within(&field.name, |walk| {
                    walk.varint()?;
                    walk.field(field, true)
                })?,
                None => self.within(&format!("tag {tag}"), |walk| {
                    let len = walk.varint()?;
                    walk.skip(len)
                })?,
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, flexible: bool) -> Result<(), Stopped> {
        if field.is_array {
            let Some(count) = self.length(4, flexible)? else { return Ok(()) };
            for index in 0..count {
                let begin = self.position;
                self.path.push(format!("[{index}]"));
                self.element(field, flexible)?;
                self.path.pop();
                // Nothing follows nothing: what is announced may be far more than there is.
                if self.position == begin {
                    break;
                }
            }
            return Ok(());
        }
        let is_structure = matches!(field.element, Type::Structure(_));
        if is_structure && field.nullable.contain(self.version) {
            let present = self.bytes.get(self.position).copied();
            self.skip(1)?;
            if present == Some(0xff) {
                return Ok(());
            }
        }
        self.element(field, flexible)
    }

    fn element(&mut self, field: &Field, flexible: bool) -> Result<(), Stopped> {
        let width = match &field.element {
            Type::Structure(name) => {
                let schema = self.schema;
                return self.structure(schema.structure(name));
            }
            Type::String => self.length(2, flexible)?.unwrap_or(0),
            Type::Bytes => self.length(4, flexible)?.unwrap_or(0),
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 | Type::Uint32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
        };
        self.skip(width)
    }

    /// A length or a count of elements; `None` is null.
    fn length(&mut self, size: usize, flexible: bool) -> Result<Option<u64>, Stopped> {
        if flexible {
            return Ok(self.varint()?.checked_sub(1));
        }
        let begin = self.position;
        self.skip(size as u64)?;
        let bytes = self.bytes.get(begin..self.position).unwrap_or_default();
        let number = match *bytes {
            [a, b] => i16::from_be_bytes([a, b]).into(),
            [a, b, c, d] => i32::from_be_bytes([a, b, c, d]),
            _ => return Err(Stopped),
        };
        match u64::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) if number == -1 => Ok(None),
            Err(_) => Err(Stopped),
        }
    }

    fn varint(&mut self) -> Result<u64, Stopped> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.bytes.get(self.position).copied().unwrap_or_default();
            self.skip(1)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Stopped)
    }

    fn skip(&mut self, len: u64) -> Result<(), Stopped> {
        let end = usize::try_from(len).ok().and_then(|len| self.position.checked_add(len));
        match end {
            Some(end) if end <= self.at && end <= self.bytes.len() => {
                self.position = end;
                Ok(())
            }
            _ => Err(Stopped),
        }
    }

    /// Leaves the name in the path where it stops.
    fn within<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Stopped>,
    ) -> Result<T, Stopped> {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path.push(format!("{dot}{name}"));
        let value = read(self)?;
        self.path.pop();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Structure, Value, write};

    const LETTER: &str = r#"{ "type": "request", "name": "LetterRequest", "validVersions": "0-3", "flexibleVersions": "2+",
  "fields": [
    { "name": "To", "type": "string", "versions": "0+", "nullableVersions": "0+" },
    { "name": "Pages", "type": "[]Page", "versions": "0+", "fields": [
      { "name": "Number", "type": "int16", "versions": "0+" },
      { "name": "Lines", "type": "[]string", "versions": "0+" } ]},
    { "name": "Seal", "type": "int32", "versions": "2+", "taggedVersions": "2+", "tag": 0 }
  ] }"#;

    /// A letter of two pages, one line each, in every version.
    fn letter(version: i16) -> (Schema, Vec<u8>) {
        let page = |number, line: &str| {
            let lines = Value::Array(vec![Value::Text(line.to_owned())]);
            Value::Structure(Structure { fields: vec![Value::Int(number), lines], tags: vec![] })
        };
        let pages = Value::Array(vec![page(1, "Dear"), page(2, "Milena")]);
        let seal = Value::Int(if version < 2 { 0 } else { 7 });
        let tags = if version < 2 { vec![] } else { vec![(9, vec![1, 2])] };
        let letter = Structure { fields: vec![Value::Text("me".to_owned()), pages, seal], tags };
        let schema = Schema::parse(LETTER).unwrap();
        let bytes = write(&schema, &letter, version).unwrap();
        (schema, bytes)
    }

    /// Every byte has a field, and the fields come in their order.
    fn fields(version: i16) -> Vec<String> {
        let (schema, bytes) = letter(version);
        assert_eq!(locate(&schema, &bytes, version, bytes.len()), None, "behind the end");
        let fields = (0..bytes.len()).map(|at| locate(&schema, &bytes, version, at).unwrap());
        let mut fields: Vec<String> = fields.collect();
        fields.dedup();
        fields
    }

    #[test]
    fn every_byte_has_its_field() {
        let pages = [
            "pages[0].number",
            "pages[0].lines",
            "pages[0].lines[0]",
            "pages[1].number",
            "pages[1].lines",
            "pages[1].lines[0]",
        ];
        assert_eq!(fields(0), [&["to", "pages"][..], &pages].concat());
        let flexible = fields(3);
        assert_eq!(flexible.first().unwrap(), "to");
        assert_eq!(flexible.last().unwrap(), "tag 9");
        assert!(
            flexible.contains(&"seal".to_owned()) && flexible.contains(&"pages[1].tagged fields".to_owned())
        );
    }

    #[test]
    fn of_bytes_that_are_no_message_it_is_where_that_shows() {
        let (schema, bytes) = letter(0);
        let cut = &bytes[..bytes.len() - 2];
        assert_eq!(locate(&schema, cut, 0, cut.len()).as_deref(), Some("pages[1].lines[0]"));
        let mut long = bytes.clone();
        long[4] = 0x7f;
        assert_eq!(locate(&schema, &long, 0, long.len()).as_deref(), Some("pages[2].number"));
        long[4] = 0x80;
        assert_eq!(locate(&schema, &long, 0, 8).as_deref(), Some("pages"));
    }
}
