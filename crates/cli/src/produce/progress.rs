//! A count while records are sent, on a terminal only.

use std::{fmt, io::IsTerminal, time::Duration};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How many records are acknowledged, or sent where nobody acknowledges.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Draws on the terminal behind standard error. It draws nothing when that is none, or `quiet`.
    pub(super) fn new(quiet: bool, are_acknowledged: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let word = if are_acknowledged { "acknowledged" } else { "sent" };
        if let Ok(style) =
            ProgressStyle::with_template(&format!("{{spinner}} {{human_pos}} records {word}, {{rate}}"))
        {
            bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                // What does not fit is not drawn.
                let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
            }));
        }
        if visible {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar }
    }

    pub(super) fn settled(&self) {
        self.bar.inc(1);
    }

    /// Does what writes lines, without the count in their way.
    pub(super) fn pause(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
