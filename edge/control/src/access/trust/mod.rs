//! Trust in identity tokens: a JWT that an issuer signed for a job of a CI system is exchanged for a token of the edge.
//!
//! `[[trust]]` of `edge.toml` names issuers by OpenID Connect, the claims that count, and what they give. [`jwt`] reads
//! an identity token, [`jwks`] the keys of an issuer and checks signatures by them, both without I/O; `keys` fetches
//! these keys and holds them; `claims` compares; `exchange` makes the token, in the same commit as the record of the
//! identity token, so that each is exchanged once in a whole cluster. `oidc` reads the identity token of a person, whom
//! `[oidc]` gives a role by their groups; `visitor` has one log in there who wants to see what is protected, and
//! `device` one who runs a command, where the `client` has a secret.

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
    /// The provider at which people log in.
    oidc: ArcSwapOption<Oidc>,
    issuers: Issuers,
    /// Logins of visitors that the provider may confirm at once.
    visitors: Semaphore,
    /// Requests of logins with the device grant at once: neither kind takes the places of the other.
    devices: Semaphore,
    /// Requests for the token of a login with the device grant, by the hash of its device code.
    polls: RateLimit<[u8; 32]>,
    /// When the provider may be sent forms again, after it answered that it is sent too many, or that it is down.
    paused_until: Mutex<Option<Instant>>,
    /// States of logins whose code was sent to the provider: windows with one attempt each.
    redeemed: RateLimit<[u8; 32]>,
    /// Lines of the log about the provider: strangers cause them, too.
    log_quota: RateLimit<()>,
}

impl Trusts {
    /// None yet.
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

    /// Whether these groups have a role in an app, for a person who logged in as this client; `None` where the edge is
    /// none any more.
    pub(super) fn may_see(&self, client: &str, groups: &[String], app: Option<&AppName>) -> Option<bool> {
        let oidc = self.oidc.load_full().filter(|oidc| oidc::client_of(oidc) == client)?;
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        Some(app.is_some_and(|app| oidc.grant(&groups, Some(app), None).is_some()))
    }

    /// Whether the provider may be sent a device code once more.
    fn may_poll(&self, device_code: &Secret) -> bool {
        self.polls.take(blake3::hash(device_code.expose().as_bytes()).as_bytes()).is_ok()
    }

    /// Whether a login with this state has its code redeemed for the first time. Remembered are a bounded number of
    /// them.
    fn is_first(&self, state: &blake3::Hash) -> bool {
        self.redeemed.take(state.as_bytes()).is_ok()
    }

    /// The code of a login was not sent after all.
    fn take_back_first(&self, state: &blake3::Hash) {
        self.redeemed.give_back(state.as_bytes());
    }

    /// Replaces all of them. Keys of issuers that stay are not fetched again.
    pub(super) fn set(&self, trusts: Vec<Trust>, oidc: Option<Oidc>) {
        let of_trusts = trusts.iter().map(|trust| (&trust.issuer, &trust.ca));
        let of_all = of_trusts.chain(oidc.iter().map(|oidc| (&oidc.issuer, &oidc.ca)));
        self.issuers.trust(of_all.filter_map(|(issuer, ca)| Some((issuer.clone(), ca.clone()?))));
        let is_provider = |issuer: &Issuer| oidc.as_ref().is_some_and(|oidc| oidc.issuer == *issuer);
        self.issuers.retain(|issuer| is_provider(issuer) || trusts.iter().any(|trust| trust.issuer == *issuer));
        self.all.store(Arc::new(trusts));
        let is_same = self.oidc.load().as_ref().map(|before| &before.issuer) == oidc.as_ref().map(|oidc| &oidc.issuer);
        if !is_same {
            // It was that of another provider.
            *self.paused_until.lock() = None;
        }
        self.oidc.store(oidc.map(Arc::new));
    }
}
