//! Settings of `devanture.toml` about serving, for every environment or one; part of the manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cors::CorsOrigin;
use super::mistaken::EntryMistake;
use super::process::MainKind;
use super::routes::{Route, RouteTo};
use super::rules::{CacheTable, HeadersTable, RedirectTable};
use super::server::{SERVER_UPSTREAM, ServerTable};
use super::smoke::SmokeCheck;
use super::upstream_url::UpstreamUrl;
use super::upstreams::Declared;
use crate::names::{Canonical, HostPattern};

/// Mapping of paths without `.html` to pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HtmlHandling {
    /// Exactly, then with `.html`, then `/index.html`; never a redirect.
    AsIs,
    /// `page.html` at `/page`, `page/index.html` at `/page/`; all other forms redirect there.
    AutoTrailingSlash,
    /// Every page without a final slash.
    DropTrailingSlash,
    /// Every page with a final slash.
    ForceTrailingSlash,
    /// Files under their own names alone.
    None,
}

/// Hashes of scripts and style sheets in the pages of a version, and the treatment of resources without a hash by
/// browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    /// No hashes: pages as they are in the bundle.
    Off,
    /// Hashes, and reports about resources without a hash.
    Report,
    /// Hashes, and browsers block resources without a hash.
    Enforce,
}

/// Response for a path without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotFound {
    /// The nearest `404.html` upwards, with status 404.
    #[serde(rename = "404-page")]
    Page404,
    /// `/index.html` for navigations, 404 for all other requests.
    SinglePageApplication,
    /// A plain 404.
    None,
}

/// Pinning of a visitor to the version of the first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pin {
    /// No pinning: each request gets the live version.
    Off,
    /// Until the visitor was away for a while.
    Session,
}

/// Provider whose meaning `_redirects` and `_headers` have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rules {
    /// Cloudflare.
    Cloudflare,
    /// Netlify.
    Netlify,
}

pub(super) const HTML_HANDLING: &[(&str, HtmlHandling)] = &[
    ("as-is", HtmlHandling::AsIs),
    ("auto-trailing-slash", HtmlHandling::AutoTrailingSlash),
    ("drop-trailing-slash", HtmlHandling::DropTrailingSlash),
    ("force-trailing-slash", HtmlHandling::ForceTrailingSlash),
    ("none", HtmlHandling::None),
];
pub(super) const NOT_FOUND: &[(&str, NotFound)] = &[
    ("404-page", NotFound::Page404),
    ("single-page-application", NotFound::SinglePageApplication),
    ("none", NotFound::None),
];
pub(super) const INTEGRITY: &[(&str, Integrity)] =
    &[("off", Integrity::Off), ("report", Integrity::Report), ("enforce", Integrity::Enforce)];
pub(super) const PIN: &[(&str, Pin)] = &[("off", Pin::Off), ("session", Pin::Session)];
pub(super) const RULES: &[(&str, Rules)] = &[("cloudflare", Rules::Cloudflare), ("netlify", Rules::Netlify)];

/// Default of `pin_idle_ms`: half an hour, the usual length of a visit in analytics.
const PIN_IDLE_MS: u64 = 30 * 60 * 1_000;
/// Range of `pin_idle_ms`: from a second to a day.
pub(super) const PIN_IDLE_MS_RANGE: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;

/// Returns the word of a value in a list.
fn word_of<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, own)| *own == value).map_or("", |(word, _)| word)
}

impl HtmlHandling {
    /// Returns the word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of(HTML_HANDLING, self)
    }
}

impl NotFound {
    /// Returns the word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of(NOT_FOUND, self)
    }
}

impl Rules {
    /// Returns the word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of(RULES, self)
    }
}

/// Settings of a table about serving; missing keys are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// Cache lifetimes for browsers and caches, by path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<BTreeMap<String, CacheTable>>,
    /// Fields of responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<HeadersTable>>,
    /// Redirect target of other hostnames; by default the first hostname, wildcards excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<Canonical>,
    /// Origins whose pages may use the backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Vec<CorsOrigin>>,
    /// Custom hostnames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostnames: Option<Vec<HostPattern>>,
    /// `html_handling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html_handling: Option<HtmlHandling>,
    /// `integrity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
    /// `not_found`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_found: Option<NotFound>,
    /// `pin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// Milliseconds without a request after which a visitor's pin ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_idle_ms: Option<u64>,
    /// True if `release.json` publishes the commit, the branch and the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_source: Option<bool>,
    /// Redirected paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirects: Option<Vec<RedirectTable>>,
    /// Rewritten paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrites: Option<Vec<RedirectTable>>,
    /// Paths served by backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    /// Provider whose meaning the rule files have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// Backend in the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerTable>,
    /// Checks required before a version goes live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke: Option<Vec<SmokeCheck>>,
    /// True if the environment's hostnames have a status page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_page: Option<bool>,
    /// Pools of backends for routes and rewrites, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<BTreeMap<String, Declared>>,
}

