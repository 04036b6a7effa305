//! Values: what fields of a request are set to, and what fields of an answer are held against.

use super::{
    Place, ScriptError,
    cursor::{Cursor, is_of_word},
};

/// A field and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name, as Kafka's JSON has it.
    pub name: String,
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// A value, or, where an answer is expected, a pattern of values.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// `-1`
    Int(i64),
    /// `"text"`
    Text(String),
    /// `NONE`, the name of an error code, or a word such as `gzip`.
    Word(String),
    /// `$name`, `$name+1`
    Variable(String, i64),
    /// `[a b]`
    List(Vec<Value>),
    /// `{name=value}`
    Structure(Vec<Entry>),
    /// `batch(…)` and its like.
    Call {
        /// The name before the bracket.
        function: String,
        /// What stands in the brackets: plain values have no name.
        arguments: Vec<(Option<String>, Value)>,
        /// Where it stands.
        place: Place,
    },
    /// `_`: whatever there is.
    Anything,
    /// `?name`, `?name:pattern`: whatever there is, or what fits, under this name from here on.
    Capture(String, Box<Value>),
    /// `!value`: anything else.
    Not(Box<Value>),
    /// `a|b`: either.
    Either(Vec<Value>),
    /// `3..5`
    Between(i64, i64),
    /// `contains [a b]`: among others, in any order.
    Contains(Vec<Value>),
    /// `any-order [a b]`: these and no others, in any order.
    AnyOrder(Vec<Value>),
    /// `count 3`: so many elements, or bytes.
    Count(i64),
    /// `__`: to be filled in with what there is.
    Hole {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
}

impl Value {
    /// Calls `visit` for this value and every value in it.
    pub fn each<'v>(&'v self, visit: &mut impl FnMut(&'v Self)) {
        visit(self);
        match self {
            Self::List(values) | Self::Either(values) | Self::Contains(values) | Self::AnyOrder(values) => {
                values.iter().for_each(|value| value.each(visit));
            }
            Self::Structure(entries) => entries.iter().for_each(|entry| entry.value.each(visit)),
            Self::Call { arguments, .. } => arguments.iter().for_each(|(_, value)| value.each(visit)),
            Self::Not(value) | Self::Capture(_, value) => value.each(visit),
            _ => {}
        }
    }
}

