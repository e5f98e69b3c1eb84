//! Logs: lines of the access log and their filter, and output of backend instances.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::IdPrefix;
use crate::site_toml::RoutePath;

/// Maximum number of parts of a [`StatusFilter`].
const STATUS_PARTS_MAX: usize = 20;

/// Request in the form of the access log and of `GET /v1/apps/{app}/environments/{env}/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Arrival time of the request's head, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Client address, cut to the logged part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// `http/1.1` or `h2`.
    pub protocol: String,
    /// Requested host.
    pub host: String,
    /// The method.
    pub method: String,
    /// Path, with the query if queries are logged.
    pub target: String,
    /// The status.
    pub status: u16,
    /// Sent bytes of the body.
    pub bytes: u64,
    /// Microseconds until the last byte.
    pub us: u64,
    /// `Referer` sent by the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referer: Option<String>,
    /// `User-Agent` sent by the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// App, if the host belongs to an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Environment or alias; `preview` for a version at the version's own hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Short id of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// True if a backend answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxied: bool,
    /// Id of a proxied request, also sent to the backend and the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Address of the answering backend; if no backend answered, the target of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Fault, as a word from a table of the documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Answering node of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Default `source` of `GET /v1/apps/{app}/environments/{env}/logs`: requests.
pub const SOURCE_REQUESTS: &str = "requests";
/// `source` for the instances of every process; the name of a process selects the instances of the process.
pub const SOURCE_INSTANCES: &str = "instances";
/// Header of a response with fewer lines than requested because older lines were dropped: the time of the oldest line
/// in memory, in milliseconds since 1970 UTC.
pub const LOGS_SINCE_HEADER: &str = "devanture-logs-since-ms";
/// Further header for lines of instances: the number of lines dropped since the edge's start, if known.
pub const LOGS_GONE_HEADER: &str = "devanture-logs-gone";
/// Header of a response to a reader with `Last-Event-ID`: `true` if the lines continue the reader's; `false` if the
/// reader's lines came from an earlier process of the edge, whose further lines are lost.
pub const LOGS_RESUMED_HEADER: &str = "devanture-logs-resumed";
/// Source with the output of the command that runs before a switch.
pub const SOURCE_RELEASE: &str = "release";
/// Prefix of a schedule's source, followed by the name of the schedule.
pub const SOURCE_SCHEDULE: &str = "schedule.";
/// Name of [`SOURCE_INSTANCES`] on the command line.
pub const SOURCE_ALL_INSTANCES: &str = "all-instances";
/// Names reserved in logs, forbidden as process names.
pub(crate) const SOURCES: [&str; 4] = [SOURCE_ALL_INSTANCES, SOURCE_INSTANCES, SOURCE_RELEASE, SOURCE_REQUESTS];

/// Origin of an instance's log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The edge, reporting on the instance.
    Edge,
}

/// Log line of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLine {
    /// Arrival time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Name of the instance on the node, for example `web.2`.
    pub instance: String,
    /// Version at the start of the instance, in short form.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Node of the instance.
    pub node: String,
    /// Origin of the line.
    pub stream: LogStream,
    /// Line, without the line ending.
    pub text: String,
}

/// Number of lines lost by a slow reader: the data of the event `lost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLost {
    /// Number of lines.
    pub lost: u64,
}

/// Node of a cluster whose lines are missing from now on: the data of the event `unavailable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogUnavailable {
    /// The node.
    pub node: String,
    /// The reason.
    pub detail: String,
}

/// Statuses: `404`, `5xx`, `400-499`, or several, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusFilter(Vec<(u16, u16)>);

/// Error for an invalid [`StatusFilter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no statuses: write 404, 5xx or 400-499, or several of these with commas between")]
pub struct BadStatusFilter(String);

