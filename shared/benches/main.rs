//! What `shared` costs: `cargo bench -p shared`, or a part of it by name: `cargo bench -p shared -- 'mst: insert'`.
//!
//! Criterion reports each contender and compares it with the run before; each group ends with a table of all of them.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot unwrap has failed")]

mod apply;
mod car;
mod codec;
mod figures;
mod firehose;
mod keys;
mod mst;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .without_plots()
        .configure_from_args();
    for run in [codec::run, mst::run, car::run, keys::run, apply::run, firehose::run] {
        run(&mut criterion);
    }
    criterion.final_summary();
}
