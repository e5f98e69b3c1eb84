//! Shared code of the benchmarks: `benches/pure.rs` by Criterion, `serve` and `push` against real programs.

pub mod worst_rules;
