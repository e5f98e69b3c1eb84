//! The proxy of requests, which comes only from the environment, as for other programs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use devanture_config::problem::Code;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use url::{Host, Url};

use super::address::{edge_url, is_loopback, shortened, shown_url};
use super::{Name, Settings};
use crate::output::exit::Failure;

/// Variables of proxies for an address with `https`, and with `http`; the first non-empty one counts.
const FOR_HTTPS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const FOR_HTTP: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// Variables of hosts that are reached without a proxy.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Variable of a script of a web server, where `HTTP_PROXY` is a field of a stranger's request.
const CGI: &str = "REQUEST_METHOD";

/// A proxy of requests.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    variable: &'static str,
    /// The address and the user, as parsed by the HTTP client.
    read: Intercept,
}

/// As a part of a sentence, without the user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.read.uri().to_string();
        write!(f, "the proxy {} of {}", address.trim_end_matches('/'), self.variable)
    }
}

impl Proxy {
    /// Returns the proxy for `url`; `None` for a direct connection, as always for this machine.
    ///
    /// # Errors
    /// `usage` if the proxy, or an exception, is invalid: if it were ignored, requests would take a different way than
    /// configured.
    pub(crate) fn of(url: &Url, environment: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Failure> {
        let is_here = is_loopback(url) || url.domain().is_some_and(|name| name.ends_with(".localhost"));
        if is_here || environment(CGI).is_some() {
            return Ok(None);
        }
        let Some((variable, text)) = first_of(names_for(url.scheme() == "http"), &environment) else { return Ok(None) };
        if let Some((variable, hosts)) = first_of(&EXCEPTIONS, &environment) {
            let entries = hosts.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
            let (read, bad): (Vec<_>, Vec<_>) =
                entries.map(|entry| exception(entry, url).ok_or(entry)).partition(Result::is_ok);
            let read: Vec<String> = read.into_iter().flatten().collect();
            if intercept("http://proxy", &read.join(","), url).is_none() {
                return Ok(None);
            }
            if let Some(entry) = bad.into_iter().find_map(Result::err) {
                let message = format!("{variable}: `{}` names no host.", shortened(&shown_url(entry)));
                return Err(Failure::new(Code::Usage, message)
                    .hint("it looks like edge.example.org,.internal,10.0.0.0/8, or * for all hosts"));
            }
        }
        let read = intercept(&text, "", url).filter(is_of_http);
        read.map(|read| Some(Self { variable, read })).ok_or_else(|| unusable(variable, &text))
    }

    /// Returns the proxy in the form of the HTTP client.
    ///
    /// # Errors
    /// `usage` if the client refuses the proxy.
    pub(crate) fn for_client(&self) -> Result<reqwest::Proxy, Failure> {
        let address = self.read.uri().to_string();
        let proxy = reqwest::Proxy::all(address.as_str()).map_err(|_no_address| unusable(self.variable, &address))?;
        Ok(match self.read.basic_auth() {
            Some(user) => proxy.custom_http_auth(user.clone()),
            None => proxy,
        })
    }

    /// Explains a failure of the proxy for which the HTTP client gives `cause` as the reason.
    pub(crate) fn explained(&self, cause: &str) -> String {
        // The cause comes with the name of the step that failed.
        match cause.rsplit(": ").next().unwrap_or(cause) {
            "proxy authorization required" => format!("{self} wants a user and a password, or others (status 407)"),
            // Any status other than 200 (RFC 9110 §9.3.6).
            "unsuccessful" => format!("{self} refuses to connect to it"),
            _ => format!("{cause}, through {self}"),
        }
    }

    /// Returns the remedy for a failure of the proxy.
    pub(crate) fn hint(&self) -> String {
        let variable = self.variable;
        format!("is {variable} right, and does that proxy connect there? NO_PROXY names hosts to reach without one")
    }
}

fn unusable(variable: &str, text: &str) -> Failure {
    let shown = shortened(&shown_url(text));
    Failure::new(Code::Usage, format!("{variable}: `{shown}` is not the address of a proxy over HTTP.")).hint(
        "it looks like http://USER:PASSWORD@proxy:3128, with http or https; NO_PROXY names hosts to reach without",
    )
}

const fn names_for(is_plain: bool) -> &'static [&'static str] {
    if is_plain { &FOR_HTTP } else { &FOR_HTTPS }
}

/// Returns the first non-empty variable, with its value.
fn first_of(names: &[&'static str], environment: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let mut said = names.iter().filter_map(|name| Some((*name, environment(name)?.trim().to_owned())));
    said.find(|(_, value)| !value.is_empty())
}

/// Returns the HTTP client's way to `url`; `None` for a direct connection, or an invalid `proxy`.
fn intercept(proxy: &str, exceptions: &str, url: &Url) -> Option<Intercept> {
    let target = url.as_str().parse().ok()?;
    Matcher::builder().all(proxy).no(exceptions).build().intercept(&target)
}

/// Returns true if a proxy speaks HTTP, at an address with a valid port.
fn is_of_http(proxy: &Intercept) -> bool {
    let address = proxy.uri().to_string().parse::<Url>();
    address.is_ok_and(|address| matches!(address.scheme(), "http" | "https"))
}

/// Parses an entry of `NO_PROXY` like the HTTP client: `*`, an address, a network, or a name with all its subdomains.
/// Empty if the entry is for a port other than that of `url`; `None` for all other texts.
fn exception(entry: &str, url: &Url) -> Option<String> {
    if entry == "*" || entry.parse::<IpAddr>().is_ok() || is_network(entry) {
        return Some(entry.to_owned());
    }
    let (host, port) = match entry.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(closed) => closed.filter(|(address, _)| address.contains(':'))?,
        None => entry.split_at(entry.find(':').unwrap_or(entry.len())),
    };
    let port = match port {
        "" => None,
        port => Some(port.strip_prefix(':')?.parse::<u16>().ok()?),
    };
    // Like `.example.org`, which is the same as `example.org`.
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host).trim_matches('.');
    let host = match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) if host.contains('*') => return None,
        // Names of URLs are ASCII.
        Err(_) => Host::parse(host).ok()?.to_string(),
    };
    let is_meant = port.is_none() || port == url.port_or_known_default();
    Some(if is_meant { host } else { String::new() })
}

fn is_network(entry: &str) -> bool {
    let Some((address, bits)) = entry.split_once('/') else { return false };
    let bits_max = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= bits_max)
}

impl Settings {
    /// Returns a line for each variable of the environment that selects the proxy for the edge; empty without a proxy.
    pub(crate) fn explained_proxy(&self, environment: &BTreeMap<String, String>) -> Vec<String> {
        let first = |names: &[&'static str]| first_of(names, |name| environment.get(name).cloned());
        let url = self.texts.get(&Name::Url).and_then(|setting| edge_url(&setting.value, "").ok());
        let is_plain = url.as_ref().is_some_and(|url| url.scheme() == "http");
        let Some((name, proxy)) = first(names_for(is_plain)) else { return Vec::new() };
        let used = match url {
            Some(url) if is_loopback(&url) => "; not used, as the edge is on this machine",
            Some(_) | None => "",
        };
        let mut lines = vec![format!("{name:<18} {}  from the environment{used}", shown_url(&proxy))];
        lines.extend(first(&EXCEPTIONS).map(|(name, hosts)| format!("{name:<18} {hosts}  from the environment")));
        lines
    }
}
