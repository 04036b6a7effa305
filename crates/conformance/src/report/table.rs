//! The verdicts as a table.

use super::{Verdict, Verdicts};

/// How a verdict is painted: its word, and whether it is good, bad or neither.
type Paint<'p> = &'p dyn Fn(&str, Verdict) -> String;

/// API by version by verdict: `ok`, `FAIL`, `·` for a version that no script asks for; a version that is not offered has
/// nothing. `paint` may colour a cell, and must not change how wide it looks.
#[must_use]
pub fn table(verdicts: &Verdicts, paint: Paint<'_>) -> String {
    let versions = || verdicts.values().flat_map(|versions| versions.keys().copied());
    let (first, last) = (versions().min().unwrap_or_default(), versions().max().unwrap_or_default());
    let width = verdicts.keys().map(|api| api.name().len()).max().unwrap_or_default();
    let mut text = format!("{:<width$}", "API");
    for version in first..=last {
        text += &format!(" {:>4}", format!("v{version}"));
    }
    for (api, versions) in verdicts {
        text += &format!("\n{:<width$}", api.name());
        for version in first..=last {
            text.push(' ');
            let Some(verdict) = versions.get(&version) else {
                text += "    ";
                continue;
            };
            let word = match verdict {
                Verdict::NotCovered => "·",
                Verdict::Pass => "ok",
                Verdict::Fail => "FAIL",
                Verdict::NotOffered => "-",
            };
            text += &paint(&format!("{word:>4}"), *verdict);
        }
        let trimmed = text.trim_end().len();
        text.truncate(trimmed);
    }
    text
}