impl StatusFilter {
    /// Returns true if the filter includes `status`.
    #[must_use]
    pub fn takes(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl FromStr for StatusFilter {
    type Err = BadStatusFilter;

    fn from_str(text: &str) -> Result<Self, BadStatusFilter> {
        let bad = || BadStatusFilter(text.chars().take(80).collect());
        let number = |part: &str| {
            let is_number = part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit());
            part.parse().ok().filter(|status| is_number && (100..=599).contains(status))
        };
        let read = |part: &str| -> Option<(u16, u16)> {
            if let Some(class) = part.to_ascii_lowercase().strip_suffix("xx") {
                let first = number(&format!("{class}00"))?;
                return Some((first, first + 99));
            }
            match part.split_once('-') {
                Some((first, last)) => Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last),
                None => number(part).map(|status| (status, status)),
            }
        };
        let parts: Option<Vec<(u16, u16)>> = text.split(',').take(STATUS_PARTS_MAX + 1).map(read).collect();
        let parts = parts.filter(|parts| parts.len() <= STATUS_PARTS_MAX);
        parts.map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

/// Filter of lines; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// The method, in capital letters.
    pub method: Option<String>,
    /// Path, in the syntax of route paths.
    pub path: Option<RoutePath>,
    /// The status.
    pub status: Option<StatusFilter>,
    /// The version.
    pub version: Option<IdPrefix>,
}

impl LogFilter {
    /// Returns true if the filter includes the line.
    #[must_use]
    pub fn takes(&self, line: &LogLine) -> bool {
        let path = || line.target.split('?').next().unwrap_or_default();
        self.status.as_ref().is_none_or(|status| status.takes(line.status))
            && self.method.as_ref().is_none_or(|method| line.method.eq_ignore_ascii_case(method))
            && self.path.as_ref().is_none_or(|wanted| wanted.takes(path()))
            // Both ids are prefixes: the longer begins with the shorter.
            && self.version.as_ref().is_none_or(|wanted| {
                let (wanted, found) = (wanted.as_str(), line.version.as_deref().unwrap_or_default());
                !found.is_empty() && (wanted.starts_with(found) || found.starts_with(wanted))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line() -> LogLine {
        LogLine {
            at_ms: 1,
            client: None,
            protocol: "h2".to_owned(),
            host: "shop.localhost".to_owned(),
            method: "GET".to_owned(),
            target: "/api/users?token=x".to_owned(),
            status: 404,
            bytes: 0,
            us: 0,
            referer: None,
            user_agent: None,
            app: None,
            environment: None,
            version: Some("4f2a91bc03de".to_owned()),
            proxied: false,
            request_id: None,
            upstream: None,
            error: None,
            node: None,
        }
    }

    #[test]
    fn statuses_are_numbers_classes_and_ranges() {
        for (text, taken, left) in [
            ("404", &[404][..], &[403, 405, 200][..]),
            ("5xx", &[500, 599], &[499, 404]),
            ("5XX", &[503], &[200]),
            ("400-499", &[400, 451, 499], &[399, 500]),
            ("404,5xx", &[404, 502], &[200, 403]),
        ] {
            let filter: StatusFilter = text.parse().unwrap();
            assert!(taken.iter().all(|status| filter.takes(*status)), "{text}");
            assert!(!left.iter().any(|status| filter.takes(*status)), "{text}");
        }
        for bad in ["", "x", "6xx", "0xx", "xx", "40", "4040", "499-400", "404,", "-", "1-2", "+04", &"404,".repeat(40)]
        {
            assert!(bad.parse::<StatusFilter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_filter_takes_a_line_of_which_all_holds() {
        let filter = |path: &str, version: &str, method: &str| LogFilter {
            path: Some(path.parse().unwrap()),
            version: Some(version.parse().unwrap()),
            method: Some(method.to_owned()),
            status: None,
        };
        assert!(LogFilter::default().takes(&line()));
        assert!(filter("/api/*", "4f2a91", "GET").takes(&line()));
        assert!(filter("/api/users", &format!("4f2a91bc03de{}", "0".repeat(52)), "get").takes(&line()));
        assert!(!filter("/ap/*", "4f2a91", "GET").takes(&line()));
        assert!(!filter("/api/*", "4f2a92", "GET").takes(&line()));
        assert!(!filter("/api/*", "4f2a91", "POST").takes(&line()));
        let nobody = LogLine { version: None, ..line() };
        assert!(!filter("/api/*", "4f2a91", "GET").takes(&nobody));
    }

    proptest! {
        #[test]
        fn a_filter_of_statuses_is_read_as_it_is_written(parts in proptest::collection::vec((100_u16..600, 0_u16..50), 1..20)) {
            let parts: Vec<(u16, u16)> = parts.into_iter().map(|(first, more)| (first, (first + more).min(599))).collect();
            let filter = StatusFilter(parts);
            prop_assert_eq!(filter.to_string().parse::<StatusFilter>(), Ok(filter));
        }

        #[test]
        fn no_text_breaks_the_reading_of_statuses(text in ".{0,40}") {
            let _read = text.parse::<StatusFilter>();
        }
    }

    #[test]
    fn a_line_of_an_instance_is_as_the_api_has_it() {
        let json = r#"{"at_ms":1,"instance":"web.2","node":"node-1","stream":"stderr","text":"no"}"#;
        let line: InstanceLine = serde_json::from_str(json).unwrap();
        assert_eq!((line.instance.as_str(), line.stream), ("web.2", LogStream::Stderr));
        assert_eq!(serde_json::to_string(&line).unwrap(), json);
    }
}
