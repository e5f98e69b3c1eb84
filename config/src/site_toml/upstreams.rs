//! `[upstreams]`: pools of backends, with names chosen by the author.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::host_rule::{HostRule, is_host};
use super::mistaken::EntryMistake;
use super::upstream_url::{UpstreamName, UpstreamUrl};
use crate::parsing::reader::Table;
use crate::pem;
use crate::text::text_form;

/// Maximum number of addresses of a pool.
pub const MEMBERS_MAX: usize = 256;
/// Maximum wait of a pool or a health check, in milliseconds: a day.
const UPSTREAM_MS_MAX: u64 = 86_400_000;
/// Default number of requests waiting for a free member.
pub const QUEUE_MAX: u64 = 256;
/// Default time for which a request waits for a free member, in milliseconds.
pub const QUEUE_MS: u64 = 5_000;
/// Default number of attempts after the first attempt.
pub const RETRIES: u64 = 2;
/// Default share of requests that may be retries, in percent.
pub const RETRY_PERCENT: u64 = 20;
/// Default number of consecutive failures after which a member is ejected.
pub const EJECT_AFTER: u64 = 5;
/// Default time of a member's first ejection, in milliseconds.
pub const EJECT_MS: u64 = 10_000;
/// Default time between two health checks of a member, in milliseconds.
pub const HEALTH_INTERVAL_MS: u64 = 5_000;
/// Default time limit of a health check, in milliseconds.
pub const HEALTH_TIMEOUT_MS: u64 = 2_000;
/// Default number of consecutive passed checks that make a member healthy.
pub const HEALTHY_AFTER: u64 = 2;
/// Default number of consecutive failed checks that make a member unhealthy.
pub const UNHEALTHY_AFTER: u64 = 3;
/// Maximum length of the certificates in `ca`, in bytes.
const CA_BYTES_MAX: usize = 256 * 1024;
/// Maximum length of a health check's path, in bytes.
const HEALTH_PATH_BYTES_MAX: usize = 4_096;
const PROTOCOLS: &[(&str, Protocol)] = &[("http1", Protocol::Http1), ("http2", Protocol::Http2)];

/// Protocol of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: over TLS by ALPN, otherwise with prior knowledge (RFC 9113 §3.3), as used by gRPC.
    Http2,
}

/// Health checks of a pool's members.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Consecutive good responses that make an unhealthy member healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_after: Option<u64>,
    /// `Host` of the check's request; by default the member's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Milliseconds between two checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Path.
    pub path: String,
    /// Healthy statuses: one status, or a range, `200-399`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusRange>,
    /// Timeout in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Consecutive bad responses that make a healthy member unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_after: Option<u64>,
}

/// Range of statuses: `204`, or `200-399`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRange {
    first: u16,
    last: u16,
}

/// Error for an invalid range of statuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no statuses: \"204\" or \"200-399\" does, within 200 to 599")]
pub struct BadStatusRange(pub String);

impl StatusRange {
    /// Default range of healthy statuses.
    pub const OK: Self = Self { first: 200, last: 299 };

    /// Returns true if the range includes `status`.
    #[must_use]
    pub const fn holds(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}

impl FromStr for StatusRange {
    type Err = BadStatusRange;