impl Cursor {
    /// Fields up to the end of the text, a closing bracket or an arrow.
    pub(super) fn entries(&mut self) -> Result<Vec<Entry>, ScriptError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            self.skip_blank();
            match self.peek() {
                None | Some('}' | ')') => return Ok(entries),
                Some('-') if self.peek_after(1) == Some('>') => return Ok(entries),
                Some('!') => return Ok(entries),
                _ => {}
            }
            let place = self.place();
            let name = self.word().ok_or_else(|| self.error(format!("expected a field{}", self.found())))?;
            if self.peek() != Some('=') {
                let error = ScriptError::new(place, format!("`{name}` has no value"));
                return Err(error.advise(format!("write `{name}=…`, without spaces around `=`")));
            }
            self.expect("=")?;
            if entries.iter().any(|entry| entry.name == name) {
                return Err(ScriptError::new(place, format!("`{name}` is given twice")));
            }
            entries.push(Entry { name, value: self.value()?, place });
        }
    }

    pub(super) fn value(&mut self) -> Result<Value, ScriptError> {
        let first = self.single()?;
        if self.peek() != Some('|') {
            return Ok(first);
        }
        let mut choices = vec![first];
        while self.take("|") {
            choices.push(self.single()?);
        }
        Ok(Value::Either(choices))
    }

    fn single(&mut self) -> Result<Value, ScriptError> {
        if let Some(number) = self.integer()? {
            let after = self.peek_after(2).is_some_and(|letter| letter.is_ascii_digit() || letter == '-');
            if self.peek() == Some('.') && self.peek_after(1) == Some('.') && after {
                self.take("..");
                let last = self.integer()?.unwrap_or(number);
                return Ok(Value::Between(number, last));
            }
            return Ok(Value::Int(number));
        }
        if let Some(text) = self.quoted()? {
            return Ok(Value::Text(text));
        }
        match self.peek() {
            Some('[') => Ok(Value::List(self.list()?)),
            Some('{') => {
                self.expect("{")?;
                let entries = self.entries()?;
                self.expect("}")?;
                Ok(Value::Structure(entries))
            }
            Some('$') => self.variable(),
            Some('?') => {
                self.take("?");
                let name = self.word().ok_or_else(|| self.error("expected a name after `?`"))?;
                let pattern = if self.take(":") { self.value()? } else { Value::Anything };
                Ok(if name.starts_with('_') { pattern } else { Value::Capture(name, Box::new(pattern)) })
            }
            Some('!') => {
                self.take("!");
                Ok(Value::Not(Box::new(self.single()?)))
            }
            _ => self.worded(),
        }
    }

    fn list(&mut self) -> Result<Vec<Value>, ScriptError> {
        let place = self.place();
        self.expect("[")?;
        let mut elements = Vec::new();
        loop {
            self.skip_blank();
            if self.take("]") {
                return Ok(elements);
            }
            if self.peek().is_none() {
                return Err(ScriptError::new(place, "a list without an end; expected `]`"));
            }
            elements.push(self.value()?);
        }
    }

    fn variable(&mut self) -> Result<Value, ScriptError> {
        self.expect("$")?;
        // A minus belongs to the name only when a letter follows: `$epoch-1` is one less.
        let mut name = String::new();
        while let Some(letter) = self.peek() {
            let next = self.peek_after(1);
            let goes_on = match letter {
                '-' => next.is_some_and(char::is_alphabetic),
                '.' => next.is_some_and(is_of_word),
                letter => is_of_word(letter),
            };
            if !goes_on {
                break;
            }
            name.push(letter);
            self.next();
        }
        if name.is_empty() {
            return Err(self.error("expected a name after `$`"));
        }
        let mut more = 0;
        while let Some(sign @ ('+' | '-')) = self.peek() {
            if !self.peek_after(1).is_some_and(|letter| letter.is_ascii_digit()) {
                break;
            }
            if sign == '+' {
                self.next();
            }
            more += self.integer()?.unwrap_or_default();
        }
        Ok(Value::Variable(name, more))
    }

    fn worded(&mut self) -> Result<Value, ScriptError> {
        let place = self.place();
        let word = self.word().ok_or_else(|| self.error(format!("expected a value{}", self.found())))?;
        let list_behind = |cursor: &mut Self| {
            cursor.skip_blank();
            cursor.list()
        };
        Ok(match &*word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "_" => Value::Anything,
            "contains" => Value::Contains(list_behind(self)?),
            "any-order" => Value::AnyOrder(list_behind(self)?),
            "count" => {
                self.skip_blank();
                Value::Count(self.integer()?.ok_or_else(|| self.error("expected a number after `count`"))?)
            }
            hole if hole.starts_with("__") => return self.hole(hole, place),
            _ if self.peek() == Some('(') => {
                self.expect("(")?;
                let arguments = self.arguments()?;
                self.expect(")")?;
                Value::Call { function: word, arguments, place }
            }
            _ => Value::Word(word),
        })
    }

    fn hole(&self, hole: &str, place: Place) -> Result<Value, ScriptError> {
        let mut numbers = hole.trim_start_matches('_').split('_').map(str::parse);
        if let (Some(Ok(line)), Some(Ok(column))) = (numbers.next(), numbers.next()) {
            return Ok(Value::Hole { line, column });
        }
        let error = ScriptError::new(place, "`__` is still to be filled in");
        Err(error.advise("`milena conformance --fill` writes what the cluster answers, `_` takes anything"))
    }

    fn arguments(&mut self) -> Result<Vec<(Option<String>, Value)>, ScriptError> {
        let mut arguments = Vec::new();
        loop {
            self.skip_blank();
            match self.peek() {
                Some(')') => return Ok(arguments),
                None => return Err(self.error("expected `)` here, not the end of the statement")),
                _ => {}
            }
            let is_named = {
                let mut ahead = 0;
                while self.peek_after(ahead).is_some_and(is_of_word) {
                    ahead += 1;
                }
                ahead > 0 && self.peek_after(ahead) == Some('=')
            };
            // `null="v"` is a record without a key.
            let name = if is_named && !self.is_at("null=") { self.word() } else { None };
            if name.is_some() {
                self.expect("=")?;
            }
            let value = self.value()?;
            // A record: a key, then its value, `"k"="v"`.
            if name.is_none() && self.take("=") {
                arguments.push((Some("record".into()), Value::List(vec![value, self.value()?])));
            } else {
                arguments.push((name, value));
            }
        }
    }
}
