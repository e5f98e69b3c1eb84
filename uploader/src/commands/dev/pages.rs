//! The pages of a scan with the tag that reloads them, as copies beside the folder, which is only read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use devanture_config::Digest;
use devanture_config::problem::Code;
use devanture_config::site_toml::MediaTypes;
use devanture_project::beneath::{FilePath, Folder};
use devanture_project::bundle::hash::Hashed;
use devanture_project::bundle::scan::{FoundFile, Scan};

use super::inject;
use crate::output::exit::Failure;

/// Upper bound of the size of a page with the tag; a larger one is served unchanged.
const PAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Endings of pages.
const ENDINGS: [&str; 2] = [".html", ".htm"];
/// Characters of a digest that distinguish pages.
const NAME_CHARACTERS: usize = 16;

/// The copies.
#[derive(Debug)]
pub(super) struct Pages {
    folder: Folder,
    /// By the digest of the original page.
    copies: BTreeMap<Digest, Hashed>,
}

impl Pages {
    /// Creates an empty set of copies in `folder`, which exists and is empty.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let folder = std::fs::canonicalize(folder).and_then(|folder| Folder::open(&folder))?;
        Ok(Self { folder, copies: BTreeMap::new() })
    }

    /// Replaces the pages of `scan` by copies with the tag. Returns the names in the tags.
    ///
    /// # Errors
    /// `unreadable_file` if a page has changed since the scan, or a copy cannot be written.
    pub(super) fn put_into(&mut self, scan: &mut Scan, types: &MediaTypes) -> Result<BTreeSet<String>, Failure> {
        let mut used = BTreeSet::new();
        for (path, file) in &mut scan.files {
            if !is_page(path.as_str(), types) || file.hashed.bytes > PAGE_BYTES_MAX {
                continue;
            }
            let digest = file.hashed.digest;
            if let Some(copy) = self.copy(file)? {
                used.insert(digest);
                let path = FilePath::new(&self.folder, PathBuf::from(digest.to_string()));
                *file = FoundFile { path, hashed: copy };
            }
        }
        let old: Vec<Digest> = self.copies.keys().filter(|digest| !used.contains(digest)).copied().collect();
        for digest in old {
            self.copies.remove(&digest);
            // The whole folder is removed at the end.
            std::fs::remove_file(self.path(&digest)).ok();
        }
        Ok(used.iter().map(name).collect())
    }

    /// Returns the copy of a page; `None` for a page without a place for the tag.
    fn copy(&mut self, page: &FoundFile) -> Result<Option<Hashed>, Failure> {
        let digest = page.hashed.digest;
        if let Some(copy) = self.copies.get(&digest) {
            return Ok(Some(*copy));
        }
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Code::UnreadableFile, format!("{} cannot be read: {error}.", page.path.path().display()))
        };
        let mut bytes = Vec::new();
        let read = page.path.open().and_then(|file| file.take(PAGE_BYTES_MAX + 1).read_to_end(&mut bytes));
        read.map_err(|error| failed(&error))?;
        if Digest::of(&bytes) != digest {
            return Err(failed(&"it has changed"));
        }
        let Some(injected) = inject::inject(&bytes, &inject::tag(&name(&digest))) else { return Ok(None) };
        let path = self.path(&digest);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        file.and_then(|mut file| file.write_all(&injected)).map_err(|error| failed(&error))?;
        let copy = Hashed { digest: Digest::of(&injected), bytes: injected.len() as u64 };
        self.copies.insert(digest, copy);
        Ok(Some(copy))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join(digest.to_string())
    }
}

/// The content of a page's tag.
fn name(digest: &Digest) -> String {
    digest.to_string().chars().take(NAME_CHARACTERS).collect()
}

/// Returns true if the file at `path` is served as a page.
fn is_page(path: &str, types: &MediaTypes) -> bool {
    match types.of(path) {
        Some(media_type) => media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"),
        None => {
            let path = path.to_ascii_lowercase();
            ENDINGS.iter().any(|ending| path.ends_with(ending))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::site_toml::SiteFile;
    use devanture_project::Project;

    fn put(path: &Path, text: &str) {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn pages_are_copied_with_their_tag_and_the_folder_stays() {
        let (www, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, text) in [("a.html", "<p>a"), ("B.HTM", "<p>b"), ("c.txt", "<p>c"), ("d.tpl", "<p>d")] {
            put(&www.path().join(name), text);
        }
        let site = SiteFile::parse("devanture.toml", "[types]\n\".tpl\" = \"text/html; charset=utf-8\"\n").unwrap();
        let mut pages = Pages::new(copies.path()).unwrap();
        let folders = Project::default().folders(Some(www.path())).unwrap();
        let mut look = || {
            let mut scan = folders.scan(false).unwrap();
            let names = pages.put_into(&mut scan, &site.types).unwrap();
            let texts = scan.files.values().map(|file| std::fs::read_to_string(file.path.path()).unwrap());
            (names, texts.collect::<Vec<_>>())
        };
        let (names, texts) = look();
        assert_eq!(names.len(), 3);
        let has_tag: Vec<bool> = texts.iter().map(|text| text.contains("/.devanture-dev/reload.js")).collect();
        assert_eq!(has_tag, [true, true, false, true]);
        assert!(names.iter().all(|name| texts.iter().any(|text| text.contains(name))));
        assert_eq!(std::fs::read_to_string(www.path().join("a.html")).unwrap(), "<p>a");
        assert_eq!(std::fs::read_dir(copies.path()).unwrap().count(), 3);

        put(&www.path().join("a.html"), "<p>other");
        assert!(look().0.is_disjoint(&[name(&Digest::of(b"<p>a"))].into()));
        assert_eq!(std::fs::read_dir(copies.path()).unwrap().count(), 3, "what is not used any more goes");
    }
}
