//! Nothing but a home for the benches: `benches/pure.rs` by Criterion, `serve` and `push` against real programs.
