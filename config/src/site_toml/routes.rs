//! `[[routes]]`: paths and their backends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::field_rules::{FieldRules, field_rules};
use super::host_rule::HostRule;
use super::mistaken::EntryMistake;
use super::route_path::RoutePath;
use super::upstream_url::{BadUpstreamName, BadUpstreamUrl, UpstreamName, UpstreamUrl};
use super::upstreams::Upstream;
use crate::parsing::reader::Table;

/// Maximum number of routes of a table.
pub const ROUTES_MAX: usize = 1_000;
/// Maximum timeout of a route, in milliseconds: a day.
pub const ROUTE_TIMEOUT_MS_MAX: u64 = 86_400_000;
/// Default timeout of a route in milliseconds.
pub const ROUTE_TIMEOUT_MS: u64 = 60_000;
/// Default maximum for a connection with its TLS handshake, in milliseconds: with several members, a longer wait for a
/// dead member is useless.
pub const ROUTE_CONNECT_TIMEOUT_MS: u64 = 10_000;

/// Timeouts of a route in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RouteTimes {
    /// Until a connection is established, including its TLS handshake.
    pub connect_ms: u64,
    /// Until the response begins.
    pub first_byte_ms: u64,
    /// Between two parts of the response.
    pub idle_ms: u64,
    /// In total, if limited.
    pub total_ms: Option<u64>,
}

impl RouteTimes {
    /// Returns the timeouts of `route`, or the defaults without a route.
    #[must_use]
    pub fn of(route: Option<&Route>) -> Self {
        let declared = |time: fn(&Route) -> Option<u64>| route.and_then(time);
        let both = declared(|route| route.timeout_ms).unwrap_or(ROUTE_TIMEOUT_MS);
        Self {
            connect_ms: declared(|route| route.connect_timeout_ms)
                .unwrap_or_else(|| ROUTE_CONNECT_TIMEOUT_MS.min(both)),
            first_byte_ms: declared(|route| route.first_byte_timeout_ms).unwrap_or(both),
            idle_ms: declared(|route| route.idle_timeout_ms).unwrap_or(both),
            total_ms: declared(|route| route.total_timeout_ms),
        }
    }
}

/// Sorts routes for matching: the longest path first, so the first match is the most exact; of equal lengths, an exact
/// path before an open path. `path` returns the path of an item.
pub fn sort_routes<T>(routes: &mut [T], path: impl Fn(&T) -> &RoutePath) {
    routes.sort_by_key(|route| {
        let (prefix, is_open) = path(route).prefix();
        (std::cmp::Reverse(prefix.matches('/').count()), is_open)
    });
}

/// Returns a request's path, as sent, without the route's own `prefix`.
#[must_use]
pub fn without_prefix(path: &str, prefix: &str) -> String {
    // The request's path may be encoded unlike the route's, so the prefix is counted in segments.
    let rest = match prefix.matches('/').count() {
        0 => path,
        count => path.match_indices('/').nth(count).map_or("", |(at, _)| path.get(at..).unwrap_or_default()),
    };
    let slash = if rest.starts_with('/') { "" } else { "/" };
    format!("{slash}{rest}")
}

/// Target of a route: an address, or the name of a pool in `[upstreams]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RouteTo {
    /// An address.
    Address(UpstreamUrl),
    /// A pool.
    Upstream(UpstreamName),
}

/// Error for an invalid target of a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRouteTo {
    /// The text looks like an address.
    #[error(transparent)]
    Address(#[from] BadUpstreamUrl),
    /// The text looks like a name.
    #[error(transparent)]
    Name(#[from] BadUpstreamName),
}

impl FromStr for RouteTo {
    type Err = BadRouteTo;

    fn from_str(text: &str) -> Result<Self, BadRouteTo> {
        // Every address has a colon, and no name does.
        if text.contains(':') { Ok(Self::Address(text.parse()?)) } else { Ok(Self::Upstream(text.parse()?)) }
    }
}

impl fmt::Display for RouteTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(url) => url.fmt(f),
            Self::Upstream(name) => name.fmt(f),
        }
    }
}

impl TryFrom<String> for RouteTo {
    type Error = BadRouteTo;

    /// Parses a stored target like [`UpstreamUrl`].
    fn try_from(text: String) -> Result<Self, BadRouteTo> {
        if text.contains(':') {
            Ok(Self::Address(UpstreamUrl::read(&text)?))
        } else {
            Ok(Self::Upstream(text.parse()?))
        }
    }
}

impl From<RouteTo> for String {
    fn from(to: RouteTo) -> Self {
        to.to_string()
    }
}

impl HostRule {
    /// Returns the rule for requests to `pool`: of the route, or of the pool, or the default. `route` is `None` for a
    /// rewrite, whose address names the shown content.
    #[must_use]
    pub fn of(route: Option<&Route>, pool: &Upstream) -> Self {
        let declared = route.and_then(|route| route.host.as_ref()).or(pool.host.as_ref());
        declared.cloned().unwrap_or_else(|| match route {
            // An external server finds its site and certificate by its own name; a backend of this site knows the
            // visitor's host.
            Some(_) if !pool.to.iter().any(UpstreamUrl::is_public_name) => Self::Keep,
            _ => Self::Target,
        })
    }
}

