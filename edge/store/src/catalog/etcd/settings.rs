//! The access to etcd: its members, and the identity of the edge.

use std::sync::Arc;

use arc_swap::ArcSwap;
use devanture_config::api::Secret;
use http::Uri;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use crate::catalog::Error;

/// The port of etcd's clients.
const PORT: u16 = 2379;

/// Settings of a catalog in etcd.
#[derive(Clone)]
pub struct EtcdSettings {
    /// The members' client URLs, such as `https://10.0.0.11:2379`. A single URL is enough to find the catalog; all URLs
    /// are needed to find the catalog without some of the members.
    pub endpoints: Vec<String>,
    /// The prefix of every key, such as `devanture/`.
    pub prefix: String,
    /// For endpoints with `https`: the trusted roots, and a certificate of the edge if etcd requires one. A replacement
    /// applies to later connections.
    pub tls: Option<Arc<ArcSwap<ClientConfig>>>,
    /// A user of etcd and the password.
    pub credentials: Option<(String, Secret)>,
    /// The name of this node, unique in the cluster.
    pub node: String,
}

/// A member's address.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// The configured URL, for messages.
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// The required name in the certificate, and the check of the certificate; `None` without TLS.
    pub(super) tls: Option<(ServerName<'static>, Arc<ArcSwap<ClientConfig>>)>,
}

impl EtcdSettings {
    /// Returns the members.
    ///
    /// # Errors
    /// [`Error::Store`] names the invalid setting.
    pub(super) fn members(&self) -> Result<Vec<Endpoint>, Error> {
        let members: Vec<_> = self.endpoints.iter().map(|url| self.member(url)).collect::<Result<_, _>>()?;
        if members.is_empty() {
            return Err(Error::Store("no endpoint of etcd is configured".to_owned()));
        }
        Ok(members)
    }

    fn member(&self, url: &str) -> Result<Endpoint, Error> {
        let wrong = |reason: &str| Error::Store(format!("the endpoint {url} of etcd {reason}"));
        let parsed: Uri = url.parse().map_err(|_error| wrong("is no URL"))?;
        let host = parsed.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match parsed.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let config = self.tls.as_ref().ok_or_else(|| wrong("is https, and TLS is not configured"))?;
                let name = ServerName::try_from(host.clone()).map_err(|_error| wrong("has no name for TLS"))?;
                Some((name, Arc::clone(config)))
            }
            _ => return Err(wrong("begins with neither http:// nor https://")),
        };
        if parsed.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(wrong("has a path"));
        }
        Ok(Endpoint { url: url.to_owned(), host, port: parsed.port_u16().unwrap_or(PORT), tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(endpoints: &[&str]) -> Result<Vec<Endpoint>, Error> {
        let endpoints = endpoints.iter().map(|url| (*url).to_owned()).collect();
        let settings =
            EtcdSettings { endpoints, prefix: String::new(), tls: None, credentials: None, node: "a".to_owned() };
        settings.members()
    }

    #[test]
    fn members_have_a_host_and_a_port() {
        let found = members(&["http://etcd-1:1234", "http://[::1]", "http://10.0.0.1/"]).unwrap();
        let found: Vec<_> = found.iter().map(|member| (member.host.as_str(), member.port)).collect();
        assert_eq!(found, [("etcd-1", 1234), ("::1", 2379), ("10.0.0.1", 2379)]);
    }

    #[test]
    fn what_cannot_be_an_endpoint_is_refused_with_its_reason() {
        for (url, reason) in [
            ("10.0.0.1:2379", "neither"),
            ("ftp://a", "neither"),
            ("https://a", "TLS is not configured"),
            ("http://a/b", "has a path"),
            ("http://", "no URL"),
        ] {
            let error = members(&[url]).err().unwrap().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(members(&[]).is_err());
    }
}
