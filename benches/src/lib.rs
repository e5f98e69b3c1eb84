//! A home for the benches: `benches/pure.rs` by Criterion, `serve` and `push` against real programs; and what several
//! of them measure.

pub mod worst_rules;
