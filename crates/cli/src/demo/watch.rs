//! A view of the whole system in the terminal, while it runs.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, KeyCode, KeyEvent, KeyModifiers},
    layout::{Constraint, Layout},
    style::Style,
    text::Line,
    widgets::{Block, Paragraph, Row, Table},
};
use tokio::sync::watch;

use super::{
    board::{Event, Service},
    services::Shop,
};
use crate::output::grouped;

/// How often the view is drawn: as often, keys are looked for.
const FRAME: Duration = Duration::from_millis(200);
/// How often groups are asked how far they are behind.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// The view, and the thread that draws it. Dropping it gives the terminal back.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    quit: watch::Receiver<bool>,
    drawing: Option<JoinHandle<()>>,
    lagging: tokio::task::JoinHandle<()>,
}

/// All that is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) took: Duration,
    pub(crate) services: Vec<ServiceRow>,
    pub(crate) retried: u64,
    pub(crate) dead_letters: u64,
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    /// What happened, the oldest first.
    pub(crate) told: Vec<String>,
}

/// What is shown of a service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRow {
    pub(crate) name: &'static str,
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    pub(crate) per_second: u64,
    /// How far its group is behind, if it has one and that is known.
    pub(crate) lag: Option<i64>,
}

/// That there is a terminal to draw on and to read keys from.
pub(crate) fn needs_terminal() -> anyhow::Result<()> {
    anyhow::ensure!(
        io::stdout().is_terminal() && io::stdin().is_terminal(),
        "--watch needs a terminal: standard input or output is none"
    );
    Ok(())
}

impl Watch {
    /// Takes the terminal.
    pub(crate) fn start(shop: &Arc<Shop>) -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().context("taking the terminal")?;
        let stop = Arc::new(AtomicBool::new(false));
        stop_at_panic(Arc::clone(&stop));
        let (quitting, quit) = watch::channel(false);
        let (drawn, ended) = (Arc::clone(shop), Arc::clone(&stop));
        let drawing = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            if until_stopped(terminal, &drawn, &ended).is_ok_and(|is_quit| !is_quit) {
                // The run has ended before anybody asked for it.
                return;
            }
            quitting.send_replace(true);
        });
        let drawing = drawing.inspect_err(|_| ratatui::restore()).context("starting the view")?;
        let lagging = tokio::spawn(follow_lag(Arc::clone(shop)));
        Ok(Self { stop, quit, drawing: Some(drawing), lagging })
    }

    /// Waits until somebody wants to end the demo.
    pub(crate) async fn quit(&self) {
        if self.quit.clone().wait_for(|quit| *quit).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.lagging.abort();
        self.stop.store(true, Ordering::Relaxed);
        // A frame at most.
        if let Some(drawing) = self.drawing.take() {
            let _ = drawing.join();
        }
        ratatui::restore();
    }
}

/// Nothing is drawn over the words of a panic.
fn stop_at_panic(stop: Arc<AtomicBool>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        stop.store(true, Ordering::Relaxed);
        before(panic);
    }));
}