/// Route of a path to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Maximum bytes of a request's body; by default the edge's limit, which always applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Timeout of a connection in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    /// True if a file with exactly the path takes precedence over the backend.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files_first: bool,
    /// Timeout until the response begins, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_timeout_ms: Option<u64>,
    /// `Host` of requests to the backend, see [`HostRule::of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostRule>,
    /// Timeout of silence within the response, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// Matching paths.
    pub path: RoutePath,
    /// Changes of the head of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<FieldRules>,
    /// Changes of the head of a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<FieldRules>,
    /// True if the backend sees the path without the route's own part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strip_prefix: bool,
    /// Timeout in milliseconds until the response begins, and of silence within the response; the specific keys take
    /// precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Target.
    pub to: RouteTo,
    /// Timeout of the whole exchange in milliseconds; upgraded connections have no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_timeout_ms: Option<u64>,
}

impl Route {
    /// Makes a route from a path to a target, without further settings.
    #[must_use]
    pub fn new(path: RoutePath, to: RouteTo) -> Self {
        Self {
            body_bytes_max: None,
            connect_timeout_ms: None,
            files_first: false,
            first_byte_timeout_ms: None,
            host: None,
            idle_timeout_ms: None,
            path,
            request_headers: None,
            response_headers: None,
            strip_prefix: false,
            timeout_ms: None,
            to,
            total_timeout_ms: None,
        }
    }

