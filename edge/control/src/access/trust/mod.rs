//! Trust in identity tokens: a JWT signed by an issuer for a CI job is exchanged for a token of the edge.
//!
//! `[[trust]]` of `edge.toml` names issuers by OpenID Connect, required claims, and grants. [`jwt`] parses identity
//! tokens; [`jwks`] parses the keys of an issuer and checks signatures, both without I/O; `keys` fetches and caches
//! these keys; `claims` compares; `exchange` creates the token, in the same commit as the record of the identity token,
//! so that each is exchanged once per cluster. `oidc` reads the identity token of a person, whose groups have roles by
//! `[oidc]`; `visitor` logs in visitors of protected content, `device` users of a command line, with the `client`
//! secret if any.

mod claims;
mod client;
mod client_secret;
mod device;
mod exchange;
mod fetch;
pub mod jwks;
pub mod jwt;
mod keys;
mod oidc;
mod probe;
mod visitor;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use devanture_config::AppName;
use devanture_config::api::Secret;
use devanture_config::edge_toml::{Issuer, Oidc, Trust};
use devanture_config::limits::Limits;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::attempts::log_quota;
use devanture_base::fair::RateLimit;
use keys::Issuers;

pub use client_secret::{BadSecretFile, check_secret_file};
pub use device::DeviceLogin;
pub(crate) use exchange::LENGTH_LIMIT;
pub use probe::{Probed, probe};

/// All trusts, and the keys of their issuers.
pub(super) struct Trusts {
    all: ArcSwap<Vec<Trust>>,
    /// Login provider of people.
    oidc: ArcSwapOption<Oidc>,
    issuers: Issuers,
    /// Permits of visitor logins being confirmed at the provider.
    visitors: Semaphore,
    /// Permits of device grant requests, separate from those of visitors.
    devices: Semaphore,
    /// Token requests of device grant logins, by the hash of the device code.
    polls: RateLimit<[u8; 32]>,
    /// End of the pause of requests, after an overload or failure of the provider.
    paused_until: Mutex<Option<Instant>>,
    /// States of logins whose code was sent to the provider: windows of one attempt each.
    redeemed: RateLimit<[u8; 32]>,
    /// Limit of log lines about the provider, since strangers can cause these.
    log_quota: RateLimit<()>,
}

impl Trusts {
    /// Starts empty.
    pub(super) fn new(limits: &Limits) -> Self {
        let visitors_max = usize::try_from(limits.visitor_logins_at_once_max).unwrap_or(Semaphore::MAX_PERMITS);
        let keys_max = usize::try_from(limits.login_keys_max).unwrap_or(usize::MAX);
        Self {
            all: ArcSwap::default(),
            oidc: ArcSwapOption::empty(),
            issuers: Issuers::new(limits),
            visitors: Semaphore::new(visitors_max.min(Semaphore::MAX_PERMITS)),
            devices: Semaphore::new(visitors_max.min(Semaphore::MAX_PERMITS)),
            polls: RateLimit::new(device::POLLS_MAX, keys_max, device::POLLS_WINDOW_MS),
            paused_until: Mutex::default(),
            redeemed: RateLimit::new(1, keys_max, visitor::LOGIN_MS_MAX),
            log_quota: log_quota(),
        }
    }

    pub(super) fn set_dns_servers(&mut self, servers: &[SocketAddr]) {
        self.issuers.set_dns_servers(servers);
    }

    /// Returns true if the groups have a role in an app, for a person logged in by the client; `None` if the client is
    /// no longer configured.
    pub(super) fn may_see(&self, client: &str, groups: &[String], app: Option<&AppName>) -> Option<bool> {
        let oidc = self.oidc.load_full().filter(|oidc| oidc::client_of(oidc) == client)?;
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        Some(app.is_some_and(|app| oidc.grant(&groups, Some(app), None).is_some()))
    }

    /// Returns true if another request for a device code may be sent to the provider.
    fn may_poll(&self, device_code: &Secret) -> bool {
        self.polls.take(blake3::hash(device_code.expose().as_bytes()).as_bytes()).is_ok()
    }

    /// Returns true for the first redemption of a login's code. A bounded number of logins is remembered.
    fn is_first(&self, state: &blake3::Hash) -> bool {
        self.redeemed.take(state.as_bytes()).is_ok()
    }

    /// Forgets a redemption that was not sent.
    fn take_back_first(&self, state: &blake3::Hash) {
        self.redeemed.give_back(state.as_bytes());
    }

    /// Replaces all trusts. Keys of remaining issuers are not fetched again.
    pub(super) fn set(&self, trusts: Vec<Trust>, oidc: Option<Oidc>) {
        let of_trusts = trusts.iter().map(|trust| (&trust.issuer, &trust.ca));
        let of_all = of_trusts.chain(oidc.iter().map(|oidc| (&oidc.issuer, &oidc.ca)));
        self.issuers.trust(of_all.filter_map(|(issuer, ca)| Some((issuer.clone(), ca.clone()?))));
        let is_provider = |issuer: &Issuer| oidc.as_ref().is_some_and(|oidc| oidc.issuer == *issuer);
        self.issuers.retain(|issuer| is_provider(issuer) || trusts.iter().any(|trust| trust.issuer == *issuer));
        self.all.store(Arc::new(trusts));
        let is_same = self.oidc.load().as_ref().map(|before| &before.issuer) == oidc.as_ref().map(|oidc| &oidc.issuer);
        if !is_same {
            // The pause concerned another provider.
            *self.paused_until.lock() = None;
        }
        self.oidc.store(oidc.map(Arc::new));
    }
}
