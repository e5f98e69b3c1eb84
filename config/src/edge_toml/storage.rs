//! `[catalog]` and `[blobs]`: stores of records and files.

use std::path::PathBuf;

use super::required;
use crate::parsing::reader::Table;

/// Default prefix of the keys in etcd.
pub const CATALOG_PREFIX: &str = "devanture/";
/// Default limit of cached files on the edge's own disk, in bytes, beside live files.
pub const CACHE_BYTES_MAX: u64 = 50 * 1024 * 1024 * 1024;
/// Maximum number of etcd endpoints; etcd's documentation advises at most seven members.
const ENDPOINTS_MAX: usize = 16;

/// Store of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CatalogStore {
    /// File of the data folder.
    #[default]
    Embedded,
    /// Etcd, with a mirror in the data folder.
    Etcd(Etcd),
}

/// Connection to etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// URLs of the members, all of the same scheme.
    pub endpoints: Vec<String>,
    /// Prefix of all keys.
    pub prefix: String,
    /// PEM file of trusted authorities for the members, in place of the platform's; relative to `edge.toml`.
    pub ca: Option<PathBuf>,
    /// Client certificate and key of the edge, relative to `edge.toml`.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// User, and file of the password, relative to `edge.toml`.
    pub user: Option<(String, PathBuf)>,
}

/// Store of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BlobStore {
    /// Data folder.
    #[default]
    Folder,
    /// Bucket, with the data folder as a cache.
    S3(S3),
}

/// Connection to a bucket. Credentials are never in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// Region for signatures of requests.
    pub region: Option<String>,
    /// URL of the store, unless AWS.
    pub endpoint: Option<String>,
    /// Folder in the bucket.
    pub prefix: String,
    /// Bytes on the own disk beyond which files of no live version are evicted.
    pub cache_bytes_max: u64,
}

/// Stores of an edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// Records.
    pub catalog: CatalogStore,
    /// Files.
    pub blobs: BlobStore,
}

#[derive(Clone, Copy)]
enum CatalogKind {
    Embedded,
    Etcd,
}

#[derive(Clone, Copy)]
enum BlobsKind {
    Folder,
    S3,
}

/// The keys of `[catalog]` for etcd.
const ETCD_KEYS: [&str; 7] = ["endpoints", "prefix", "ca", "cert", "key", "username", "password_file"];
/// The keys of `[blobs]` for a bucket.
const S3_KEYS: [&str; 5] = ["bucket", "region", "endpoint", "prefix", "cache_bytes_max"];

/// Reads `[catalog]` and `[blobs]`; `None` if either kind is unknown.
pub(super) fn storage(root: &Table<'_, '_>) -> Option<Storage> {
    let catalog = root.table("catalog").map_or_else(|| Some(CatalogStore::default()), |table| catalog(&table));
    let blobs = root.table("blobs").map_or_else(|| Some(BlobStore::default()), |table| blobs(&table));
    Some(Storage { catalog: catalog?, blobs: blobs? })
}

fn catalog(table: &Table<'_, '_>) -> Option<CatalogStore> {
    let kinds = &[("embedded", CatalogKind::Embedded), ("etcd", CatalogKind::Etcd)];
    let read = match kind(table, kinds, &ETCD_KEYS, CatalogKind::Embedded, "\"etcd\"") {
        Some(CatalogKind::Etcd) => etcd(table).map(CatalogStore::Etcd),
        Some(CatalogKind::Embedded) => {
            misplaced(table, &ETCD_KEYS, "is for etcd", "write kind = \"etcd\"");
            Some(CatalogStore::Embedded)
        }
        None => None,
    };
    table.finish();
    read
}

