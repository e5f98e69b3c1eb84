//! The proxy that requests to the edge go through, which is the environment's alone, as that of other programs is.

use std::collections::BTreeMap;

use super::address::{edge_url, is_loopback, shown_url};
use super::{Name, Settings};

/// Variables of proxies for an edge with `https`, and with `http`; the first that is set counts, as for the HTTP
/// client.
const FOR_HTTPS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const FOR_HTTP: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// Those of hosts that are reached without one.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

impl Settings {
    /// A line for each variable of the environment that says by which proxy the edge is reached; none without a proxy.
    pub(crate) fn explained_proxy(&self, environment: &BTreeMap<String, String>) -> Vec<String> {
        let first = |names: &[&'static str]| {
            let mut said = names.iter().filter_map(|name| Some((*name, environment.get(*name)?)));
            said.find(|(_, value)| !value.is_empty())
        };
        let url = self.texts.get(&Name::Url).and_then(|setting| edge_url(&setting.value, "").ok());
        let names = if url.as_ref().is_some_and(|url| url.scheme() == "http") { FOR_HTTP } else { FOR_HTTPS };
        let Some((name, proxy)) = first(&names) else { return Vec::new() };
        let used = match url {
            Some(url) if is_loopback(&url) => "; not used, as the edge is on this machine",
            Some(_) | None => "",
        };
        let mut lines = vec![format!("{name:<18} {}  from the environment{used}", shown_url(proxy))];
        lines.extend(first(&EXCEPTIONS).map(|(name, hosts)| format!("{name:<18} {hosts}  from the environment")));
        lines
    }
}
