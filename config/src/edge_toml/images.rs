//! `[runner.images]`: sources of container images, and the engine that runs the images.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::parsing::reader::Table;
use crate::site_toml::is_registry_prefix;
use crate::text::text_form;

/// Default socket of the engine's service.
pub const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// Maximum number of registries of a list.
const REGISTRIES_MAX: usize = 100;
/// Maximum length of a network's name, in bytes.
const NETWORK_BYTES_MAX: usize = 64;

/// Settings of container images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// File of credentials for registries in the form of containers-auth.json, relative to `edge.toml`.
    pub auth_file: Option<PathBuf>,
    /// Registries used without TLS.
    pub insecure_registries: Vec<String>,
    /// The network of containers.
    pub network: Network,
    /// Allowed registries, or parts of registries; OCI archives need none.
    pub registries: Vec<String>,
    /// Socket of podman's service.
    pub socket: PathBuf,
}

/// The network of containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Network {
    /// Podman's default network, a bridge; only the port of each instance is open, on the loopback address.
    #[default]
    Bridge,
    /// Network of the machine: an instance reaches every listener of the machine.
    Host,
    /// No network: instances listen at a socket, without outgoing connections.
    None,
    /// Named bridge of podman.
    Named(String),
}

/// Error for an invalid network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither \"bridge\" nor \"host\" nor \"none\" nor the name of a network of podman")]
pub struct BadNetwork(pub String);

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let is_name = text.len() <= NETWORK_BYTES_MAX
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        match text {
            "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            name if is_name => Ok(Self::Named(name.to_owned())),
            other => Err(BadNetwork(other.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

text_form!(Network, BadNetwork);

/// Reads `[runner.images]`.
pub(super) fn images(runner: &Table<'_, '_>) -> Option<Images> {
    let table = runner.table("images")?;
    let images = Images {
        auth_file: table.string("auth_file").map(PathBuf::from),
        insecure_registries: table.list("insecure_registries").unwrap_or_default(),
        network: table.parsed("network").unwrap_or_default(),
        registries: table.list("registries").unwrap_or_default(),
        socket: table.string("socket").map_or_else(|| PathBuf::from(PODMAN_SOCKET), PathBuf::from),
    };
    table.finish();
    for (key, list) in [("insecure_registries", &images.insecure_registries), ("registries", &images.registries)] {
        if let Some(bad) = list.iter().find(|registry| !is_registry_prefix(registry)) {
            let bad: String = bad.chars().take(80).collect();
            let message = format!("`runner.images.{key}`: `{bad}` is no registry");
            table.mistake(key, message, Some("write its host, such as \"registry.example.org/team\""));
        }
        if list.len() > REGISTRIES_MAX {
            table.mistake(key, format!("`runner.images.{key}` holds more than {REGISTRIES_MAX} registries"), None);
        }
    }
    if !images.socket.is_absolute() {
        table.mistake("socket", "`runner.images.socket` must be a path from / on", None);
    }
    Some(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for text in ["bridge", "host", "none", "apps"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for bad in ["", "-apps", "container:other", "ns:/proc/1/ns/net", "a b"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
