//! Custom hostnames of an environment.

use serde::{Deserialize, Serialize};

use crate::names::{AppName, HostPattern, Hostname, PlaceName};

/// Source of an environment's hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostnameSource {
    /// Set through the API.
    Api,
    /// Listed in the manifest of a version that went live.
    Manifest,
}

/// Source of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateSource {
    /// An authority, by ACME; renewed before expiry.
    Acme,
    /// A file named in `edge.toml`.
    File,
}

/// Certificate shown by the edge for a hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameCertificate {
    /// Source.
    pub source: CertificateSource,
    /// Expiry, in milliseconds since 1970 UTC; of several certificates for one name, the first expiry.
    pub expires_ms: u64,
}

/// Hostname of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameStatus {
    /// Name in ASCII, as in requests; a wildcard begins with `*.`.
    pub name: HostPattern,
    /// Name in Unicode, for display.
    pub unicode: String,
    /// True for the target of redirects from the other names.
    pub canonical: bool,
    /// Redirect target of visitors, if visitors are not served under this name.
    pub redirects_to: Option<Hostname>,
    /// Source.
    pub source: HostnameSource,
    /// True if the live version's `devanture.toml` lists the name.
    pub listed: bool,
    /// URL; a wildcard has no URL.
    pub url: Option<String>,
    /// Certificate; `None` without a certificate other than the local authority's.
    #[serde(default)]
    pub certificate: Option<HostnameCertificate>,
    /// DNS records, as lines of a zone file, that announce HTTP/3 to browsers before the first request; empty without
    /// HTTP/3 or without a certificate.
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
    /// Redirect target of the other names, if any.
    pub canonical: Option<Hostname>,
    /// Names, in the order of their ASCII forms.
    pub hostnames: Vec<HostnameStatus>,
    /// `after` of the next page, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `PUT /v1/apps/{app}/environments/{env}/hostnames/{host}`; the body is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostnameRequest {
    /// True if other hostnames redirect to this hostname, overriding `devanture.toml`; unchanged by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical: Option<bool>,
}

/// Previous owner of a hostname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameOwner {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
}

/// Response to [`HostnameRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameSet {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// True if the request changed the hostname, or would in a dry run.
    pub changed: bool,
    /// Previous owner of a moved hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<HostnameOwner>,
    /// Hostname after the change.
    pub hostname: HostnameStatus,
}

/// Response to `DELETE /v1/apps/{app}/environments/{env}/hostnames/{host}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameRemoved {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Removed name.
    pub removed: HostPattern,
    /// New redirect target of the other names, if any.
    pub canonical: Option<Hostname>,
    /// Remaining steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
