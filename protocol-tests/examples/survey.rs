#![allow(clippy::all, clippy::print_stdout, clippy::unwrap_used, missing_docs)]
use protocol_tests::sim::*;
use std::collections::BTreeMap;
fn main() {
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let t = std::time::Instant::now();
    for seed in 0..n {
        let r = run(seed, Options::default());
        if std::env::args().nth(2).is_some() && !r.violations.is_empty() {
            println!("seed {seed}: {:.1?} {}", t.elapsed(), r.violations[0]);
            return;
        }
        for v in &r.violations {
            let text: String = v
                .to_string()
                .split(|c| c == '(' || c == '{')
                .next()
                .unwrap()
                .chars()
                .filter(|c| !c.is_ascii_digit())
                .take(90)
                .collect();
            let e = kinds.entry(text).or_insert((seed, 0));
            e.1 += 1;
        }
    }
    println!("{n} in {:?}", t.elapsed());
    for (k, (s, c)) in kinds {
        println!("{c:>6} first seed {s:>5}: {k}");
    }
}
