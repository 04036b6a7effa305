//! What stands in the cells of a table.

use crate::{
    case::{Case, Variant, Work},
    measure::{Latency, Pause, Sample},
    peers::Peer,
    turns::{Row, Table},
};

/// What of a row's runs goes into a table.
struct Figures {
    rate: Spread,
    cpu: Spread,
    peak_mib: f64,
}

/// The best and the middle of several.
#[derive(Clone, Copy)]
struct Spread {
    best: f64,
    median: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>, more_is_better: bool) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied()?;
        let median = match values.len().is_multiple_of(2) {
            true => f64::midpoint(median, values.get((values.len() / 2).checked_sub(1)?).copied()?),
            false => median,
        };
        let best = if more_is_better { values.last() } else { values.first() };
        Some(Self { best: *best?, median })
    }
}

impl Figures {
    fn of(samples: &[Sample]) -> Option<Self> {
        let records = |sample: &Sample| (sample.records as f64).max(1.0);
        let each = |figure: &dyn Fn(&Sample) -> f64| samples.iter().map(figure).collect::<Vec<_>>();
        Some(Self {
            rate: Spread::of(each(&|sample| records(sample) / sample.seconds), true)?,
            cpu: Spread::of(each(&|sample| sample.cpu_us / records(sample)), false)?,
            peak_mib: Spread::of(each(&|sample| sample.peak_kib as f64 / 1024.0), false)?.median,
        })
    }
}

/// A table's cells, the first line the header's.
pub(crate) type Cells = Vec<Vec<String>>;

pub(crate) fn cells(table: &Table) -> anyhow::Result<Cells> {
    let case: Case = table.case.parse()?;
    Ok(match (case.work, case.variant) {
        (Work::Latency, _) => latency_cells(table),
        (Work::Join, _) => join_cells(table),
        (Work::Rebalance, _) => pause_cells(table),
        (Work::Consume, Variant::Idle) => idle_cells(table),
        (Work::Consume, Variant::Budget(mib)) => budget_cells(table, mib),
        (Work::Produce | Work::Consume, _) => rate_cells(table, case),
    })
}

fn rate_cells(table: &Table, case: Case) -> Cells {
    let header = [
        "peer",
        "k records/s",
        "(median)",
        "MB/s",
        "CPU µs/record",
        "(median)",
        "CPU / Milena's",
        "peak MiB",
        "stored B/record",
        "received / stored",
        "uneven",
        "",
    ];
    let mut cells = vec![header.map(str::to_owned).to_vec()];
    let milena = figures_of(table, Peer::Milena);
    for row in &table.rows {
        let Some(figures) = Figures::of(&row.samples) else {
            cells.push(without_figures(row, header.len()));
            continue;
        };
        let ratio = milena
            .as_ref()
            .map_or_else(String::new, |milena| format!("{:.2}", figures.cpu.best / milena.cpu.best));
        cells.push(vec![
            row.peer.to_owned(),
            format!("{:.0}", figures.rate.best / 1e3),
            format!("{:.0}", figures.rate.median / 1e3),
            format!("{:.0}", figures.rate.best * case.value as f64 / 1e6),
            format!("{:.3}", figures.cpu.best),
            format!("{:.3}", figures.cpu.median),
            ratio,
            format!("{:.0}", figures.peak_mib),
            row.stored.map_or_else(String::new, |stored| format!("{stored:.0}")),
            row.received.map_or_else(String::new, |received| format!("{received:.3}")),
            uneven(&row.samples),
            row.problem.clone().unwrap_or_default(),
        ]);
    }
    cells
}

fn latency_cells(table: &Table) -> Cells {
    let header = ["peer", "p50 µs", "(median)", "p99 µs", "p99.9 µs", "p50 / Milena's", "CPU µs/record", ""];
    let mut cells = vec![header.map(str::to_owned).to_vec()];
    let p50 = |row: &Row| quantile(row, |latency| latency.p50);
    let milena = table.rows.iter().find(|row| row.peer == Peer::Milena.as_str()).and_then(p50);
    for row in &table.rows {
        let spreads = (
            p50(row),
            quantile(row, |latency| latency.p99),
            quantile(row, |latency| latency.p999),
            Figures::of(&row.samples),
        );
        let (Some(p50), Some(p99), Some(p999), Some(figures)) = spreads else {
            cells.push(without_figures(row, header.len()));
            continue;
        };
        let ratio =
            milena.map_or_else(String::new, |milena: Spread| format!("{:.2}", p50.best / milena.best));
        cells.push(vec![
            row.peer.to_owned(),
            format!("{:.0}", p50.best),
            format!("{:.0}", p50.median),
            format!("{:.0}", p99.best),
            format!("{:.0}", p999.best),
            ratio,
            format!("{:.1}", figures.cpu.best),
            row.problem.clone().unwrap_or_default(),
        ]);
    }
    cells
}