/// Draws until it is told to stop, or somebody quits: then true.
fn until_stopped(mut terminal: DefaultTerminal, shop: &Shop, stop: &AtomicBool) -> io::Result<bool> {
    let begun = Instant::now();
    let mut last = Snapshot::of(shop, begun, None);
    while !stop.load(Ordering::Relaxed) {
        let snapshot = Snapshot::of(shop, begun, Some(&last));
        terminal.draw(|frame| render(frame, &snapshot))?;
        // Rates are those of the last second or so.
        if snapshot.took.saturating_sub(last.took) > Duration::from_secs(1) {
            last = snapshot;
        }
        if event::poll(FRAME)? && event::read()?.as_key_press_event().is_some_and(|key| is_quit(&key)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The terminal does not make a signal of Ctrl-C while it is ours.
fn is_quit(key: &KeyEvent) -> bool {
    let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    key.code == KeyCode::Char('q') || is_interrupt
}

async fn follow_lag(shop: Arc<Shop>) {
    let readers = Service::ALL.into_iter().filter(|service| service.is_reader());
    let groups: Vec<_> = readers.map(|service| shop.names.group(service.name())).collect();
    let monitor = shop.client.lag_monitor().groups(groups).interval(LAG_EVERY).start();
    while let Some(round) = monitor.next_round().await {
        for (group, lags) in round.groups {
            let known = lags.into_iter().flatten().filter_map(|lag| lag.lag());
            shop.board.set_lag(&group, known.sum());
        }
    }
}

impl Snapshot {
    fn of(shop: &Shop, begun: Instant, before: Option<&Self>) -> Self {
        let (board, took) = (&shop.board, begun.elapsed());
        let row = |service: Service| {
            let done = board.done(service);
            let earlier =
                before.and_then(|before| before.services.iter().find(|row| row.name == service.name()));
            let since =
                took.saturating_sub(before.map_or(Duration::ZERO, |before| before.took)).as_secs_f64();
            let more = done.saturating_sub(earlier.map_or(0, |row| row.done));
            ServiceRow {
                name: service.name(),
                done,
                total: board.total(service),
                per_second: if since > 0.0 { (more as f64 / since) as u64 } else { 0 },
                lag: board.lag(&shop.names.group(service.name())),
            }
        };
        Self {
            took,
            services: Service::ALL.map(row).into(),
            retried: board.events(Event::Retried),
            dead_letters: board.events(Event::DeadLetter),
            committed: board.events(Event::Committed),
            aborted: board.events(Event::Aborted),
            told: board.told(50),
        }
    }
}

/// Draws what is in the snapshot, and nothing else.
pub(crate) fn render(frame: &mut Frame<'_>, snapshot: &Snapshot) {
    let services = Constraint::Length(snapshot.services.len() as u16 + 3);
    let [above, counts, below] =
        Layout::vertical([services, Constraint::Length(3), Constraint::Min(3)]).areas(frame.area());
    let title = format!(" milena demo, {:.0} s ", snapshot.took.as_secs_f64());
    let rows = snapshot.services.iter().map(|row| {
        Row::new([
            row.name.to_owned(),
            format!("{:>11}", grouped(row.done)),
            format!("{:>11}", row.total.map_or_else(|| "-".to_owned(), grouped)),
            format!("{:>9}", grouped(row.per_second)),
            format!("{:>9}", row.lag.map_or_else(|| "-".to_owned(), |lag| grouped(lag.max(0) as u64))),
        ])
    });
    let widths = [16, 11, 11, 9, 9].map(Constraint::Length);
    let heading = ["service", "     orders", "         of", " a second", "      lag"];
    let table = Table::new(rows, widths).header(Row::new(heading).style(Style::new().bold()));
    frame.render_widget(table.block(Block::bordered().title(title).title_bottom(" q quits ")), above);

    let line = Line::from(format!(
        "{} retries, {} dead letters   payments: {} transactions committed, {} aborted",
        grouped(snapshot.retried),
        grouped(snapshot.dead_letters),
        grouped(snapshot.committed),
        grouped(snapshot.aborted),
    ));
    frame.render_widget(Paragraph::new(line).block(Block::bordered()), counts);

    let room = usize::from(below.height.saturating_sub(2));
    let told = snapshot.told.iter().skip(snapshot.told.len().saturating_sub(room));
    let told: Vec<_> = told.map(|what| Line::from(what.as_str())).collect();
    frame.render_widget(Paragraph::new(told).block(Block::bordered().title(" what happened ")), below);
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn drawn(snapshot: &Snapshot, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| render(frame, snapshot)).unwrap();
        terminal.backend().to_string()
    }

    fn snapshot() -> Snapshot {
        let row = |name, done, total, lag| ServiceRow { name, done, total, per_second: 2_345, lag };
        Snapshot {
            took: Duration::from_secs(7),
            services: vec![
                row("orders v1", 50_000, None, None),
                row("inventory", 12_345, Some(100_000), Some(678)),
            ],
            retried: 1_000,
            dead_letters: 4,
            committed: 40,
            aborted: 9,
            told: (0..60).map(|number| format!("event {number}")).collect(),
        }
    }

    #[test]
    fn a_snapshot_is_drawn_with_its_rates_lags_and_last_events() {
        let text = drawn(&snapshot(), (80, 20));
        for wanted in [
            "milena demo, 7 s",
            "service               orders          of  a second       lag",
            "orders v1             50,000           -     2,345         -",
            "inventory             12,345     100,000     2,345       678",
            "1,000 retries, 4 dead letters   payments: 40 transactions committed, 9 aborted",
            "q quits",
            "event 59",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
        assert!(!text.contains("event 40"), "{text}");
    }

    #[test]
    fn a_terminal_of_any_size_will_do() {
        for size in [(1, 1), (20, 5), (300, 100)] {
            drawn(&snapshot(), size);
            drawn(&Snapshot::default(), size);
        }
    }

    #[test]
    fn q_and_ctrl_c_quit_and_others_do_not() {
        let key = |code, modifiers| KeyEvent::new(KeyCode::Char(code), modifiers);
        assert!(is_quit(&key('q', KeyModifiers::NONE)) && is_quit(&key('c', KeyModifiers::CONTROL)));
        assert!(!is_quit(&key('c', KeyModifiers::NONE)) && !is_quit(&key('x', KeyModifiers::NONE)));
    }
}
