//! Attacks on a running edge, in folders by actor, with the costs and targets that must stay out of reach.
//!
//! `visitor` has no rights at all, `tenant` owns one app, `token` holds a leaked token of another's app, `backend`
//! serves a route. `SECURITY.md` names the test behind each promise.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod backend;
mod tenant;
mod token;
mod visitor;
mod world;