    fn from_str(text: &str) -> Result<Self, BadStatusRange> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if 200 <= first && first <= last && last <= 599 => Ok(Self { first, last }),
            _ => Err(BadStatusRange(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

text_form!(StatusRange, BadStatusRange);

/// Pool of backends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Trusted certificates in PEM for `https` members, in place of the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Simultaneous requests to one member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u64>,
    /// Consecutive failures after which a member gets no requests for a while; 0 is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eject_after: Option<u64>,
    /// Milliseconds of the first ejection; each further ejection doubles the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eject_ms: Option<u64>,
    /// Health checks of members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// `Host` of requests to the members, if not set by the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostRule>,
    /// Front controller below `root`, for paths without a script; for FastCGI backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// True if connections to FastCGI backends are reused; each open connection occupies a worker of PHP-FPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<bool>,
    /// Protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Requests waiting for a free member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_max: Option<u64>,
    /// Maximum wait in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u64>,
    /// Attempts after the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
    /// Share of requests that may be retries, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_percent: Option<u64>,
    /// Folder of a FastCGI backend's scripts, as seen by the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Permitted scripts below `root`; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<Vec<String>>,
    /// Required name in the certificate of an `https` member, also sent as SNI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// End of a script's name, followed by path info; `.php` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Addresses of members; a name stands for all its addresses. Empty if the API adds the members.
    pub to: Vec<UpstreamUrl>,
}

impl From<UpstreamUrl> for Upstream {
    fn from(to: UpstreamUrl) -> Self {
        Self { to: vec![to], ..Self::default() }
    }
}

/// Declaration of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Declared {
    /// A single address.
    Address(UpstreamUrl),
    /// A table.
    Pool(Box<Upstream>),
}

impl Declared {
    /// Returns the addresses.
    #[must_use]
    pub fn to(&self) -> &[UpstreamUrl] {
        match self {
            Self::Address(to) => std::slice::from_ref(to),
            Self::Pool(pool) => &pool.to,
        }
    }

    /// Converts the declaration to a pool.
    #[must_use]
    pub fn pool(&self) -> Upstream {
        match self {
            Self::Address(to) => Upstream::from(to.clone()),
            Self::Pool(pool) => Upstream::clone(pool),
        }
    }

    /// Returns all mistakes.
    #[must_use]
    pub fn mistakes(&self) -> Vec<EntryMistake> {
        match self {
            Self::Address(to) => {
                let pool = Upstream::from(to.clone());
                pool.bad_addresses().chain(pool.script_mistakes()).collect()
            }
            Self::Pool(pool) => pool.mistakes(),
        }
    }
}

impl Upstream {
    fn bad_addresses(&self) -> impl Iterator<Item = EntryMistake> {
        let bad = self.to.iter().filter_map(|to| to.check().err());
        bad.map(|bad| EntryMistake { key: "to", message: format!("cannot be used: {bad}") })
    }

