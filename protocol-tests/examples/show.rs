#![allow(clippy::all, clippy::print_stdout, clippy::unwrap_used, missing_docs)]
use protocol_tests::sim::*;
fn main() {
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    println!("{}", run(n, Options { keep_trace: true, ..Options::default() }).explain());
}
