//! Files uploaded compressed without their plain file: the version has the plain file, and the compressed names lead to
//! the plain file.

use std::sync::Arc;

use devanture_config::Manifest;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_site::precompressed::{SVG, compressed_path, is_svgz};
use devanture_site::rules::restricted::unserved_plain_paths;
use tokio::task::{JoinError, spawn_blocking};

use super::loader::LoadRequest;
use super::rule_files::RuleFiles;

/// Removes the plain files that are not served, as decided by `check` and `routes` too.
///
/// # Errors
/// The comparison panicked.
pub(super) async fn leave_out_unserved(
    request: &mut LoadRequest,
    rule_files: RuleFiles,
) -> Result<RuleFiles, JoinError> {
    if request.decoded.is_empty() {
        return Ok(rule_files);
    }
    let (manifest, rules_max) = (Arc::clone(&request.manifest), request.rules_max);
    let pairs = other_names(request);
    let compare = move || {
        let unserved = unserved_plain_paths(rule_files.restricted(&manifest, rules_max).as_ref(), pairs);
        (rule_files, unserved)
    };
    let (rule_files, unserved) = spawn_blocking(compare).await?;
    request.decoded.retain(|plain, _| !unserved.contains(plain));
    Ok(rule_files)
}

/// The manifest with the missing plain files, in place of compressed files of the same name.
pub(super) fn with_decoded(request: &LoadRequest) -> Arc<Manifest> {
    if request.decoded.is_empty() {
        return Arc::clone(&request.manifest);
    }
    let mut manifest = Manifest::clone(&request.manifest);
    for (plain, file) in &request.decoded {
        // A type declared for the compressed file is the type of its content.
        let media_type = names(request, plain).find_map(|name| request.manifest.files.get(&name)?.media_type.clone());
        let media_type = media_type.or_else(|| is_svgz(plain).then(|| SVG.to_owned()));
        manifest.files.insert(plain.clone(), FileEntry { hash: file.hash, size: file.size, media_type });
    }
    Arc::new(manifest)
}

/// The names of compressed files, each with the path of its plain file, if different.
pub(super) fn other_names(request: &LoadRequest) -> Vec<(BundlePath, BundlePath)> {
    let of = |plain: &BundlePath| names(request, plain).map(|name| (name, plain.clone())).collect::<Vec<_>>();
    request.decoded.keys().filter(|plain| !is_svgz(plain)).flat_map(of).collect()
}

/// The names of the compressed forms of a plain file.
fn names(request: &LoadRequest, plain: &BundlePath) -> impl Iterator<Item = BundlePath> {
    let forms = request.given.get(plain).into_iter().flatten();
    forms.filter_map(move |form| compressed_path(plain, form.suffix()))
}