/// Reads `kind`. If `kind` is wrong, or missing beside dependent keys, only this mistake is reported, since the other
/// keys have no known meaning.
fn kind<T: Copy>(
    table: &Table<'_, '_>,
    kinds: &[(&str, T)],
    keys: &[&'static str],
    default: T,
    example: &str,
) -> Option<T> {
    let kind = table.word("kind", kinds);
    let needs_kind = keys.iter().any(|key| table.has(key));
    if kind.is_some() || !(needs_kind || table.has("kind")) {
        return Some(kind.unwrap_or(default));
    }
    table.know(keys);
    required(table, "kind", None, example)
}

fn misplaced(table: &Table<'_, '_>, keys: &[&'static str], is: &str, hint: &str) {
    for key in keys {
        let full = table.full(key);
        table.misplaced(key, format!("`{full}` {is}"), hint);
    }
}

fn etcd(table: &Table<'_, '_>) -> Option<Etcd> {
    let endpoints: Option<Vec<String>> = table.list("endpoints");
    let endpoints = required(table, "endpoints", endpoints, "[\"https://10.0.0.11:2379\"]");
    if let Some(endpoints) = &endpoints {
        check_endpoints(table, endpoints);
    }
    let prefix = table.string("prefix").unwrap_or_else(|| CATALOG_PREFIX.to_owned());
    if prefix.is_empty() || !prefix.ends_with('/') {
        table.mistake("prefix", "`catalog.prefix` must end with a slash", Some("prefix = \"devanture/\""));
    }
    let ca = table.string("ca").map(PathBuf::from);
    let identity = pair(table, ("cert", table.string("cert")), ("key", table.string("key")));
    let password = ("password_file", table.string("password_file"));
    let user = pair(table, ("username", table.string("username")), password);
    let is_plain = endpoints.iter().flatten().all(|url| url.starts_with("http://"));
    if is_plain && (ca.is_some() || identity.is_some()) {
        let key = if ca.is_some() { "ca" } else { "cert" };
        let message = format!("`catalog.{key}` says nothing for endpoints of plain HTTP");
        table.mistake(key, message, Some("write https:// in `catalog.endpoints`"));
    }
    let identity = identity.map(|(certificate, key)| (certificate.into(), key.into()));
    let user = user.map(|(name, file)| (name, file.into()));
    Some(Etcd { endpoints: endpoints?, prefix, ca, identity, user })
}

fn check_endpoints(table: &Table<'_, '_>, endpoints: &[String]) {
    let example = Some("endpoints = [\"https://10.0.0.11:2379\", \"https://10.0.0.12:2379\"]");
    if endpoints.is_empty() || endpoints.len() > ENDPOINTS_MAX {
        let message = format!("`catalog.endpoints` must have 1 to {ENDPOINTS_MAX} URLs");
        table.mistake("endpoints", message, example);
    }
    let scheme = |url: &str| url.split_once("://").map(|(scheme, _)| scheme.to_owned());
    for url in endpoints {
        let authority = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let is_authority = |text: &str| {
            let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
            port.is_some_and(|(host, _)| !host.is_empty()) && !text.contains(['/', '@', '?', '#', ' '])
        };
        if !authority.is_some_and(is_authority) {
            let message = format!("`catalog.endpoints`: `{url}` is not a URL with a host and a port alone");
            table.mistake("endpoints", message, example);
        }
    }
    if endpoints.iter().any(|url| scheme(url) != endpoints.first().and_then(|first| scheme(first))) {
        table.mistake("endpoints", "`catalog.endpoints` mixes http and https", None);
    }
}

/// Reads two keys that are required together.
fn pair(
    table: &Table<'_, '_>,
    (first, a): (&'static str, Option<String>),
    (second, b): (&'static str, Option<String>),
) -> Option<(String, String)> {
    let lonely = |key: &str, other: &str| {
        let (key_full, other_full) = (table.full(key), table.full(other));
        let hint = format!("add {other} = \"…\"");
        table.mistake(key, format!("`{key_full}` needs `{other_full}` beside it"), Some(&hint));
    };
    match (a, b) {
        (Some(a), Some(b)) => Some((a, b)),
        (Some(_), None) if !table.has(second) => {
            lonely(first, second);
            None
        }
        (None, Some(_)) if !table.has(first) => {
            lonely(second, first);
            None
        }
        _ => None,
    }
}

fn blobs(table: &Table<'_, '_>) -> Option<BlobStore> {
    let kinds = &[("folder", BlobsKind::Folder), ("s3", BlobsKind::S3)];
    let read = match kind(table, kinds, &S3_KEYS, BlobsKind::Folder, "\"s3\"") {
        Some(BlobsKind::S3) => s3(table).map(BlobStore::S3),
        Some(BlobsKind::Folder) => {
            misplaced(table, &S3_KEYS, "is for a bucket", "write kind = \"s3\"");
            Some(BlobStore::Folder)
        }
        None => None,
    };
    table.finish();
    read
}

fn s3(table: &Table<'_, '_>) -> Option<S3> {
    let bucket = required(table, "bucket", table.string("bucket"), "\"www\"");
    let region = table.string("region");
    let endpoint = table.string("endpoint");
    if let Some(url) = &endpoint
        && !(url.starts_with("https://") || url.starts_with("http://"))
    {
        let example = Some("endpoint = \"https://s3.example.org\"");
        table.mistake("endpoint", "`blobs.endpoint` must be an http or https URL", example);
    }
    let prefix = table.string("prefix").unwrap_or_default().trim_matches('/').to_owned();
    let cache_bytes_max = table.bytes("cache_bytes_max").unwrap_or(CACHE_BYTES_MAX);
    for key in ["access_key_id", "secret_access_key"] {
        let message = format!("`blobs.{key}`: credentials of a bucket are never in this file");
        table.misplaced(key, message, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment");
    }
    let bucket: String = bucket?;
    let is_name = bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !is_name || !(3..=63).contains(&bucket.len()) {
        table.mistake("bucket", format!("`blobs.bucket`: `{bucket}` is not the name of a bucket"), None);
    }
    Some(S3 { bucket, region, endpoint, prefix, cache_bytes_max })
}
