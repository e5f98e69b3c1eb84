//! Attacks on a running edge, in folders by actor: what each may cost, and what it must not reach.
//!
//! `visitor` has no rights at all, `tenant` owns an app of its own, `token` holds a leaked token of another's app,
//! `backend` answers for a route. `SECURITY.md` names the test that holds each promise.
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
