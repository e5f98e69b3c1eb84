//! FastCGI client for backends such as PHP-FPM: records (`records`), the parameters of a request (`params`), the head
//! of a response (`answer`), and a connection driven by the request that awaits its response (`connection`).

pub mod answer;
mod check;
mod connection;
mod params;
pub mod records;
pub mod script;

pub use check::status_of;
pub(crate) use connection::{Body, Connection};

use std::sync::Arc;

use devanture_config::site_toml::{Scripts, UpstreamUrl};

use super::pool::PoolKey;

/// A FastCGI member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    /// True if connections are kept for the next request.
    keep_alive: bool,
    /// App, environment and upstream of the member, for the log.
    owner: String,
    scripts: Scripts,
}

impl Backend {
    /// Creates the backend for the member at `address` of a pool, if the pool declares FastCGI.
    pub(super) fn declared(key: &PoolKey, address: &UpstreamUrl) -> Option<Arc<Self>> {
        let scripts = key.declared.scripts().filter(|_| address.is_fastcgi())?;
        Some(Self::new(key, scripts))
    }

    /// Creates a backend of the pool `key` with `scripts`.
    pub(super) fn new(key: &PoolKey, scripts: Scripts) -> Arc<Self> {
        let owner = format!("{}/{}/{}", key.app, key.place, key.name);
        Arc::new(Self { keep_alive: key.declared.keep_alive.unwrap_or(false), owner, scripts })
    }
}
