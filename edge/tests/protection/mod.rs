//! Protected previews and environments, seen from outside: strangers, passwords, share links, tokens, and intermediate
//! caches.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod accounts;
mod caches;
mod hostile;
mod links;
mod oidc;
mod oidc_hostile;
mod one_login;
mod one_login_hostile;
mod provider;
mod proxied;
mod strangers;
mod world;
