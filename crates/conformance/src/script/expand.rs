//! Lines to statements: definitions are put in the place of their calls, loops are written out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Place, Script, ScriptError, Statement,
    cursor::Cursor,
    lines::{Chunk, Line, chunks, first_word, split},
};

/// Most definitions that are called from each other.
const MAX_DEPTH: usize = 8;

/// Most statements of a script, written out.
const MAX_STATEMENTS: usize = 2_000;

/// Builds a script.
pub(super) struct Expansion<'l> {
    library: &'l BTreeMap<String, String>,
    definitions: BTreeMap<String, Definition>,
    depth: usize,
    turns: usize,
    pub(super) script: Script,
    /// The variables that have a value by now.
    pub(super) variables: BTreeSet<String>,
    /// The requests that are under way, and what answers them.
    pub(super) under_way: BTreeMap<String, super::Schemas>,
    /// Why the embedded broker differs, in what is expanded at the moment.
    pub(super) core_differs: Option<String>,
}

/// Statements with holes in them.
#[derive(Clone, Debug)]
struct Definition {
    parameters: Vec<(String, Option<String>)>,
    body: Vec<Line>,
}

impl<'l> Expansion<'l> {
    pub(super) fn new(name: &str, library: &'l BTreeMap<String, String>) -> Self {
        let script = Script {
            name: name.to_owned(),
            title: String::new(),
            brokers: 1,
            core_differs: None,
            statements: Vec::new(),
        };
        Self {
            library,
            definitions: BTreeMap::new(),
            depth: 0,
            turns: 0,
            script,
            variables: ["now", "v", "i"].map(str::to_owned).into(),
            under_way: BTreeMap::new(),
            core_differs: None,
        }
    }

    pub(super) fn text(&mut self, file: &Arc<str>, text: &str) -> Result<(), ScriptError> {
        self.lines(split(file, text), None)
    }

    fn lines(&mut self, lines: Vec<Line>, turn: Option<usize>) -> Result<(), ScriptError> {
        for chunk in chunks(lines)? {
            match chunk {
                Chunk::Statement(lines) => self.statement_or_call(lines, turn)?,
                Chunk::Block { head, body } if first_word(&head.text) == "def" => self.define(&head, body)?,
                Chunk::Block { head, body } => self.repeat(&head, &body)?,
            }
        }
        Ok(())
    }

    fn statement_or_call(&mut self, lines: Vec<Line>, turn: Option<usize>) -> Result<(), ScriptError> {
        let outer = self.core_differs.clone();
        let (notes, lines): (Vec<Line>, Vec<Line>) =
            lines.into_iter().partition(|line| line.text.trim_start().starts_with("core differs:"));
        if let Some(note) = notes.first() {
            self.core_differs = note.text.split_once(':').map(|(_, reason)| reason.trim().to_owned());
        }
        let Some(head) = lines.first() else {
            // A note of its own is about the whole script.
            self.script.core_differs = self.core_differs.take();
            return Ok(());
        };
        let word = first_word(&head.text).to_owned();
        let place = head.place.clone();
        let mut cursor = Cursor::new(&lines);
        cursor.skip_blank();
        if word == "use" {
            self.library_file(&mut cursor)?;
        } else if let Some(definition) = self.definitions.get(&word).cloned() {
            cursor.take(&word);
            self.call(&word, &definition, &mut cursor, &place, turn)?;
        } else {
            self.statement(&mut cursor, place, turn)?;
        }
        self.core_differs = outer;
        Ok(())
    }

    pub(super) fn push(&mut self, statement: Statement) -> Result<(), ScriptError> {
        if self.script.statements.len() >= MAX_STATEMENTS {
            return Err(ScriptError::new(statement.place, format!("more than {MAX_STATEMENTS} statements")));
        }
        self.script.statements.push(statement);
        Ok(())
    }

    /// The names that a statement can begin with because they are defined.
    pub(super) fn defined(&self) -> impl Iterator<Item = &str> {
        self.definitions.keys().map(String::as_str)
    }

    fn library_file(&mut self, cursor: &mut Cursor) -> Result<(), ScriptError> {
        cursor.take("use");
        cursor.skip_blank();
        let place = cursor.place();
        let name = cursor.word().unwrap_or_default();
        let Some(text) = self.library.get(&name) else {
            let error = ScriptError::new(place, format!("there is no lib/{name}.txt"));
            return Err(error.suggest(&name, self.library.keys().map(String::as_str)));
        };
        self.text(&Arc::from(format!("lib/{name}.txt")), text)
    }

