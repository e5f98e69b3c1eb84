//! `[[routes]]`: which paths go to which backends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// Most routes that one table may hold.
pub const ROUTES_MAX: usize = 1_000;
/// Longest time that a route may wait, in milliseconds: a day.
pub const ROUTE_TIMEOUT_MS_MAX: u64 = 86_400_000;
/// How long a route waits where it does not say, in milliseconds.
pub const ROUTE_TIMEOUT_MS: u64 = 60_000;

/// The path of a route: `/api/*` for everything below and `/api` itself, or one path alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoutePath(String);

/// Says why a text is not the path of a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the path of a route: it begins with /, holds no empty, . or .. segment, and * only as its last segment"
)]
pub struct BadRoutePath(pub String);

impl RoutePath {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before `/*`, and whether there is such an ending.
    #[must_use]
    pub fn prefix(&self) -> (&str, bool) {
        match self.0.strip_suffix("/*") {
            Some(prefix) => (prefix, true),
            None => (&self.0, false),
        }
    }

    /// Whether `path` belongs to the route, by whole segments; it is normal, and decoded but for encoded slashes.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        match self.prefix() {
            (prefix, true) => path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            (exact, false) => path == exact,
        }
    }
}

impl FromStr for RoutePath {
    type Err = BadRoutePath;

    fn from_str(text: &str) -> Result<Self, BadRoutePath> {
        let bad = || BadRoutePath(text.chars().take(200).collect());
        let rest = text.strip_prefix('/').ok_or_else(bad)?;
        let segments: Vec<&str> = rest.split('/').collect();
        let count = segments.len();
        let fine = segments.iter().enumerate().all(|(index, segment)| match *segment {
            "*" => index + 1 == count,
            // `/` alone is a path too, and so is `/api/` with its final slash.
            "" => index + 1 == count,
            "." | ".." => false,
            s => !s.contains(['*', '?', '#', '\\', '%']) && !s.chars().any(|c| c.is_control() || c.is_whitespace()),
        });
        if fine { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RoutePath {
    type Error = BadRoutePath;

    fn try_from(text: String) -> Result<Self, BadRoutePath> {
        text.parse()
    }
}

impl From<RoutePath> for String {
    fn from(path: RoutePath) -> Self {
        path.0
    }
}

/// The address of a backend: an `http` or `https` URL without a query, a fragment or a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamUrl(Url);

/// Says why a text is not the address of a backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the address of a backend: http://HOST[:PORT] or https://HOST[:PORT] is wanted, with nothing after it"
)]
pub struct BadUpstreamUrl(pub String);

impl UpstreamUrl {
    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for UpstreamUrl {
    type Err = BadUpstreamUrl;

    fn from_str(text: &str) -> Result<Self, BadUpstreamUrl> {
        let bad = || BadUpstreamUrl(text.chars().take(200).collect());
        let url: Url = text.parse().map_err(|_reason| bad())?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let plain = plain && url.password().is_none() && url.path() == "/" && url.host().is_some();
        if plain && matches!(url.scheme(), "http" | "https") { Ok(Self(url)) } else { Err(bad()) }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl TryFrom<String> for UpstreamUrl {
    type Error = BadUpstreamUrl;

    fn try_from(text: String) -> Result<Self, BadUpstreamUrl> {
        text.parse()
    }
}

impl From<UpstreamUrl> for String {
    fn from(url: UpstreamUrl) -> Self {
        url.to_string()
    }
}

/// Sends a path to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Which paths.
    pub path: RoutePath,
    /// How long the backend may take to begin its answer, and then rest within it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Where to.
    pub to: UpstreamUrl,
}
