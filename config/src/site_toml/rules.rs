//! Tables of `devanture.toml` with rules, as written; `rules::tables` makes the rules.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::host_rule::HostRule;

/// Entry of `[[redirects]]` or `[[rewrites]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedirectTable {
    /// Cookies of matching visitors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// True if the rule takes precedence over a file of the path.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Matching paths.
    pub from: String,
    /// `Host` of requests to an external target; for rewrites only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostRule>,
    /// Languages of matching visitors by preference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// Required parameters, matched exactly; a value `:name` captures.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Status; 301 by default. A rewrite has no status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Target.
    pub to: String,
}

/// Entry of `[[headers]]`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadersTable {
    /// Permitted users of these paths, each `user:password`; all visitors if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub basic_auth: Vec<String>,
    /// True if `Cache-Control` also applies to pages and service workers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Matching paths.
    #[serde(rename = "for")]
    pub path: String,
    /// Fields to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Fields to set; several values are joined with commas.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Vec<String>>,
}

impl fmt::Debug for HeadersTable {
    // Keeps the password out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HeadersTable");
        shown.field("force", &self.force).field("path", &self.path).field("remove", &self.remove);
        shown.field("set", &self.set).finish_non_exhaustive()
    }
}

/// Value of `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheTable {
    /// Lifetime: a time such as `1h`, a word, or a whole `Cache-Control`.
    pub control: String,
    /// True if the lifetime also applies to pages and service workers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::PlaceName;
    use crate::rules::RuleTable;
    use crate::site_toml::{Serving, SiteFile};

    const TEXT: &str = r#"
[[redirects]]
from = "/a"
to = "/b"
query = { id = ":id" }
[[redirects]]
from = "/c"
to = "/d"
status = 308
force = true
[[headers]]
for = "/*"
set = { "X-A" = ["1", "2"] }
basic_auth = ["user:password"]
[cache]
"/b" = "1h"
"/a" = { control = "immutable", force = true }
[upstreams]
one = "https://one.example"
two = "https://two.example"
[env.staging]
[env.staging.cache]
"/aa" = "1d"
"/b" = "no-store"
[env.staging.upstreams]
two = "http://127.0.0.1:1"
[[env.staging.redirects]]
from = "/x"
to = "/y"
"#;

    #[test]
    fn tables_travel_in_a_manifest_as_they_are() {
        let site = SiteFile::parse("devanture.toml", TEXT).unwrap();
        for serving in [&site.base, &site.env[&"staging".parse().unwrap()]] {
            let json = serde_json::to_string(serving).unwrap();
            assert_eq!(&serde_json::from_str::<Serving>(&json).unwrap(), serving, "{json}");
        }
        assert_eq!(serde_json::to_string(&Serving::default()).unwrap(), "{}");
        let least: RedirectTable = serde_json::from_str(r#"{"from":"/a","to":"/b"}"#).unwrap();
        assert_eq!(serde_json::to_string(&least).unwrap(), r#"{"from":"/a","to":"/b"}"#);
    }

    #[test]
    fn an_environment_replaces_lists_and_merges_keys_and_lines_follow() {
        let site = SiteFile::parse("devanture.toml", TEXT).unwrap();
        let staging = "staging".parse().unwrap();
        let merged = site.base.clone().overlaid_by(&site.env[&staging]);
        assert_eq!(merged.redirects.as_ref().unwrap().len(), 1);
        assert_eq!(merged.headers, site.base.headers);
        let cache: Vec<(&str, &str)> =
            merged.cache.iter().flatten().map(|(path, rule)| (path.as_str(), rule.control.as_str())).collect();
        assert_eq!(cache, [("/a", "immutable"), ("/aa", "1d"), ("/b", "no-store")]);
        assert_eq!(merged.upstreams.unwrap()["two"].to()[0].to_string(), "http://127.0.0.1:1");
        let lines = |place: Option<&PlaceName>, table| {
            let lines = site.lines_in(place);
            (0..4).map(|index| lines.at(table, index).line).collect::<Vec<_>>()
        };
        assert_eq!(lines(None, RuleTable::Redirects), [2, 6, 0, 0]);
        assert_eq!(lines(None, RuleTable::Headers), [11, 0, 0, 0]);
        assert_eq!(lines(None, RuleTable::Cache), [17, 16, 0, 0]);
        assert_eq!(lines(Some(&staging), RuleTable::Redirects), [27, 0, 0, 0]);
        assert_eq!(lines(Some(&staging), RuleTable::Cache), [17, 23, 24, 0]);
        assert_eq!(lines(Some(&PlaceName::prod()), RuleTable::Redirects), [2, 6, 0, 0]);
    }
}
