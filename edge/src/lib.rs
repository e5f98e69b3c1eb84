//! The edge: a server that stores bundles, serves versions, and switches between versions without visible interruption.
//!
//! The two planes are separate crates, `devanture-serve` and `devanture-control`, on top of `devanture-base`,
//! `devanture-http`, `devanture-store` and `devanture-host`. [`server`] composes the crates, starts the threads, takes
//! over from a running edge and shuts down; [`doctor`] diagnoses a machine.

pub mod server;

pub mod doctor;