    /// Returns all mistakes.
    #[must_use]
    pub fn mistakes(&self) -> Vec<EntryMistake> {
        let mut found = self.script_mistakes();
        found.extend(self.bad_addresses());
        let mut wrong = |key, message: String| found.push(EntryMistake { key, message });
        if self.to.len() > MEMBERS_MAX {
            wrong("to", format!("holds more than {MEMBERS_MAX} addresses"));
        }
        let is_double = |(at, to): (usize, &UpstreamUrl)| self.to.iter().take(at).any(|other| other == to);
        if self.to.iter().enumerate().any(is_double) {
            wrong("to", "holds an address twice".to_owned());
        }
        let is_secure = self.to.iter().any(|to| to.url().scheme() == "https");
        for (key, is_there) in [("ca", self.ca.is_some()), ("server_name", self.server_name.is_some())] {
            if is_there && !is_secure && !self.to.is_empty() {
                wrong(key, "is for https members, and there is none".to_owned());
            }
        }
        if self.host == Some(HostRule::Target) && self.to.iter().any(|to| to.socket().is_some()) {
            wrong("host", "cannot be \"target\": a socket has no host".to_owned());
        }
        match self.ca.as_ref().map(|ca| (ca.len(), pem::certificates(ca.as_bytes()))) {
            Some((bytes, Ok(blocks))) if bytes > CA_BYTES_MAX || !blocks.contains("-----BEGIN CERTIFICATE-----") => {
                wrong("ca", format!("must be certificates in PEM, at most {CA_BYTES_MAX} bytes"));
            }
            Some((_, Err(bad))) => wrong("ca", format!("is no PEM of certificates: {bad}")),
            Some((_, Ok(_))) | None => {}
        }
        if self.server_name.as_ref().is_some_and(|name| !is_host(name)) {
            wrong("server_name", "must be the name of a host".to_owned());
        }
        let ranges = [
            ("connections_max", self.connections_max, 1..=1_000_000),
            ("eject_after", self.eject_after, 0..=1_000_000),
            ("eject_ms", self.eject_ms, 1..=UPSTREAM_MS_MAX),
            ("queue_max", self.queue_max, 0..=1_000_000),
            ("queue_ms", self.queue_ms, 0..=UPSTREAM_MS_MAX),
            ("retries", self.retries, 0..=10),
            ("retry_percent", self.retry_percent, 0..=100),
        ];
        for (key, value, range) in ranges {
            if value.is_some_and(|value| !range.contains(&value)) {
                wrong(key, format!("must lie between {} and {}", range.start(), range.end()));
            }
        }
        if let Some(health) = &self.health {
            health.mistakes(&mut wrong);
        }
        found
    }
}

impl HealthCheck {
    fn mistakes(&self, wrong: &mut impl FnMut(&'static str, String)) {
        let path = &self.path;
        let is_path = path.starts_with('/') && path.len() <= HEALTH_PATH_BYTES_MAX;
        if !is_path || path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
            wrong("health", "needs a `path` that begins with /, and holds neither spaces nor a #".to_owned());
        }
        if self.host.as_ref().is_some_and(|host| !is_host(host)) {
            wrong("health", "has a `host` that is none".to_owned());
        }
        let times = [("interval_ms", self.interval_ms, 100), ("timeout_ms", self.timeout_ms, 1)];
        for (key, value, least) in times {
            if value.is_some_and(|value| !(least..=UPSTREAM_MS_MAX).contains(&value)) {
                wrong("health", format!("has a `{key}` that does not lie between {least} and {UPSTREAM_MS_MAX}"));
            }
        }
        for (key, value) in [("healthy_after", self.healthy_after), ("unhealthy_after", self.unhealthy_after)] {
            if value.is_some_and(|value| !(1..=100).contains(&value)) {
                wrong("health", format!("has a `{key}` that does not lie between 1 and 100"));
            }
        }
    }
}

/// Reads `[upstreams]`.
pub(super) fn upstreams(outer: &Table<'_, '_>) -> Option<BTreeMap<String, Declared>> {
    const HINT: &str = "api = \"http://127.0.0.1:3000\", or a table with to = [\"http://10.0.0.1:3000\", …]";
    const FASTCGI_HINT: &str = "a table with to = \"fastcgi://127.0.0.1:9000\" and root = \"/srv/shop/public\"";
    let table = outer.table("upstreams")?;
    let mut upstreams = BTreeMap::new();
    for (name, value) in table.texts_or_tables() {
        if let Err(error) = name.parse::<UpstreamName>() {
            table.mistake(&name, format!("`{}`: {error}", table.full(&name)), None);
        }
        let declared = match value {
            Ok(text) => text.parse::<UpstreamUrl>().map(Declared::Address).map_err(|error| {
                table.mistake(&name, format!("`{}`: {error}", table.full(&name)), Some(HINT));
            }),
            Err(inner) => pool(&inner).map(|pool| Declared::Pool(Box::new(pool))).ok_or(()),
        };
        if let Ok(declared) = declared {
            // Mistakes of a table are reported during parsing.
            if let (Declared::Address(_), Some(EntryMistake { message, .. })) = (&declared, declared.mistakes().first())
            {
                table.mistake(&name, format!("`{}` {message}", table.full(&name)), Some(FASTCGI_HINT));
            }
            upstreams.insert(name, declared);
        }
    }
    Some(upstreams)
}

/// Reads `[upstreams.NAME]`.
fn pool(table: &Table<'_, '_>) -> Option<Upstream> {
    let to = table.text_or_list("to");
    if !table.has("to") {
        let message = format!("`{}` is missing", table.full("to"));
        table.mistake("to", message, Some("to = [\"http://10.0.0.1:3000\", \"http://10.0.0.2:3000\"]"));
    }
    let count = 0..=u64::MAX;
    let pool = Upstream {
        ca: table.string("ca"),
        connections_max: table.integer("connections_max", count.clone()),
        eject_after: table.integer("eject_after", count.clone()),
        eject_ms: table.integer("eject_ms", count.clone()),
        health: health(table),
        host: table.parsed("host"),
        index: table.string("index"),
        keep_alive: table.boolean("keep_alive"),
        protocol: table.word("protocol", PROTOCOLS),
        queue_max: table.integer("queue_max", count.clone()),
        queue_ms: table.integer("queue_ms", count.clone()),
        retries: table.integer("retries", count.clone()),
        retry_percent: table.integer("retry_percent", count),
        root: table.string("root"),
        scripts: table.list("scripts"),
        server_name: table.string("server_name"),
        split: table.string("split"),
        to: to.unwrap_or_default(),
    };
    table.finish();
    for EntryMistake { key, message } in pool.mistakes() {
        table.mistake(key, format!("`{}` {message}", table.full(key)), None);
    }
    table.has("to").then_some(pool)
}

fn health(outer: &Table<'_, '_>) -> Option<HealthCheck> {
    let table = outer.table("health")?;
    let count = 0..=u64::MAX;
    let health = HealthCheck {
        healthy_after: table.integer("healthy_after", count.clone()),
        host: table.string("host"),
        interval_ms: table.integer("interval_ms", count.clone()),
        path: table.string("path").unwrap_or_default(),
        status: table.parsed("status"),
        timeout_ms: table.integer("timeout_ms", count.clone()),
        unhealthy_after: table.integer("unhealthy_after", count),
    };
    table.finish();
    Some(health)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::SiteFile;

    #[test]
    fn a_host_is_kept_for_backends_of_the_site_alone() {
        let rule = |toml: &str| {
            let base = SiteFile::parse("devanture.toml", toml).unwrap().base;
            let pool = base.upstreams.unwrap()["x"].pool();
            let route = base.routes.as_ref().and_then(|routes| routes.first());
            [HostRule::of(route, &pool), HostRule::of(None, &pool)].map(|rule| rule.to_string())
        };
        let routed = |pool: &str| rule(&format!("[[routes]]\npath = \"/a\"\nto = \"x\"\n[upstreams.x]\n{pool}"));
        for (to, expected) in [
            ("http://127.0.0.1:1", "keep"),
            ("http://api.example.org", "keep"),
            ("https://10.0.0.1", "keep"),
            ("https://api", "keep"),
            ("https://api.internal", "keep"),
            ("https://api.example.org", "target"),
        ] {
            assert_eq!(routed(&format!("to = \"{to}\"")), [expected, "target"], "{to}");
        }
        assert_eq!(routed("to = \"https://a.example.org\"\nhost = \"keep\""), ["keep", "keep"]);
        assert_eq!(routed("to = \"http://127.0.0.1:1\"\nhost = \"b.example.org\""), ["b.example.org", "b.example.org"]);
        let own = "[[routes]]\npath = \"/a\"\nto = \"x\"\nhost = \"target\"\n[upstreams.x]\nto = \"http://a:1\"\nhost = \"keep\"";
        assert_eq!(rule(own), ["target", "keep"]);
        let socket = "[upstreams.x]\nto = \"unix:/run/x\"\nhost = \"target\"";
        assert!(SiteFile::parse("devanture.toml", socket).is_err());
    }

    #[test]
    fn a_certificate_that_a_reader_would_pass_over_is_refused_with_its_line() {
        let parsed = |before: &str| {
            let one = pem::AUTHORITY;
            let ca = format!("ca = \"\"\"\n{one}{before}{one}\"\"\"");
            SiteFile::parse("devanture.toml", &format!("[upstreams.api]\nto = [\"https://10.0.0.5\"]\n{ca}\n"))
        };
        for before in ["", " ", "\t", "\u{feff}"] {
            assert!(parsed(before).is_ok(), "{before:?}");
        }
        let after = pem::AUTHORITY.lines().count();
        let refused = parsed("ca: ").unwrap_err().to_string();
        assert!(refused.contains(&format!("is no PEM of certificates: line {} ", after + 1)), "{refused}");
        // A manifest is public; and certificates that the push cannot decode are reported by `check`.
        let key = "-----BEGIN PRIVATE KEY-----\nMAUC\n-----END PRIVATE KEY-----\n";
        let garbled = "-----BEGIN CERTIFICATE-----\nMA.UC\n-----END CERTIFICATE-----\n";
        let list = "-----BEGIN X509 CRL-----\nMAUC\n-----END X509 CRL-----\n";
        let none = "-----BEGIN CERTIFICATE-----\nMAUC\n-----END CERTIFICATE-----\n";
        for (before, line) in [(key, 1), (garbled, 2), (list, 1), (none, 1)] {
            let refused = parsed(before).unwrap_err().to_string();
            let line = after + line;
            assert!(refused.contains(&format!("is no PEM of certificates: line {line} ")), "{refused}");
        }
    }

    #[test]
    fn a_pool_is_read_with_all_that_it_says() {
        let text = "[upstreams]\nshort = \"http://127.0.0.1:1\"\n[upstreams.api]\n\
            to = [\"http://10.0.0.1:3000\", \"https://api.internal\"]\nprotocol = \"http2\"\n\
            server_name = \"api.internal\"\nconnections_max = 10\nqueue_max = 5\nqueue_ms = 100\nretries = 1\n\
            retry_percent = 10\neject_after = 3\neject_ms = 500\n\
            [upstreams.api.health]\npath = \"/healthz\"\nstatus = \"200-399\"\ninterval_ms = 500\n";
        let upstreams = SiteFile::parse("devanture.toml", text).unwrap().base.upstreams.unwrap();
        assert_eq!(serde_json::to_value(&upstreams["short"]).unwrap(), "http://127.0.0.1:1");
        let pool = upstreams["api"].pool();
        assert_eq!((pool.to.len(), pool.protocol, pool.queue_max), (2, Some(Protocol::Http2), Some(5)));
        let health = pool.health.clone().unwrap();
        assert!(health.status.unwrap().holds(302) && !health.status.unwrap().holds(404));
        let written = serde_json::to_string(&upstreams["api"]).unwrap();
        assert_eq!(serde_json::from_str::<Declared>(&written).unwrap(), upstreams["api"]);
        // A single address may be a plain text.
        let one = SiteFile::parse("devanture.toml", "[upstreams.a]\nto = \"http://h\"\n").unwrap();
        assert_eq!(one.base.upstreams.unwrap()["a"].to().len(), 1);
    }

    #[test]
    fn every_mistake_of_a_pool_has_its_line() {
        for (line, bad) in [
            (1, "tu = \"http://h\""),
            (2, "to = \"h\""),
            (3, "to = []\nretries = 11"),
            (3, "to = []\nqueue_ms = 86_400_001"),
            (3, "to = \"http://h\"\nca = \"x\""),
            (3, "to = \"http://h\"\nserver_name = \"a\""),
            (3, "to = \"https://h\"\nserver_name = \"a b\""),
            (3, "to = \"http://h\"\nhealth = { path = \"x\" }"),
            (3, "to = \"http://h\"\nhealth = { path = \"/\", interval_ms = 1 }"),
            (3, "to = \"http://h\"\nhealth = { path = \"/\", status = \"99\" }"),
            (2, "to = [\"http://h\", \"http://h\"]"),
        ] {
            let mistakes = SiteFile::parse("f", &format!("[upstreams.a]\n{bad}\n")).unwrap_err().0;
            assert_eq!(mistakes[0].line, line, "{bad}: {mistakes:?}");
        }
        assert!(SiteFile::parse("f", "[upstreams]\n\"a b\" = \"http://h\"\n").is_err());
    }
}