impl Serving {
    /// Returns true if no key is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the seconds without a request after which a visitor's pin ends; `None` without pinning.
    #[must_use]
    pub fn pin_idle_s(&self) -> Option<u32> {
        let idle_ms = self.pin_idle_ms.unwrap_or(PIN_IDLE_MS);
        (self.pin == Some(Pin::Session)).then(|| u32::try_from(idle_ms / 1_000).unwrap_or(u32::MAX))
    }

    /// Iterates over every address of a backend: of `upstreams`, then of routes.
    pub fn backends(&self) -> impl Iterator<Item = &UpstreamUrl> {
        let declared = self.upstreams.iter().flatten().flat_map(|(_, declared)| declared.to());
        let routed = self.routes.iter().flatten().filter_map(|route| match &route.to {
            RouteTo::Address(to) => Some(to),
            RouteTo::Upstream(_) => None,
        });
        declared.chain(routed)
    }

    /// Appends the routes of the backend in the bundle.
    #[must_use]
    pub fn with_server_routes(mut self) -> Self {
        let own: Vec<_> = self.server.iter().flat_map(|server| server.as_routes()).collect();
        if !own.is_empty() {
            self.routes.get_or_insert_default().extend(own);
        }
        self
    }

    /// Returns the mistake of the bundle's own backend, if any; for a table merged with all layers below.
    #[must_use]
    pub fn mistaken_server(&self) -> Option<EntryMistake> {
        let server = self.server.as_ref()?;
        server.incomplete().or_else(|| {
            let declared = self.upstreams.as_ref()?.get(SERVER_UPSTREAM)?;
            let wrong = |message: &str| Some(EntryMistake { key: "upstreams", message: message.to_owned() });
            if !declared.to().is_empty() {
                return wrong("is the pool of [server]: its members are the instances, and `to` stays empty");
            }
            let is_fastcgi = declared.pool().root.is_some();
            if is_fastcgi && server.kind != Some(MainKind::Php) {
                return wrong("has `root`, which is for FastCGI, and [server] is not of kind = \"php\"");
            }
            None
        })
    }

    /// Iterates over the routes to a missing pool, with their numbers; for a table merged with its layers.
    pub fn routes_to_nothing(&self) -> impl Iterator<Item = (usize, &Route)> {
        let is_declared = |name: &str| self.upstreams.as_ref().is_some_and(|all| all.contains_key(name));
        let is_there = move |name: &str| is_declared(name) || (self.server.is_some() && name == SERVER_UPSTREAM);
        self.routes
            .iter()
            .flatten()
            .enumerate()
            .filter(move |(_, route)| matches!(&route.to, RouteTo::Upstream(name) if !is_there(name.as_str())))
    }

    /// Overlays these settings with `over`: `over` takes precedence, lists as a whole, `cache` and `upstreams` by key.
    #[must_use]
    pub fn overlaid_by(self, over: &Self) -> Self {
        Self {
            cache: merged(self.cache, over.cache.as_ref()),
            headers: over.headers.clone().or(self.headers),
            canonical: over.canonical.clone().or(self.canonical),
            cors: over.cors.clone().or(self.cors),
            hostnames: over.hostnames.clone().or(self.hostnames),
            html_handling: over.html_handling.or(self.html_handling),
            integrity: over.integrity.or(self.integrity),
            not_found: over.not_found.or(self.not_found),
            pin: over.pin.or(self.pin),
            pin_idle_ms: over.pin_idle_ms.or(self.pin_idle_ms),
            public_source: over.public_source.or(self.public_source),
            redirects: over.redirects.clone().or(self.redirects),
            rewrites: over.rewrites.clone().or(self.rewrites),
            routes: over.routes.clone().or(self.routes),
            rules: over.rules.or(self.rules),
            server: match (self.server, &over.server) {
                (Some(server), Some(over)) => Some(server.overlaid_by(over)),
                (server, over) => over.clone().or(server),
            },
            smoke: over.smoke.clone().or(self.smoke),
            status_page: over.status_page.or(self.status_page),
            upstreams: merged(self.upstreams, over.upstreams.as_ref()),
        }
    }
}

fn merged<T: Clone>(
    base: Option<BTreeMap<String, T>>,
    over: Option<&BTreeMap<String, T>>,
) -> Option<BTreeMap<String, T>> {
    let Some(over) = over else { return base };
    let mut merged = base.unwrap_or_default();
    merged.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
    Some(merged)
}
