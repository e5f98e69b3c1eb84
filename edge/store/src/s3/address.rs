//! The address of a bucket, `s3://BUCKET/PREFIX`, and the endpoint of its store.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ::http::Uri;

use super::{Error, Variables};

/// The scheme of an address.
const SCHEME: &str = "s3://";
/// The endpoint of S3 itself, the default.
const AMAZON: &str = "Amazon S3";

/// A bucket, and the common prefix of all paths in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    bucket: String,
    prefix: String,
}

impl Address {
    /// Returns true if a text begins like an address.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix, without `/` at its ends; may be empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| format!("{text} does not begin with {SCHEME}"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(is_name) {
            return Err(format!("{text} names no bucket: an address is {SCHEME}BUCKET/PREFIX"));
        }
        let prefix = prefix.trim_matches('/');
        object_store::path::Path::parse(prefix)
            .map_err(|error| format!("the prefix of {text} cannot be used: {error}"))?;
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// The endpoint named by variables.
pub(super) struct Endpoint {
    /// The host and port, for messages.
    pub(super) shown: String,
    /// Set if requests to the endpoint are not encrypted.
    pub(super) is_plain: bool,
}

/// Reads the endpoint, and refuses plain HTTP to another machine unless `AWS_ALLOW_HTTP` is `true`.
pub(super) fn endpoint(variables: &Variables) -> Result<Endpoint, Error> {
    let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let Some((name, value)) = names.iter().find_map(|name| Some((name, variables.get(*name)?.expose()))) else {
        return Ok(Endpoint { shown: AMAZON.to_owned(), is_plain: false });
    };
    // The text may hold a password and is therefore in no message.
    let uri = value.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    let (Some(uri), Some(scheme)) = (&uri, uri.as_ref().and_then(|uri| uri.scheme_str())) else {
        return Err(Error::Settings { reason: format!("{name} is no URL such as https://s3.example.com") });
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Error::Settings {
            reason: format!("{name} holds a user: credentials have variables of their own"),
        });
    }
    let host = uri.host().unwrap_or_default();
    let is_plain = match scheme {
        "https" => false,
        "http" if is_loopback(host) || is_allowed(variables) => true,
        "http" => {
            let reason = format!(
                "{name} is a URL of plain HTTP on another machine, {host}: use https, or set AWS_ALLOW_HTTP=true where \
                 the network in between is yours"
            );
            return Err(Error::Settings { reason });
        }
        _ => return Err(Error::Settings { reason: format!("{name} is neither a URL of https nor of http") }),
    };
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    Ok(Endpoint { shown: format!("{host}{port}"), is_plain })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_allowed(variables: &Variables) -> bool {
    variables.get("AWS_ALLOW_HTTP").is_some_and(|value| matches!(value.expose(), "1" | "true"))
}

#[cfg(test)]
mod tests {
    use devanture_config::api::Secret;

    use super::*;

    fn with(name: &str, value: &str) -> Variables {
        Variables::from([(name.to_owned(), Secret::new(value))])
    }

    #[test]
    fn an_address_is_a_bucket_and_a_prefix() {
        let address: Address = "s3://backups/edge/one/".parse().unwrap();
        assert_eq!((address.bucket(), address.prefix()), ("backups", "edge/one"));
        assert_eq!(address.to_string(), "s3://backups/edge/one");
        assert_eq!("s3://backups".parse::<Address>().unwrap().to_string(), "s3://backups");
        for text in ["s3://", "s3:///edge", "s3://a b/c", "s3://user:word@host/c", "/backups", "s3://backups/a//b"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn plain_http_leaves_the_machine_only_where_that_is_allowed() {
        for url in ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"] {
            assert!(endpoint(&with("AWS_ENDPOINT_URL", url)).unwrap().is_plain, "{url}");
        }
        let mut variables = with("AWS_ENDPOINT_URL", "http://s3.example.com");
        let error = endpoint(&variables).err().unwrap().to_string();
        assert!(error.contains("AWS_ALLOW_HTTP") && error.contains("s3.example.com"), "{error}");
        variables.extend(with("AWS_ALLOW_HTTP", "true"));
        assert!(endpoint(&variables).unwrap().is_plain);
        assert!(!endpoint(&with("AWS_ENDPOINT_URL_S3", "https://s3.example.com")).unwrap().is_plain);
        assert!(!endpoint(&Variables::new()).unwrap().is_plain);
    }

    #[test]
    fn an_endpoint_with_a_password_is_refused_without_showing_it() {
        for url in ["https://me:hush@s3.example.com", "hush", "ftp://hush.example.com"] {
            let error = endpoint(&with("AWS_ENDPOINT_URL", url)).err().unwrap().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
