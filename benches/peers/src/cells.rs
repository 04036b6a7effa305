//! What stands in the cells of a table.

use crate::{
    case::{Case, Work},
    measure::{Latency, Sample},
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
    if case.work == Work::Latency { Ok(latency_cells(table)) } else { Ok(rate_cells(table, case)) }
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
