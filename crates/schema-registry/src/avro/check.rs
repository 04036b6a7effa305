//! Walks through bytes by their schema, and builds nothing: what passes can be decoded within bounds.

use apache_avro::{
    Schema,
    schema::{DecimalSchema, InnerDecimalSchema, Names, NamespaceRef, UuidSchema},
};

/// How deep values may be nested; an element of a linked list is three deep: record, union, reference. Decoding recurses as
/// deep, which a test holds against the stack of a thread.
const DEEPEST: usize = 128;
/// How many elements without any bytes (nulls, empty records) a record may have: they cost memory and no bytes.
const MOST_EMPTY: usize = 1 << 16;

/// How much work resolving a record into another schema may be. `apache-avro` tries each branch of a reader's union by
/// resolving into it and then resolves once more, so the work multiplies with every level.
const MOST_WORK: u64 = 1 << 20;

/// Whether `bytes` are one value of `schema`, and nothing else; and how deep it is nested.
/// `tries`: how often the reader's schema makes each level be resolved; 0: there is nothing to resolve.
pub(super) fn check(schema: &Schema, names: &Names, bytes: &[u8], tries: u64) -> Result<usize, String> {
    let mut walk = Walk { names, rest: bytes, empty: 0, deepest: 0, tries, weight: 1, work: 0 };
    walk.value(schema, None, 0)?;
    match walk.rest.len() {
        0 => Ok(walk.deepest),
        left => Err(format!("{left} bytes are left over")),
    }
}

/// How often values of a schema's unions are resolved: into the branches until one fits, and once more.
pub(super) fn tries(schema: &Schema) -> u64 {
    match schema {
        Schema::Array(array) => tries(&array.items),
        Schema::Map(map) => tries(&map.types),
        Schema::Record(record) => record.fields.iter().map(|field| tries(&field.schema)).max().unwrap_or(1),
        Schema::Union(union) => {
            let branches = union.variants().iter().filter(|branch| !matches!(branch, Schema::Null)).count();
            let own = u64::try_from(branches).unwrap_or(u64::MAX).saturating_add(1);
            union.variants().iter().map(tries).fold(own, u64::max)
        }
        _ => 1,
    }
}

struct Walk<'a> {
    names: &'a Names,
    rest: &'a [u8],
    empty: usize,
    deepest: usize,
    tries: u64,
    /// How often the level at hand is resolved.
    weight: u64,
    work: u64,
}

impl Walk<'_> {
    fn value(&mut self, schema: &Schema, namespace: NamespaceRef<'_>, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("values are nested deeper than {DEEPEST}"));
        }
        self.deepest = self.deepest.max(depth);
        self.work = self.work.saturating_add(self.weight);
        if self.tries > 0 && self.work > MOST_WORK {
            return Err(
                "it is nested too deep to be resolved into the reader's schema within bounds".to_owned()
            );
        }
        let deeper = depth.saturating_add(1);
        match schema {
            Schema::Null => Ok(()),
            Schema::Boolean => self.skip(1).map(drop),
            Schema::Int | Schema::Date | Schema::TimeMillis => self.int().map(drop),
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => self.long().map(drop),
            Schema::Float => self.skip(4).map(drop),
            Schema::Double => self.skip(8).map(drop),
            Schema::Duration(_) => self.skip(12).map(drop),
            Schema::Bytes
            | Schema::BigDecimal
            | Schema::Uuid(UuidSchema::Bytes | UuidSchema::String)
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. }) => {
                self.bytes().map(drop)
            }
            Schema::String => self.string(),
            Schema::Fixed(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed))
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
                self.skip(fixed.size).map(drop)
            }
            Schema::Enum(symbols) => {
                let index = self.int()?;
                let known = usize::try_from(index).is_ok_and(|index| index < symbols.symbols.len());
                known.then_some(()).ok_or_else(|| format!("the enum {} has no symbol {index}", symbols.name))
            }
            Schema::Union(union) => {
                let index = self.long()?;
                let variant = usize::try_from(index).ok().and_then(|index| union.variants().get(index));
                self.value(
                    variant.ok_or_else(|| format!("a union has no branch {index}"))?,
                    namespace,
                    deeper,
                )
            }
            Schema::Array(_) | Schema::Map(_) | Schema::Record(_) => {
                let outer = self.weight;
                self.weight = outer.saturating_mul(self.tries.max(1));
                let walked = self.composite(schema, namespace, deeper);
                self.weight = outer;
                walked
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let names = self.names;
                let named = names.get(&name).ok_or_else(|| format!("there is no type {name}"))?;
                self.value(named, name.namespace(), deeper)
            }
        }
    }

    fn composite(
        &mut self,
        schema: &Schema,
        namespace: NamespaceRef<'_>,
        depth: usize,
    ) -> Result<(), String> {
        match schema {
            Schema::Array(array) => self.blocks(|walk| walk.value(&array.items, namespace, depth)),
            Schema::Map(map) => self.blocks(|walk| {
                walk.string()?;
                walk.value(&map.types, namespace, depth)
            }),
            Schema::Record(record) => {
                let name = record.name.fully_qualified_name(namespace);
                record.fields.iter().try_for_each(|field| {
                    let walked = self.value(&field.schema, name.namespace(), depth);
                    walked.map_err(|error| format!("{}: {error}", field.name))
                })
            }
            _ => Ok(()),
        }
    }

    /// The blocks of an array or a map. A negative count is followed by the block's bytes, which must be right.
    fn blocks(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        loop {
            let count = self.long()?;
            let size = match count {
                0 => return Ok(()),
                ..0 => Some(self.length()?),
                _ => None,
            };
            let begin = self.rest.len();
            for _ in 0..count.unsigned_abs() {
                let before = self.rest.len();
                element(self)?;
                if self.rest.len() == before {
                    self.empty = self.empty.saturating_add(1);
                    if self.empty > MOST_EMPTY {
                        return Err(format!("there are more than {MOST_EMPTY} elements without bytes"));
                    }
                }
            }
            if size.is_some_and(|size| begin.checked_sub(size) != Some(self.rest.len())) {
                return Err("a block is not as long as it says".to_owned());
            }
        }
    }

    fn int(&mut self) -> Result<i32, String> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| format!("{long} is no int"))
    }

    fn long(&mut self) -> Result<i64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let &[byte] = self.skip(1)? else { break };
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("a number is longer than 10 bytes".to_owned())
    }

    fn length(&mut self) -> Result<usize, String> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| format!("a length of {length}"))
    }

    fn bytes(&mut self) -> Result<&[u8], String> {
        let length = self.length()?;
        self.skip(length)
    }

    fn string(&mut self) -> Result<(), String> {
        std::str::from_utf8(self.bytes()?)
            .map(drop)
            .map_err(|error| format!("a string is not UTF-8: {error}"))
    }

    fn skip(&mut self, length: usize) -> Result<&[u8], String> {
        let (skipped, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| format!("{length} bytes are due and {} are left", self.rest.len()))?;
        self.rest = rest;
        Ok(skipped)
    }
}
