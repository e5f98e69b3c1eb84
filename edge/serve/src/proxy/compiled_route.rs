//! A route prepared for requests: pool, timeouts, changes of heads. Compiled once for each version and thread.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::site_toml::{FieldRules, HostRule, Route, RouteTimes};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::headers::has_odd_spelling;
use super::pool::Pool;
use super::trailers::is_same;

/// A route to backends.
pub struct CompiledRoute {
    /// The upstream.
    pub pool: Arc<Pool>,
    pub(crate) times: Times,
    /// Maximum number of bytes of a request's body, if the route's limit is below the edge's limit.
    pub(crate) body_bytes_max: u64,
    pub(crate) host: HostRule,
    /// The path prefix removed for the backend.
    pub(crate) strip: Option<Box<str>>,
    pub(crate) request: FieldChanges,
    pub(crate) response: FieldChanges,
}

/// Timeouts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Option<Duration>,
}

/// Changes of header fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldChanges {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
}

impl FieldChanges {
    fn of(rules: Option<&FieldRules>) -> Self {
        let Some(rules) = rules else { return Self::default() };
        let set = rules.set.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
        Self { remove: rules.remove.iter().filter_map(|name| name.parse().ok()).collect(), set: set.collect() }
    }

    /// Returns the names of the changed fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.remove.iter().chain(self.set.iter().map(|(name, _)| name))
    }

    /// Changes the head of a request. A client's field that some servers read as a changed field because of its
    /// spelling is removed too: such a field would duplicate a set field, or replace a removed field.
    pub(crate) fn apply_to_request(&self, headers: &mut HeaderMap) {
        if self.remove.is_empty() && self.set.is_empty() {
            return;
        }
        let is_changed =
            |name: &&HeaderName| has_odd_spelling(name.as_str()) && self.names().any(|own| is_same(own, name));
        let doomed: Vec<HeaderName> = headers.keys().filter(is_changed).cloned().collect();
        for name in doomed {
            headers.remove(name);
        }
        self.apply(headers);
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }
}

impl CompiledRoute {
    /// Compiles `route`, whose backends are the members of `pool`.
    #[must_use]
    pub fn new(route: &Route, pool: Arc<Pool>) -> Self {
        let (prefix, _) = route.path.prefix();
        Self {
            body_bytes_max: route.body_bytes_max.unwrap_or(u64::MAX),
            host: HostRule::of(Some(route), &pool.key.declared),
            strip: route.strip_prefix.then(|| prefix.into()),
            request: FieldChanges::of(route.request_headers.as_ref()),
            response: FieldChanges::of(route.response_headers.as_ref()),
            times: Times::of(Some(route)),
            pool,
        }
    }

    /// Compiles a rewrite to `pool`, with the timeouts of `route`, if given.
    #[must_use]
    pub fn plain(pool: Arc<Pool>, route: Option<&Route>) -> Self {
        Self {
            body_bytes_max: u64::MAX,
            host: HostRule::of(None, &pool.key.declared),
            strip: None,
            request: FieldChanges::default(),
            response: FieldChanges::default(),
            times: Times::of(route),
            pool,
        }
    }

    /// Returns the same route with another `Host`.
    #[must_use]
    pub fn with_host(&self, host: HostRule) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            times: self.times,
            body_bytes_max: self.body_bytes_max,
            host,
            strip: self.strip.clone(),
            request: self.request.clone(),
            response: self.response.clone(),
        }
    }
}

impl Times {
    fn of(route: Option<&Route>) -> Self {
        let times = RouteTimes::of(route);
        Self {
            connect: Duration::from_millis(times.connect_ms),
            first_byte: Duration::from_millis(times.first_byte_ms),
            idle: Duration::from_millis(times.idle_ms),
            total: times.total_ms.map(Duration::from_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_waits_a_minute_and_what_it_says_counts() {
        let times = |text: &str| Times::of(Some(&serde_json::from_str(text).unwrap()));
        let plain = times(r#"{"path":"/a","to":"http://h"}"#);
        assert_eq!((plain.first_byte, plain.idle), (Duration::from_secs(60), Duration::from_secs(60)));
        assert_eq!((plain.connect, plain.total), (Duration::from_secs(10), None));
        let short = times(r#"{"path":"/a","to":"http://h","timeout_ms":5}"#);
        assert_eq!((short.connect, short.first_byte, short.idle), (Duration::from_millis(5), short.idle, short.idle));
        let each = times(
            r#"{"path":"/a","to":"http://h","timeout_ms":5,"connect_timeout_ms":1,"first_byte_timeout_ms":7200000,"idle_timeout_ms":3,"total_timeout_ms":4}"#,
        );
        assert_eq!((each.connect, each.first_byte), (Duration::from_millis(1), Duration::from_secs(7200)));
        assert_eq!((each.idle, each.total), (Duration::from_millis(3), Some(Duration::from_millis(4))));
    }
}
