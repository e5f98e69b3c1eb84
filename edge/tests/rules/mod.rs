//! What the rules of a site do, over sockets: files of rules in each provider's meaning and tables of `devanture.toml`,
//! pushed to a running edge and asked by a visitor. A table is headed by the document that its rows are made from.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod access;
mod cloudflare;
mod fields;
mod netlify;
mod passed_on;
mod publish;
mod safety;
mod site;
mod tables;