    /// `def NAME(parameter, parameter=default)`
    fn define(&mut self, head: &Line, body: Vec<Line>) -> Result<(), ScriptError> {
        let mut cursor = Cursor::new(std::slice::from_ref(head));
        cursor.skip_blank();
        cursor.take("def");
        cursor.skip_blank();
        let name = cursor.word().ok_or_else(|| cursor.error("expected a name after `def`"))?;
        if name.starts_with(char::is_uppercase) {
            return Err(cursor.error("names with a capital letter are those of APIs"));
        }
        cursor.expect("(")?;
        let mut parameters = Vec::new();
        loop {
            cursor.skip_blank();
            if cursor.take(")") {
                break;
            }
            let parameter = cursor.word().ok_or_else(|| cursor.error("expected a parameter or `)`"))?;
            let default = if cursor.take("=") { Some(cursor.raw_value()?) } else { None };
            parameters.push((parameter, default));
        }
        self.definitions.insert(name, Definition { parameters, body });
        Ok(())
    }

    fn call(
        &mut self,
        name: &str,
        definition: &Definition,
        cursor: &mut Cursor,
        place: &Place,
        turn: Option<usize>,
    ) -> Result<(), ScriptError> {
        if self.depth >= MAX_DEPTH {
            return Err(ScriptError::new(place.clone(), format!("`{name}` calls itself")));
        }
        let values = arguments(name, &definition.parameters, cursor)?;
        let call = Arc::new(place.clone());
        let body = definition.body.iter().map(|line| {
            let mut line = substitute(line, &values);
            line.place.called_at = Some(Arc::clone(&call));
            line
        });
        self.depth += 1;
        let result = self.lines(body.collect(), turn);
        self.depth -= 1;
        result
    }

    /// `for NAME in 3..13`, `for NAME in a b c`
    fn repeat(&mut self, head: &Line, body: &[Line]) -> Result<(), ScriptError> {
        let mut cursor = Cursor::new(std::slice::from_ref(head));
        cursor.skip_blank();
        cursor.take("for");
        cursor.skip_blank();
        let name = cursor.word().ok_or_else(|| cursor.error("expected a name after `for`"))?;
        cursor.skip_blank();
        if !cursor.take_word("in") {
            return Err(cursor.error("expected `in`").advise(format!("write `for {name} in 0..3`")));
        }
        let mut values = Vec::new();
        while !cursor.is_done() {
            let raw = cursor.raw_value()?;
            match raw.split_once("..").map(|(first, last)| (first.parse::<i64>(), last.parse::<i64>())) {
                Some((Ok(first), Ok(last))) if last - first < 100 => {
                    values.extend((first..=last).map(|number| number.to_string()));
                }
                _ => values.push(raw),
            }
        }
        for (turn, value) in values.into_iter().enumerate() {
            let values = [(name.clone(), value), ("turn".into(), turn.to_string())];
            let lines = body.iter().map(|line| {
                let mut line = substitute(line, &values);
                line.place.in_loop = true;
                line
            });
            let lines = lines.collect();
            self.turns += 1;
            self.lines(lines, Some(self.turns))?;
        }
        Ok(())
    }
}

/// The value of every parameter.
fn arguments(
    name: &str,
    parameters: &[(String, Option<String>)],
    cursor: &mut Cursor,
) -> Result<Vec<(String, String)>, ScriptError> {
    let mut values: Vec<(String, String)> = Vec::new();
    let mut in_order = parameters.iter();
    let place = cursor.place();
    while !cursor.is_done() {
        let place = cursor.place();
        let raw = cursor.raw_value()?;
        let named = raw.split_once('=').filter(|(name, _)| {
            name.chars().all(super::cursor::is_of_word) && parameters.iter().any(|(known, _)| known == name)
        });
        let (parameter, value) = match named {
            Some((parameter, value)) => (parameter.to_owned(), value.to_owned()),
            None => match in_order.next() {
                Some((parameter, _)) => (parameter.clone(), raw),
                None => {
                    let error = ScriptError::new(place, format!("`{name}` has no place for `{raw}`"));
                    let given = raw.split('=').next().unwrap_or_default();
                    return Err(error.suggest(given, parameters.iter().map(|(name, _)| name.as_str())));
                }
            },
        };
        if values.iter().any(|(known, _)| *known == parameter) {
            return Err(ScriptError::new(place, format!("`{parameter}` is given twice")));
        }
        values.push((parameter, value));
    }
    for (parameter, default) in parameters {
        if values.iter().any(|(known, _)| known == parameter) {
            continue;
        }
        let Some(default) = default else {
            return Err(ScriptError::new(place, format!("`{name}` needs `{parameter}`")));
        };
        // A default may name the parameters before it.
        let default = values.iter().fold(default.clone(), |text, (name, value)| replace(&text, name, value));
        values.push((parameter.clone(), default));
    }
    Ok(values)
}

fn substitute(line: &Line, values: &[(String, String)]) -> Line {
    let text = values.iter().fold(line.text.clone(), |text, (name, value)| replace(&text, name, value));
    Line { text, ..line.clone() }
}

fn replace(text: &str, name: &str, value: &str) -> String {
    text.replace(&format!("<{name}>"), value)
}
