//! Cached keys of issuers: fetched at first use, again when old or when a key is unknown, and kept for a bounded time
//! while their issuer is unreachable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use devanture_config::edge_toml::Issuer;
use devanture_config::limits::Limits;
use http::HeaderValue;
use http::response::Parts;
use parking_lot::Mutex;

use super::fetch::{self, Authorities, Endpoints, Fetcher, Published};
use super::jwks::{Keys, Verdict};
use super::jwt::Jwt;

/// Factor by which the pause after a failed fetch is shorter than the pause after a fetch for an unknown key.
const FAILURE_FACTOR: u32 = 6;

/// Failure to fetch an issuer's keys without cached keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable {
    /// Time until the next attempt.
    pub(super) wait: Duration,
}

/// Keys of all issuers.
pub(super) struct Issuers {
    states: Mutex<BTreeMap<Issuer, Arc<State>>>,
    /// Authorities of issuers from `edge.toml`.
    authorities: Mutex<BTreeMap<Issuer, Arc<Authorities>>>,
    fetcher: Fetcher,
    /// Shortest interval between two fetches for an unknown key.
    pause: Duration,
    /// Longest use of cached keys.
    age_max: Duration,
}

#[derive(Default)]
struct State {
    fetched: ArcSwapOption<Fetched>,
    /// Locked during a fetch, so that concurrent callers share one fetch.
    last: tokio::sync::Mutex<Option<Attempt>>,
}

struct Fetched {
    keys: Keys,
    endpoints: Arc<Endpoints>,
    at: Instant,
    fresh_for: Duration,
}

#[derive(Clone, Copy)]
struct Attempt {
    at: Instant,
    has_failed: bool,
}

impl Issuers {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            states: Mutex::default(),
            authorities: Mutex::default(),
            fetcher: Fetcher::new(limits),
            pause: Duration::from_millis(limits.identity_fetch_pause_ms_min),
            age_max: Duration::from_millis(limits.identity_keys_ms_max),
        }
    }

    pub(super) fn set_dns_servers(&mut self, servers: &[SocketAddr]) {
        self.fetcher.set_dns_servers(servers);
    }

    /// Replaces the authority files of issuers, trusted in addition to the platform's.
    pub(super) fn trust(&self, files: impl Iterator<Item = (Issuer, PathBuf)>) {
        let mut of_issuers: BTreeMap<Issuer, BTreeSet<PathBuf>> = BTreeMap::new();
        for (issuer, file) in files {
            of_issuers.entry(issuer).or_default().insert(file);
        }
        let of_issuers = of_issuers.into_iter().map(|(issuer, files)| (issuer, Arc::new(Authorities::new(files))));
        *self.authorities.lock() = of_issuers.collect();
    }

    /// Sends a form to an endpoint of an issuer. Any status counts as an answer.
    pub(super) async fn post(
        &self,
        issuer: &Issuer,
        url: &str,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<(Parts, Bytes), fetch::Error> {
        let authorities = self.authorities.lock().get(issuer).cloned();
        self.fetcher.post(url, form, authorization, authorities.as_deref()).await
    }

    /// Forgets the keys of other issuers.
    pub(super) fn retain(&self, is_known: impl Fn(&Issuer) -> bool) {
        self.states.lock().retain(|issuer, _| is_known(issuer));
    }

    /// Checks the signature of an identity token with the keys of its issuer.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub(super) async fn check(&self, issuer: &Issuer, jwt: &Jwt<'_>) -> Result<Verdict, Unavailable> {
        let look = |fetched: &Fetched| Some(fetched.keys.check(jwt)).filter(|verdict| *verdict != Verdict::UnknownKey);
        let (usable, failed) = match self.look(issuer, look).await {
            Ok(verdict) => return Ok(verdict),
            Err(found) => found,
        };
        match (usable.map(|fetched| fetched.keys.check(jwt)), failed) {
            // A new key of the issuer is indistinguishable from a false key.
            (None, failed) | (Some(Verdict::UnknownKey), failed @ Some(_)) => Err(self.unavailable(failed)),
            (Some(verdict), _) => Ok(verdict),
        }
    }

    /// Returns the login endpoints of an issuer.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub(super) async fn endpoints(&self, issuer: &Issuer) -> Result<Arc<Endpoints>, Unavailable> {
        let look = |fetched: &Fetched| Some(Arc::clone(&fetched.endpoints));
        match self.look(issuer, look).await {
            Ok(endpoints) => Ok(endpoints),
            Err((Some(fetched), _)) => Ok(Arc::clone(&fetched.endpoints)),
            Err((None, failed)) => Err(self.unavailable(failed)),
        }
    }

    /// Applies `look` to fresh data; otherwise fetches again and applies `look` to usable data, with the last attempt
    /// if failed.
    async fn look<T>(
        &self,
        issuer: &Issuer,
        look: impl Fn(&Fetched) -> Option<T>,
    ) -> Result<T, (Option<Arc<Fetched>>, Option<Attempt>)> {
        let state = Arc::clone(self.states.lock().entry(issuer.clone()).or_default());
        let before = state.fetched.load_full();
        let fresh = before.as_ref().filter(|fetched| fetched.at.elapsed() < fetched.fresh_for);
        if let Some(found) = fresh.and_then(|fetched| look(fetched)) {
            return Ok(found);
        }
        let mut last = state.last.lock().await;
        let current = state.fetched.load_full();
        let is_fetched_meanwhile = current.as_ref().map(Arc::as_ptr) != before.as_ref().map(Arc::as_ptr);
        if !is_fetched_meanwhile && self.may_fetch(*last, current.as_deref()) {
            let authorities = self.authorities.lock().get(issuer).cloned();
            let fetched = self.fetcher.published(issuer, authorities.as_deref()).await;
            *last = Some(Attempt { at: Instant::now(), has_failed: fetched.is_err() });
            match fetched {
                Ok(Published { keys, endpoints, fresh_for }) => {
                    let (endpoints, at) = (Arc::new(endpoints), Instant::now());
                    state.fetched.store(Some(Arc::new(Fetched { keys, endpoints, at, fresh_for })));
                }
                Err(error) => tracing::warn!(%issuer, %error, "the keys of an issuer cannot be fetched"),
            }
        }
        let failed = last.filter(|attempt| attempt.has_failed);
        drop(last);
        Err((state.fetched.load_full().filter(|fetched| fetched.at.elapsed() < self.age_max), failed))
    }

    fn may_fetch(&self, last: Option<Attempt>, fetched: Option<&Fetched>) -> bool {
        let Some(last) = last else { return true };
        if last.has_failed {
            return last.at.elapsed() >= self.pause / FAILURE_FACTOR;
        }
        let is_old = fetched.is_none_or(|fetched| fetched.at.elapsed() >= fetched.fresh_for);
        is_old || last.at.elapsed() >= self.pause
    }

    fn unavailable(&self, failed: Option<Attempt>) -> Unavailable {
        let pause = self.pause / FAILURE_FACTOR;
        Unavailable { wait: failed.map_or(pause, |attempt| pause.saturating_sub(attempt.at.elapsed())) }
    }
}
