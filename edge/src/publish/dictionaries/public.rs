//! Which files of a version anyone may read: nothing else serves as a dictionary, or is sent as a delta.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::Manifest;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::rules::Pattern;

use crate::blobs::Form;
use crate::publish::compress::worth_trying;
use crate::site::dictionary::FILE_BYTES_MIN;
use crate::site::{cache, media};

/// What is known of a version without its files' bytes.
pub(super) struct Public<'m> {
    manifest: &'m Manifest,
    /// Siblings that are encodings of a file.
    siblings: BTreeSet<BundlePath>,
    /// What a rule keeps from strangers, in any environment.
    guarded: Vec<Pattern>,
    bytes_max: u64,
}

impl<'m> Public<'m> {
    pub(super) fn new(
        manifest: &'m Manifest,
        given: &BTreeMap<BundlePath, Vec<Form>>,
        guarded: Vec<Pattern>,
        bytes_max: u64,
    ) -> Self {
        let sibling = |path: &BundlePath, form: &Form| format!("{path}.{}", form.suffix()).parse().ok();
        let siblings = given.iter().flat_map(|(path, forms)| forms.iter().filter_map(|form| sibling(path, form)));
        Self { manifest, siblings: siblings.collect(), guarded, bytes_max }
    }

    /// The files that may be sent as deltas: those that compress, of a length that is worth it.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'m BundlePath, &'m FileEntry)> {
        self.manifest.files.iter().filter(|(path, entry)| {
            (FILE_BYTES_MIN..=self.bytes_max).contains(&entry.size)
                && worth_trying(path, entry.media_type.as_deref(), entry.size)
                && self.anyone_may_read(path)
        })
    }

    /// Whether anyone may read a file, by any path that it answers.
    pub(super) fn anyone_may_read(&self, path: &BundlePath) -> bool {
        let is_guarded = || paths_of(path.as_str()).iter().any(|path| self.guarded.iter().any(|rule| rule.takes(path)));
        !path.is_private() && !self.siblings.contains(path) && !is_guarded()
    }
}

/// Whether a file is a page, or a service worker: browsers keep neither.
pub(super) fn is_page(path: &BundlePath, entry: &FileEntry) -> bool {
    let media_type = entry.media_type.as_deref();
    match media_type {
        Some(said) => cache::is_page(path.as_str(), said.as_bytes()),
        None => cache::is_page(path.as_str(), media::content_type(path.as_str(), true).as_bytes()),
    }
}

/// Whether one of the paths that a file may be asked for by is withdrawn.
pub(super) fn is_withdrawn(path: &BundlePath, withdrawn: &BTreeSet<String>) -> bool {
    let is = |path: &str| withdrawn.iter().any(|one| one.trim_matches('/') == path.trim_matches('/'));
    !withdrawn.is_empty() && paths_of(path.as_str()).iter().any(|path| is(path))
}

/// The paths that a file of a bundle may be asked for by, however pages are found.
fn paths_of(path: &str) -> Vec<String> {
    let mut paths = vec![format!("/{path}")];
    if let Some(name) = path.strip_suffix(".html") {
        paths.extend([format!("/{name}"), format!("/{name}/")]);
        let folder = if name == "index" { Some("") } else { name.strip_suffix("/index") };
        if let Some(folder) = folder {
            let folder = if folder.is_empty() { String::new() } else { format!("/{folder}") };
            paths.extend([format!("{folder}/"), if folder.is_empty() { "/".to_owned() } else { folder }]);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::Digest;
    use devanture_config::rules::pattern::Dialect;

    fn files(guards: &[&str]) -> Vec<String> {
        let entry = |size| FileEntry { hash: Digest::of(b""), size, media_type: None };
        let manifest = Manifest::of_files(
            [
                ("app.js", 5_000),
                ("app.js.br", 2_000),
                ("docs/index.html", 5_000),
                ("long.js", 10_001),
                ("photo.jpg", 5_000),
                ("secret/plan.css", 5_000),
                ("short.js", 1_023),
                (".env.js", 5_000),
            ]
            .map(|(path, size)| (path.parse().unwrap(), entry(size)))
            .into(),
        );
        let given = [("app.js".parse().unwrap(), vec![Form::Br])].into();
        let guards = guards.iter().map(|text| Pattern::parse(text, Dialect::Netlify).unwrap()).collect();
        let public = Public::new(&manifest, &given, guards, 10_000);
        public.files().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn what_is_private_or_guarded_or_does_not_compress_is_left_out() {
        assert_eq!(files(&[]), ["app.js", "docs/index.html", "secret/plan.css"]);
        assert_eq!(files(&["/secret/*"]), ["app.js", "docs/index.html"]);
        assert_eq!(files(&["/*"]), [""; 0]);
    }

    #[test]
    fn a_page_is_left_out_whichever_of_its_paths_is_guarded() {
        for guard in ["/docs", "/docs/", "/docs/*", "/docs/index", "/docs/index.html", "/docs/:page"] {
            assert_eq!(files(&[guard]), ["app.js", "secret/plan.css"], "{guard}");
        }
    }
}
