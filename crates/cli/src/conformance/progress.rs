//! A bar while scripts run, on a terminal only.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Draws on the terminal behind standard error; draws nothing when that is none, or `quiet`.
    pub(super) fn new(total: usize, quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan/blue} {pos} of {len} scripts  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    pub(super) fn tell(&self, progress: &milena_conformance::run::Progress<'_>) {
        self.bar.set_position(progress.done as u64);
        self.bar.set_message(progress.outcome.script.clone());
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
