//! Transfer sizes of files, in encodings included in their bundle or made by the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{Digest, Manifest};
use devanture_site::media::extension;

use devanture_store::blobs::{Form, VariantInfo};
use devanture_store::records::Levels;

/// Files loaded only by developer tools.
const SOURCE_MAP: &str = "map";

/// Files of a bundle that are encodings of other files.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    paths: BTreeSet<BundlePath>,
    sizes: HashMap<(Digest, Form), u64>,
    levels: Levels,
}

impl Siblings {
    /// Collects the encodings of a version from its record; all other files are served at the given levels.
    pub(crate) fn new(manifest: &Manifest, given: &BTreeMap<BundlePath, Vec<Form>>, levels: Levels) -> Self {
        let mut siblings = Self { levels, ..Self::default() };
        for (path, form) in given.iter().flat_map(|(path, forms)| forms.iter().map(move |form| (path, *form))) {
            let sibling: Option<BundlePath> = format!("{path}.{}", form.suffix()).parse().ok();
            let of = |path: &BundlePath| manifest.files.get(path);
            let Some((sibling, (file, encoded))) =
                sibling.and_then(|one| Some((of(path)?, of(&one)?)).map(|it| (one, it)))
            else {
                continue;
            };
            siblings.sizes.insert((file.hash, form), encoded.size);
            siblings.paths.insert(sibling);
        }
        siblings
    }

    /// Returns true if visitors load the file, by its path: neither private nor an encoding.
    pub(crate) fn is_loaded(&self, path: &BundlePath) -> bool {
        !path.is_private() && !self.paths.contains(path) && extension(path.as_str()).as_deref() != Some(SOURCE_MAP)
    }

    /// Returns the served variants of a blob, among `stored`.
    pub(crate) async fn served(&self, blob: &Digest, stored: Vec<VariantInfo>) -> Vec<VariantInfo> {
        self.levels.served(blob, stored).await
    }

    /// Returns the size of a file in Brotli, accepted by every browser, if available; `variants` are the served
    /// variants.
    pub(crate) fn in_brotli(&self, entry: &FileEntry, variants: &[VariantInfo]) -> u64 {
        let is_brotli = |variant: &&VariantInfo| variant.form.encoding() == Form::Br;
        let made = || variants.iter().find(is_brotli).map(|variant| variant.size);
        self.sizes.get(&(entry.hash, Form::Br)).copied().or_else(made).unwrap_or(entry.size)
    }

    /// Returns the length of the shortest included encoding of a blob.
    pub(crate) fn shortest(&self, blob: Digest) -> Option<u64> {
        Form::ALL.into_iter().filter_map(|form| self.sizes.get(&(blob, form)).copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_store::blobs::Quality;

    #[test]
    fn what_came_beside_a_file_goes_before_what_was_made_and_is_loaded_by_nobody() {
        let entry = |name: &str, size| FileEntry { hash: Digest::of(name.as_bytes()), size, media_type: None };
        let files =
            [("app.js", 9_000), ("app.js.br", 2_000), ("app.js.map", 9), ("b.js", 900), ("b.js.br", 1), (".x", 1)];
        let files = files.map(|(path, size)| (path.parse::<BundlePath>().unwrap(), entry(path, size)));
        let manifest = Manifest::of_files(files.into());
        let siblings =
            Siblings::new(&manifest, &[("app.js".parse().unwrap(), vec![Form::Br])].into(), Levels::default());
        let loaded = manifest.files.keys().filter(|path| siblings.is_loaded(path)).map(ToString::to_string);
        assert_eq!(loaded.collect::<Vec<_>>(), ["app.js", "b.js", "b.js.br"]);
        let made = |form, size| VariantInfo { form, size, hash: Digest::of(b""), quality: Quality::Best };
        let variants = [made(Form::Zst, 400), made(Form::Br, 500)];
        let (app, b) = (entry("app.js", 9_000), entry("b.js", 900));
        assert_eq!([siblings.in_brotli(&app, &variants), siblings.in_brotli(&b, &variants)], [2_000, 500]);
        assert_eq!(siblings.in_brotli(&b, &[]), 900);
        assert_eq!([siblings.shortest(app.hash), siblings.shortest(b.hash)], [Some(2_000), None]);
    }
}
