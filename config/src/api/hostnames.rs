//! Hostnames of an environment's own.

use serde::{Deserialize, Serialize};

use crate::names::{AppName, HostPattern, Hostname, PlaceName};

/// The source of an environment's hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostnameSource {
    /// By the API.
    Api,
    /// By the manifest of a version that went live.
    Manifest,
}

/// The source of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateSource {
    /// An authority, by ACME; it is renewed before its end.
    Acme,
    /// A file that `edge.toml` names.
    File,
}

/// The certificate that the edge shows for a hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameCertificate {
    /// Its source.
    pub source: CertificateSource,
    /// Its end, in milliseconds since 1970 UTC; of several for one name, the first one.
    pub expires_ms: u64,
}

/// One hostname of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameStatus {
    /// The name in ASCII, as requests have it; a wildcard begins with `*.`.
    pub name: HostPattern,
    /// The name as a person writes it.
    pub unicode: String,
    /// Whether the other names lead here.
    pub canonical: bool,
    /// Where its visitors are sent, where it is not they who are served.
    pub redirects_to: Option<Hostname>,
    /// Its source.
    pub source: HostnameSource,
    /// Whether the live version's `devanture.toml` lists it.
    pub listed: bool,
    /// Its address; a wildcard has none.
    pub url: Option<String>,
    /// Its certificate; `None` where there is none but one of the local authority.
    #[serde(default)]
    pub certificate: Option<HostnameCertificate>,
    /// The records of DNS, as lines of a zone file, by which browsers learn of HTTP/3 ahead of their first request;
    /// empty if it is not served, or there is no certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub https_records: Vec<String>,
}

/// `GET /v1/apps/{app}/environments/{env}/hostnames`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameList {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The name that the others lead to, where there is one.
    pub canonical: Option<Hostname>,
    /// The names, in the order of their ASCII forms.
    pub hostnames: Vec<HostnameStatus>,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `PUT /v1/apps/{app}/environments/{env}/hostnames/{host}`; the body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostnameRequest {
    /// Whether other hostnames redirect to this one, overriding `devanture.toml`; unchanged by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical: Option<bool>,
}

/// Whose a hostname was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameOwner {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
}

/// The answer to [`HostnameRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameSet {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Whether anything changed, or would.
    pub changed: bool,
    /// Whose it was, where it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<HostnameOwner>,
    /// The name as it is now, or would be.
    pub hostname: HostnameStatus,
}

/// The answer to `DELETE /v1/apps/{app}/environments/{env}/hostnames/{host}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameRemoved {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The name that is gone.
    pub removed: HostPattern,
    /// The name that the others lead to now, where there is one.
    pub canonical: Option<Hostname>,
    /// Remaining steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
