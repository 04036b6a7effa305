//! Progress bars, on a terminal only.

use std::{fmt, io::IsTerminal, sync::Arc, time::Duration};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::task::JoinHandle;

use super::{board::Service, services::Shop};

const EVERY: Duration = Duration::from_millis(200);

/// A bar for the orders and one for each service that reads them, drawn until this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Vec<ProgressBar>,
    drawing: JoinHandle<()>,
}

impl Progress {
    /// Draws on the terminal behind standard error; draws nothing when that is none, or `quiet`.
    pub(crate) fn start(shop: &Arc<Shop>, quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let readers: Vec<_> = Service::ALL.into_iter().filter(|service| service.is_reader()).collect();
        let total = |service: &Service| shop.board.total(*service).unwrap_or_default();
        let mut bars = vec![all.add(bar("orders", shop.board.orders()))];
        bars.extend(readers.iter().map(|service| all.add(bar(service.name(), total(service)))));
        let (shop, drawn) = (Arc::clone(shop), bars.clone());
        let drawing = tokio::spawn(async move {
            loop {
                let ordered = shop.board.done(Service::OrdersV1) + shop.board.done(Service::OrdersV2);
                let done = readers.iter().map(|service| shop.board.done(*service));
                for (bar, done) in drawn.iter().zip([ordered].into_iter().chain(done)) {
                    bar.set_position(done);
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { bars, drawing }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.drawing.abort();
        self.bars.iter().for_each(ProgressBar::finish);
    }
}

fn bar(name: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template(
        "{prefix:>15} {bar:40.cyan/blue} {human_pos:>10} of {human_len}  {rate}",
    );
    if let Ok(style) = style {
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            // What does not fit is not drawn.
            let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
        }));
    }
    bar.set_prefix(name);
    bar
}
