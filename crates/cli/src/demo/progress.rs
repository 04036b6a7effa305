//! Progress bars, on a terminal only.

use std::{fmt, io::IsTerminal, time::Duration};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A bar for the producer and one for each group.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: MultiProgress,
}

impl Progress {
    /// Draws on the terminal behind standard error; draws nothing when that is none, or `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target) }
    }

    /// A bar of `total` orders.
    pub(crate) fn bar(&self, name: &'static str, total: u64) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(total));
        let style = ProgressStyle::with_template(
            "{prefix:>10} {bar:40.cyan/blue} {human_pos:>10} of {human_len}  {rate}",
        );
        if let Ok(style) = style {
            bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                // What does not fit is not drawn.
                let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
            }));
        }
        bar.set_prefix(name);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}
