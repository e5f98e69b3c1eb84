//! The edge: a server that stores bundles, serves versions of them, and switches between versions without a visitor
//! noticing.
//!
//! The two planes are crates of their own, `devanture-serve` and `devanture-control`, over `devanture-base`,
//! `devanture-http`, `devanture-store` and `devanture-host`. Here they are put together: [`server`] starts them, takes
//! over from a running edge and ends, [`doctor`] finds out what is wrong with a machine.

pub mod server;

pub mod doctor;
