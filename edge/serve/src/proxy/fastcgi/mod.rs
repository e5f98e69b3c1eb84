//! FastCGI as it is spoken with backends such as PHP-FPM: records (`records`), the parameters of a request (`params`),
//! the head of an answer (`answer`), and a connection that the request waiting for it drives (`connection`).

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

/// A member that speaks FastCGI.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    /// Whether its connections are kept for the next request.
    keep_alive: bool,
    /// Its app, environment and upstream, for the log.
    owner: String,
    scripts: Scripts,
}

impl Backend {
    /// The member at `address` of a pool that declares it, if it speaks FastCGI.
    pub(super) fn declared(key: &PoolKey, address: &UpstreamUrl) -> Option<Arc<Self>> {
        let scripts = key.declared.scripts().filter(|_| address.is_fastcgi())?;
        Some(Self::new(key, scripts))
    }

    /// A member of that pool with those scripts.
    pub(super) fn new(key: &PoolKey, scripts: Scripts) -> Arc<Self> {
        let owner = format!("{}/{}/{}", key.app, key.place, key.name);
        Arc::new(Self { keep_alive: key.declared.keep_alive.unwrap_or(false), owner, scripts })
    }
}
