//! The address of an edge, parsed and for messages.

use devanture_config::problem::Code;
use url::{Host, Url};

use crate::output::exit::Failure;

/// Returns an address for messages, without its user and password.
pub(super) fn shown_url(text: &str) -> String {
    // A password may hold a slash, and proxies are written without a scheme as well.
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("//") {
        Some((scheme, _)) => format!("{scheme}//…@{host}"),
        None => format!("…@{host}"),
    }
}

/// Reads the address of an edge.
pub(super) fn edge_url(text: &str, source: &str) -> Result<Url, Failure> {
    let bad = |why: &str| {
        Failure::new(
            Code::Usage,
            format!("{source}: `{}` is not the address of an edge: {why}.", shortened(&shown_url(text))),
        )
        .hint("it looks like https://edge.example.org:8444")
    };
    let mut url: Url = text.trim().parse().map_err(|error: url::ParseError| bad(&error.to_string()))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !plain || url.password().is_some() {
        return Err(bad("it holds a user, a query or a fragment"));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err(bad("without https the token could be read on its way, so only loopback may have http")),
        _ => return Err(bad("https:// is wanted")),
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Returns true if `url` leads to this machine, whatever the network resolves.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The beginning of a text.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
