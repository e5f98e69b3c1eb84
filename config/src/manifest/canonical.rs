//! Canonical bytes of a manifest, written file by file. The target may be a hasher, so computing a version's id takes
//! no memory by the size of the bundle.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::{Manifest, ServerFolder};
use crate::path::BundlePath;

/// Writer that counts bytes.
#[derive(Default)]
pub(super) struct Length {
    pub(super) bytes: u64,
}

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the canonical form.
///
/// # Errors
/// Errors of `out`.
pub(super) fn write(manifest: &Manifest, out: &mut impl Write) -> io::Result<()> {
    let Manifest { base, env, files, format, guessed_rules, server } = manifest;
    let mut object = Object::begin(out)?;
    if !base.is_empty() {
        sorted(object.member("base")?, base)?;
    }
    if !env.is_empty() {
        sorted(object.member("env")?, env)?;
    }
    entries(object.member("files")?, files)?;
    sorted(object.member("format")?, format)?;
    if let Some(rules) = guessed_rules {
        sorted(object.member("guessed_rules")?, rules)?;
    }
    if let Some(ServerFolder { files, links }) = server {
        let mut folder = Object::begin(object.member("server")?)?;
        entries(folder.member("files")?, files)?;
        if !links.is_empty() {
            entries(folder.member("links")?, links)?;
        }
        folder.end()?;
    }
    object.end()
}

/// Writes a map in the byte order of its keys.
fn entries(out: &mut impl Write, map: &BTreeMap<BundlePath, impl Serialize>) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    for (path, value) in map {
        sorted(object.member(path.as_str())?, value)?;
    }
    object.end()
}

/// Writes a value through [`serde_json::Value`], whose maps are sorted by name, so the order of fields in the types is
/// irrelevant.
fn sorted(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    Ok(serde_json::to_writer(out, &serde_json::to_value(value)?)?)
}

/// JSON object, written member by member.
struct Object<'a, W> {
    out: &'a mut W,
    is_empty: bool,
}

impl<'a, W: Write> Object<'a, W> {
    fn begin(out: &'a mut W) -> io::Result<Self> {
        out.write_all(b"{")?;
        Ok(Self { out, is_empty: true })
    }

    /// Returns the writer for the value of the next member.
    fn member(&mut self, name: &str) -> io::Result<&mut W> {
        if !std::mem::take(&mut self.is_empty) {
            self.out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *self.out, name)?;
        self.out.write_all(b":")?;
        Ok(self.out)
    }

    fn end(self) -> io::Result<()> {
        self.out.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Digest;
    use crate::manifest::{FileEntry, ServerFile};
    use crate::site_toml::{Rules, SiteFile};

    const SETTINGS: &str = "app = \"shop\"\nwww = \"dist\"\nnot_found = \"none\"\nhtml_handling = \"none\"\n\
        [[redirects]]\nfrom = \"/old\"\nto = \"/new\"\nstatus = 308\n[env.staging]\nnot_found = \"404-page\"\n\
        [env.preview]\nrules = \"cloudflare\"\n";

    fn manifest(pages: &[(String, Option<String>)], server: &[(String, Option<String>)], guessed: bool) -> Manifest {
        let hash = |text: &str| Digest::of(text.as_bytes());
        let entry = |path: &str, media_type: Option<&String>| FileEntry {
            hash: hash(path),
            size: path.len() as u64,
            media_type: media_type.cloned(),
        };
        let path = |name: &str| name.parse().ok();
        let files = pages.iter().filter_map(|(name, kind)| Some((path(name)?, entry(name, kind.as_ref()))));
        let mut manifest = Manifest::of_files(files.collect());
        let settings = SiteFile::parse("devanture.toml", SETTINGS).unwrap();
        if guessed {
            (manifest.base, manifest.env) = (settings.base, settings.env);
            manifest.guessed_rules = Some(Rules::Netlify);
        }
        let mut folder = ServerFolder::default();
        for (name, target) in server {
            let Some(path) = path(name) else { continue };
            match target {
                Some(target) => drop(folder.links.insert(path, target.clone())),
                None => drop(folder.files.insert(path, ServerFile { hash: hash(name), run: name.len() > 3, size: 1 })),
            }
        }
        manifest.server = (!server.is_empty()).then_some(folder);
        manifest
    }

    proptest! {
        #[test]
        fn what_is_written_entry_by_entry_is_the_sorted_whole(
            pages in prop::collection::vec(("[a-z\"é\\\\ -]{1,8}", prop::option::of("[a-z/\"]{1,9}")), 0..6),
            server in prop::collection::vec(("[a-z/\"]{1,6}", prop::option::of("\\PC{1,9}")), 0..6),
            guessed: bool,
        ) {
            let manifest = manifest(&pages, &server, guessed);
            let mut written = Vec::new();
            write(&manifest, &mut written).unwrap();
            let whole = serde_json::to_vec(&serde_json::to_value(&manifest).unwrap()).unwrap();
            prop_assert_eq!(manifest.text_bytes(), written.len() as u64);
            prop_assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(whole).unwrap());
        }
    }
}
