//! Resolves addresses in files of a bundle.

use std::borrow::Cow;

use devanture_config::path::BundlePath;

/// Returns the bundle file of an address, as far as the bundle alone determines.
pub(super) fn resolved(from: &BundlePath, reference: &str) -> Option<BundlePath> {
    let path = reference.split(['?', '#']).next().unwrap_or_default();
    let is_elsewhere = path.starts_with("//") || path.split('/').next().is_some_and(|first| first.contains(':'));
    if path.is_empty() || is_elsewhere {
        return None;
    }
    let decoded: Cow<'_, str> = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let folder = from.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut segments: Vec<&str> = match decoded.starts_with('/') {
        true => Vec::new(),
        false => folder.split('/').filter(|segment| !segment.is_empty()).collect(),
    };
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    BundlePath::normalised(&segments.join("/")).ok()
}
