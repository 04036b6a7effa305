//! What the cluster answered, in the place of every `__`.

use std::fs;

use anyhow::Context;
use milena_conformance::{report::Outcome, run::Filled, script::Source};

pub(super) fn fill(sources: &[Source], outcomes: &[Outcome]) -> anyhow::Result<()> {
    for (source, outcome) in sources.iter().zip(outcomes) {
        let Some(path) = &source.path else { continue };
        if outcome.filled.is_empty() {
            continue;
        }
        fs::write(path, filled(&source.text, &outcome.filled))
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}

/// The text with its holes filled. A hole that was met several times holds what came last.
fn filled(text: &str, filled: &[Filled]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut fills: Vec<&Filled> = filled.iter().rev().collect();
    fills.sort_by_key(|fill| (fill.line, fill.column));
    fills.dedup_by_key(|fill| (fill.line, fill.column));
    for fill in fills.into_iter().rev() {
        let line = fill.line.checked_sub(1).and_then(|at| lines.get_mut(at));
        let Some((line, at)) = line.zip(fill.column.checked_sub(1)) else { continue };
        if line.get(at..).is_some_and(|rest| rest.starts_with("__")) {
            line.replace_range(at..at + 2, &fill.text);
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hole_holds_what_came_last() {
        let fill = |line, column, text: &str| Filled { line, column, text: text.into() };
        let fills = [fill(1, 3, "old"), fill(1, 3, "A"), fill(1, 8, "BB"), fill(2, 1, "never")];
        assert_eq!(filled("x=__ y=__\nz", &fills), "x=A y=BB\nz\n");
    }
}
