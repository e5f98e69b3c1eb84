//! Effects of a site's rules, over sockets: rule files with each provider's semantics and tables of `devanture.toml`,
//! pushed to a running edge and requested by a visitor. Each table of cases names the source document.

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