fn join_cells(table: &Table) -> Cells {
    let header = ["peer", "p50 ms", "(median)", "max ms", "p50 / franz-go's", "CPU ms/join", "peak MiB", ""];
    let mut cells = vec![header.map(str::to_owned).to_vec()];
    let p50 = |row: &Row| quantile(row, |latency| latency.p50);
    let franz_go = table.rows.iter().find(|row| row.peer == Peer::FranzGo.as_str()).and_then(p50);
    for row in &table.rows {
        let figures = (p50(row), quantile(row, |latency| latency.max), Figures::of(&row.samples));
        let (Some(p50), Some(max), Some(figures)) = figures else {
            cells.push(without_figures(row, header.len()));
            continue;
        };
        let ratio = franz_go.map_or_else(String::new, |franz_go| format!("{:.2}", p50.best / franz_go.best));
        cells.push(vec![
            row.peer.to_owned(),
            format!("{:.1}", p50.best / 1e3),
            format!("{:.1}", p50.median / 1e3),
            format!("{:.1}", max.median / 1e3),
            ratio,
            format!("{:.1}", figures.cpu.best / 1e3),
            format!("{:.0}", figures.peak_mib),
            row.problem.clone().unwrap_or_default(),
        ]);
    }
    cells
}

fn pause_cells(table: &Table) -> Cells {
    let header =
        ["peer", "gap ms", "(median)", "gap before", "delay ms", "(median)", "delay before", "stayed", ""];
    let mut cells = vec![header.map(str::to_owned).to_vec()];
    for row in &table.rows {
        let pauses = row.samples.iter().filter_map(|sample| sample.pause);
        let spread =
            |of: fn(&Pause) -> f64| Spread::of(pauses.clone().map(|pause| of(&pause)).collect(), false);
        let figures = (
            spread(|pause| pause.gap),
            spread(|pause| pause.quiet_gap),
            spread(|pause| pause.delay),
            spread(|pause| pause.quiet_delay),
            pauses.clone().map(|pause| pause.partitions).min(),
        );
        let (Some(gap), Some(quiet_gap), Some(delay), Some(quiet_delay), Some(stayed)) = figures else {
            cells.push(without_figures(row, header.len()));
            continue;
        };
        cells.push(vec![
            row.peer.to_owned(),
            format!("{:.1}", gap.best),
            format!("{:.1}", gap.median),
            format!("{:.1}", quiet_gap.median),
            format!("{:.1}", delay.best),
            format!("{:.1}", delay.median),
            format!("{:.1}", quiet_delay.median),
            stayed.to_string(),
            row.problem.clone().unwrap_or_default(),
        ]);
    }
    cells
}

fn idle_cells(table: &Table) -> Cells {
    let header = [
        "peer",
        "k records/s, all busy",
        "(median)",
        "with an idle one",
        "(median)",
        "idle / busy",
        "(of medians)",
        "",
    ];
    let mut cells = vec![header.map(str::to_owned).to_vec()];
    for row in &table.rows {
        let (Some(busy), Some(idle)) = (Figures::of(&row.without_idle), Figures::of(&row.samples)) else {
            cells.push(without_figures(row, header.len()));
            continue;
        };
        cells.push(vec![
            row.peer.to_owned(),
            format!("{:.0}", busy.rate.best / 1e3),
            format!("{:.0}", busy.rate.median / 1e3),
            format!("{:.0}", idle.rate.best / 1e3),
            format!("{:.0}", idle.rate.median / 1e3),
            format!("{:.2}", idle.rate.best / busy.rate.best),
            format!("{:.2}", idle.rate.median / busy.rate.median),
            row.problem.clone().unwrap_or_default(),
        ]);
    }
    cells
}

fn budget_cells(table: &Table, budget_mib: u16) -> Cells {
    let header = [
        "peer",
        "budget MiB",
        "peak MiB",
        "(median)",
        "peak - budget",
        "before MiB",
        "k records/s",
        "uneven",
        "",
    ];
    let mut cells = vec![header.map(str::to_owned).to_vec()];
    for row in &table.rows {
        let mib = |of: fn(&Sample) -> u64| {
            Spread::of(row.samples.iter().map(|sample| of(sample) as f64 / 1024.0).collect(), false)
        };
        let figures =
            (mib(|sample| sample.peak_kib), mib(|sample| sample.base_kib), Figures::of(&row.samples));
        let (Some(peak), Some(base), Some(figures)) = figures else {
            cells.push(without_figures(row, header.len()));
            continue;
        };
        cells.push(vec![
            row.peer.to_owned(),
            budget_mib.to_string(),
            format!("{:.1}", peak.best),
            format!("{:.1}", peak.median),
            format!("{:.1}", peak.best - f64::from(budget_mib)),
            format!("{:.1}", base.median),
            format!("{:.0}", figures.rate.best / 1e3),
            uneven(&row.samples),
            row.problem.clone().unwrap_or_default(),
        ]);
    }
    cells
}

/// The worst of all runs.
fn uneven(samples: &[Sample]) -> String {
    let worst = samples.iter().filter_map(|sample| sample.uneven).max_by(f64::total_cmp);
    worst.map_or_else(String::new, |worst| format!("{worst:.2}"))
}

fn quantile(row: &Row, of: impl Fn(&Latency) -> f64) -> Option<Spread> {
    Spread::of(row.samples.iter().filter_map(|sample| sample.latency.as_ref().map(&of)).collect(), false)
}

fn figures_of(table: &Table, peer: Peer) -> Option<Figures> {
    table.rows.iter().find(|row| row.peer == peer.as_str()).and_then(|row| Figures::of(&row.samples))
}

fn without_figures(row: &Row, columns: usize) -> Vec<String> {
    let mut line = vec![String::new(); columns];
    if let Some(first) = line.first_mut() {
        row.peer.clone_into(first);
    }
    if let Some(last) = line.last_mut() {
        *last = row.problem.clone().unwrap_or_else(|| "not run".to_owned());
    }
    line
}