    /// Returns all mistakes.
    #[must_use]
    pub fn mistakes(&self) -> Vec<EntryMistake> {
        let mut found = Vec::new();
        let times = [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("first_byte_timeout_ms", self.first_byte_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("timeout_ms", self.timeout_ms),
            ("total_timeout_ms", self.total_timeout_ms),
        ];
        for (key, value) in times {
            if value.is_some_and(|value| !(1..=ROUTE_TIMEOUT_MS_MAX).contains(&value)) {
                found.push(EntryMistake { key, message: format!("must lie between 1 and {ROUTE_TIMEOUT_MS_MAX}") });
            }
        }
        let fields = [("request_headers", &self.request_headers), ("response_headers", &self.response_headers)];
        for (key, rules) in fields {
            if let Some(rules) = rules {
                rules.mistakes(key, &mut found);
            }
        }
        if let RouteTo::Address(to) = &self.to
            && let Err(bad) = to.check()
        {
            found.push(EntryMistake { key: "to", message: format!("cannot be used: {bad}") });
        }
        if matches!(&self.to, RouteTo::Address(to) if to.socket().is_some()) && self.host == Some(HostRule::Target) {
            found.push(EntryMistake { key: "host", message: "cannot be \"target\": a socket has no host".to_owned() });
        }
        if matches!(&self.to, RouteTo::Address(to) if to.is_fastcgi()) {
            let message = "is a backend of FastCGI, which is a table of [upstreams] with its `root`";
            found.push(EntryMistake { key: "to", message: message.to_owned() });
        }
        found
    }
}

/// Reads `[[routes]]`.
pub(super) fn routes(outer: &Table<'_, '_>, tables: &[Table<'_, '_>]) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::with_capacity(tables.len());
    for table in tables {
        for key in ["path", "to"] {
            if !table.has(key) {
                table.mistake(
                    key,
                    format!("a route needs `{key}`"),
                    Some("path = \"/api/*\"  to = \"http://127.0.0.1:3000\""),
                );
            }
        }
        let count = 0..=u64::MAX;
        let (path, to) = (table.parsed("path"), table.parsed("to"));
        let body_bytes_max = table.integer("body_bytes_max", count.clone());
        let connect_timeout_ms = table.integer("connect_timeout_ms", count.clone());
        let first_byte_timeout_ms = table.integer("first_byte_timeout_ms", count.clone());
        let idle_timeout_ms = table.integer("idle_timeout_ms", count.clone());
        let timeout_ms = table.integer("timeout_ms", count.clone());
        let total_timeout_ms = table.integer("total_timeout_ms", count);
        let host = table.parsed("host");
        let request_headers = table.table("request_headers").map(|inner| field_rules(&inner));
        let response_headers = table.table("response_headers").map(|inner| field_rules(&inner));
        let strip_prefix = table.boolean("strip_prefix").unwrap_or_default();
        let files_first = table.boolean("files_first").unwrap_or_default();
        table.finish();
        let (Some(path), Some(to)) = (path, to) else { continue };
        let times = Route { connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, ..Route::new(path, to) };
        let times = Route { timeout_ms, total_timeout_ms, ..times };
        let route =
            Route { body_bytes_max, host, request_headers, response_headers, strip_prefix, files_first, ..times };
        if routes.iter().any(|other| other.path == route.path) {
            table.mistake("path", format!("`{}` stands in two routes", route.path), None);
        }
        for EntryMistake { key, message } in route.mistakes() {
            table.mistake(key, format!("`{}` {message}", table.full(key)), None);
        }
        routes.push(route);
    }
    if tables.len() > ROUTES_MAX {
        outer.mistake("routes", format!("there are more than {ROUTES_MAX} routes"), None);
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::SiteFile;

    fn read(text: &str) -> Result<SiteFile, Vec<String>> {
        SiteFile::parse("f", text).map_err(|all| all.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_longest_path_is_asked_first_and_an_exact_one_before_an_open_one() {
        let mut paths: Vec<RoutePath> =
            ["/*", "/api/*", "/", "/api/v2/*", "/api", "/hook", "/api/v2"].map(|path| path.parse().unwrap()).into();
        sort_routes(&mut paths, |path| path);
        let order: Vec<&str> = paths.iter().map(RoutePath::as_str).collect();
        assert_eq!(order, ["/api/v2", "/api/v2/*", "/", "/api", "/hook", "/api/*", "/*"]);
    }

    #[test]
    fn a_prefix_is_taken_away_by_segments() {
        for (path, prefix, expected) in [
            ("/api/x", "/api", "/x"),
            ("/api", "/api", "/"),
            ("/api/", "/api", "/"),
            ("/%61pi/a%2Fb", "/api", "/a%2Fb"),
            ("/a/b/c/d", "/a/b", "/c/d"),
            ("/x", "", "/x"),
        ] {
            assert_eq!(without_prefix(path, prefix), expected, "{path} {prefix}");
        }
    }

    #[test]
    fn a_route_says_all_that_it_may() {
        let text = "[[routes]]\npath = \"/api/*\"\nto = \"api\"\nconnect_timeout_ms = 1_000\n\
            first_byte_timeout_ms = 7_200_000\nidle_timeout_ms = 5\ntotal_timeout_ms = 9\nbody_bytes_max = 10\n\
            strip_prefix = true\nhost = \"upstream\"\nrequest_headers = { set = { X-A = \"1\" }, remove = [\"cookie\"] }\n\
            response_headers = { remove = [\"server\"] }\n[upstreams]\napi = \"http://127.0.0.1:1\"\n";
        let route = read(text).unwrap().base.routes.unwrap().remove(0);
        assert_eq!(route.to, RouteTo::Upstream("api".parse().unwrap()));
        assert_eq!((route.first_byte_timeout_ms, route.total_timeout_ms), (Some(7_200_000), Some(9)));
        assert_eq!((route.host.clone(), route.strip_prefix), (Some(HostRule::Target), true));
        assert_eq!(route.request_headers.as_ref().unwrap().set["X-A"], "1");
        let written = serde_json::to_string(&route).unwrap();
        assert_eq!(serde_json::from_str::<Route>(&written).unwrap(), route);
    }

    #[test]
    fn a_route_to_a_pool_that_is_not_there_is_a_mistake_where_it_stands() {
        let route = "[[routes]]\npath = \"/a\"\nto = \"api\"\n";
        let lost = read(route).unwrap_err();
        assert_eq!(
            lost,
            [
                "f:1: the route /a leads to `api`, which is not below [upstreams] (write below [upstreams]: api = \"http://127.0.0.1:3000\")"
            ]
        );
        read(&format!("{route}[upstreams]\napi = \"http://h\"\n")).unwrap();
        // A pool of one environment alone is missing in all others.
        assert_eq!(read(&format!("{route}[env.staging.upstreams]\napi = \"http://h\"\n")).unwrap_err().len(), 1);
        let in_staging = "[env.staging]\nroutes = [{ path = \"/b\", to = \"x\" }]\n";
        assert!(read(in_staging).unwrap_err()[0].starts_with("f:2: the route /b leads to `x`"), "{in_staging}");
    }

    #[test]
    fn every_mistake_of_a_route_has_its_line() {
        for bad in [
            "connect_timeout_ms = 0",
            "first_byte_timeout_ms = 86_400_001",
            "host = \"a b\"",
            "request_headers = { set = { Host = \"x\" } }",
            "request_headers = { set = { \"a b\" = \"x\" } }",
            "response_headers = { set = { X = \"a\\nb\" } }",
            "response_headers = { remove = [\"Content-Length\"] }",
            "request_headers = { set = { X-Forwarded-For = \"1.1.1.1\" } }",
        ] {
            let text = format!("[[routes]]\npath = \"/a\"\nto = \"http://h\"\n{bad}\n");
            let mistakes = read(&text).unwrap_err();
            assert!(mistakes[0].starts_with("f:4: "), "{bad}: {mistakes:?}");
        }
        assert!(read("[[routes]]\npath = \"/a\"\nto = \"unix:/s\"\nhost = \"upstream\"\n").is_err());
    }
}
