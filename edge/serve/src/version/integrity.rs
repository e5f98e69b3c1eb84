//! Pages with integrity hashes in place of the bundle's pages, and the policy for browsers.

use std::collections::BTreeMap;
use std::sync::Arc;

use devanture_config::path::BundlePath;
use devanture_config::site_toml::Integrity;
use devanture_config::{Digest, Manifest};
use devanture_site::decide::OwnPath;
use devanture_site::integrity::metadata;
use http::{HeaderName, HeaderValue};

use super::MapHash;
use super::loader::{Error, LoadRequest};
use devanture_store::blobs::{self, Blobs, Form, Key};
use devanture_store::records::integrity_pages::IntegrityPages;

const ENFORCED: HeaderName = HeaderName::from_static("integrity-policy");
const REPORTED: HeaderName = HeaderName::from_static("integrity-policy-report-only");
const ENDPOINTS: HeaderName = HeaderName::from_static("reporting-endpoints");
/// Neither Chromium nor Firefox blocks style sheets (November 2026), and Chromium 156 logs an error at each view of a
/// page with `style` in its policy.
const POLICY: HeaderValue = HeaderValue::from_static("blocked-destinations=(script), endpoints=(devanture-integrity)");

/// The policy of the page at `path`, and the report endpoint; `None` if the page's hashes were not computed.
pub(super) fn policy(request: &LoadRequest, path: &BundlePath) -> Option<[(HeaderName, HeaderValue); 2]> {
    request.integrity.pages.get(path)?;
    let policy = match request.serving.integrity {
        Some(Integrity::Enforce) => ENFORCED,
        Some(Integrity::Report) => REPORTED,
        Some(Integrity::Off) | None => return None,
    };
    let endpoints = HeaderValue::try_from(format!("devanture-integrity=\"{}\"", OwnPath::INTEGRITY)).ok()?;
    Some([(policy, POLICY), (ENDPOINTS, endpoints)])
}

/// Hash of the import map of the page at `path`, in the form of a `Content-Security-Policy` source.
pub(super) fn map_hash(request: &LoadRequest, path: &BundlePath) -> Option<Box<MapHash>> {
    request.integrity.pages.get(path)?;
    let hash = request.integrity.maps.get(path)?;
    Some(Box::new(MapHash(format!("'{}'", metadata(hash)).into())))
}

/// A manifest with pages that have hashes.
pub struct HashedPages {
    pub manifest: Manifest,
    /// Pages no longer stored, replaced by the bundle's pages.
    lost: Vec<Digest>,
}

/// The manifest with the pages that have hashes, and the lost pages, which are served as in the bundle, without a
/// policy.
pub(super) async fn with_pages(
    blobs: &dyn Blobs,
    request: &mut LoadRequest,
    manifest: Arc<Manifest>,
) -> Result<(Arc<Manifest>, Box<[Digest]>), Error> {
    if matches!(request.serving.integrity, None | Some(Integrity::Off)) {
        request.integrity.pages.clear();
    }
    Ok(match put_hashed_pages(blobs, &manifest, &mut request.integrity, &mut request.given).await? {
        Some(HashedPages { manifest, lost }) => (Arc::new(manifest), lost.into()),
        None => (manifest, Box::default()),
    })
}

/// Puts pages with hashes in place of the pages of `manifest`: `None` without such pages. Lost pages are removed from
/// `integrity`, and encodings of the bundle's pages from `given`.
///
/// # Errors
/// The records of the pages cannot be read.
pub async fn put_hashed_pages(
    blobs: &dyn Blobs,
    manifest: &Manifest,
    integrity: &mut IntegrityPages,
    given: &mut BTreeMap<BundlePath, Vec<Form>>,
) -> Result<Option<HashedPages>, blobs::Error> {
    if integrity.pages.is_empty() {
        return Ok(None);
    }
    let (mut with_pages, mut lost) = (manifest.clone(), Vec::new());
    for (path, page) in integrity.pages.clone() {
        let Some(entry) = with_pages.files.get_mut(&path) else {
            integrity.pages.remove(&path);
            continue;
        };
        if entry.hash == page.hash {
            continue;
        }
        if blobs.size(Key::Blob(page.hash)).await? != Some(page.size) {
            integrity.pages.remove(&path);
            lost.push(page.hash);
            continue;
        }
        (entry.hash, entry.size) = (page.hash, page.size);
        // An encoding of the bundle's page has other content.
        given.remove(&path);
    }
    Ok(Some(HashedPages { manifest: with_pages, lost }))
}
