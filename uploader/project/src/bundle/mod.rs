//! The manifest of a scan and of `devanture.toml`.

pub mod hash;
pub mod rules;
pub mod scan;

use std::collections::BTreeMap;
use std::path::Path;

use devanture_config::manifest::halves::Half;
use devanture_config::manifest::{FileEntry, ServerFile, ServerFolder};
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::site_toml::{FILE_NAME, FromProcfile, Rules, SiteFile};
use devanture_config::{Digest, Manifest};
use devanture_site::rules::{HEADERS_FILE, REDIRECTS_FILE};

use self::scan::{FoundFile, Scan};
use crate::Project;
use crate::ProjectError;
use crate::beneath::FilePath;

/// Files with a meaning that depends on the provider.
const RULE_FILES: [&str; 2] = [REDIRECTS_FILE, HEADERS_FILE];
/// Files beside a site made for Cloudflare.
pub const WRANGLER_FILES: [&str; 3] = ["wrangler.toml", "wrangler.jsonc", "wrangler.json"];

/// A bundle, ready for a push.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The manifest to store.
    pub manifest: Manifest,
    /// A file for each blob.
    pub blobs: BTreeMap<Digest, Blob>,
}

/// The source of the bytes of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The file.
    pub path: FilePath,
    /// The length.
    pub bytes: u64,
    /// Number of files of the bundle with these bytes.
    pub files: u64,
}

impl Bundle {
    /// Returns the number of uploaded files, in both folders.
    pub fn files(&self) -> u64 {
        self.blobs.values().map(|blob| blob.files).sum()
    }

    /// Makes the manifest.
    ///
    /// # Errors
    /// `bad_bundle` if the files conflict with each other.
    pub fn of(scan: &Scan, site: &SiteFile, guessed_rules: Option<Rules>) -> Result<Self, ProjectError> {
        let bundle = Self::unchecked(scan, site, guessed_rules);
        bundle.manifest.check().map_err(|error| ProjectError::new(Code::BadBundle, format!("{error}.")))?;
        Ok(bundle)
    }

    /// Like [`Bundle::of`], for one half: only the edge can check that the halves fit.
    ///
    /// # Errors
    /// `usage` if `devanture.toml` names no backend to push.
    pub fn of_half(
        scan: &Scan,
        site: &SiteFile,
        guessed_rules: Option<Rules>,
        half: Half,
    ) -> Result<Self, ProjectError> {
        let mut bundle = Self::unchecked(scan, site, guessed_rules);
        bundle.manifest = half.of(&bundle.manifest);
        if half == Half::Backend && bundle.manifest.server.is_none() {
            let message = format!("--only backend pushes a backend, and {FILE_NAME} has no [server].");
            return Err(ProjectError::new(Code::Usage, message).hint("say how it is started: `command` below [server]"));
        }
        Ok(bundle)
    }

    /// Like [`Bundle::of`], without a check of the whole.
    pub fn unchecked(scan: &Scan, site: &SiteFile, guessed_rules: Option<Rules>) -> Self {
        let mut files = BTreeMap::new();
        let mut blobs: BTreeMap<Digest, Blob> = BTreeMap::new();
        let mut add = |file: &FoundFile| {
            let (hash, size) = (file.hashed.digest, file.hashed.bytes);
            let blob = blobs.entry(hash).or_insert_with(|| Blob { path: file.path.clone(), bytes: size, files: 0 });
            blob.files += 1;
            (hash, size)
        };
        for (path, file) in &scan.files {
            let (hash, size) = add(file);
            let media_type = site.types.of(path.as_str()).map(str::to_owned);
            files.insert(path.clone(), FileEntry { hash, size, media_type });
        }
        let server = scan.server.as_ref().map(|server| {
            let file = |(path, (file, run)): (&BundlePath, &(FoundFile, bool))| {
                let (hash, size) = add(file);
                (path.clone(), ServerFile { hash, run: *run, size })
            };
            ServerFolder { files: server.files.iter().map(file).collect(), links: server.links.clone() }
        });
        let mut manifest = Manifest::of_files(files);
        manifest.server = server;
        manifest.base = site.base.clone();
        manifest.env.clone_from(&site.env);
        manifest.guessed_rules = guessed_rules;
        Self { manifest, blobs }
    }
}

/// Guesses the provider of the bundle's rule files, if there are some and `devanture.toml` does not name the provider.
///
/// Netlify, unless a file of Cloudflare's tool is in the pushed folder, beside `devanture.toml`, or beside the pushed
/// folder within the project.
pub fn guess_rules(scan: &Scan, project: &Project, www: &Path) -> Option<Rules> {
    let has_rules = scan.files.keys().any(|path| RULE_FILES.contains(&path.as_str()));
    if !has_rules || project.site.base.rules.is_some() {
        return None;
    }
    // The folder of a part of a larger project, such as `packages/site` for `packages/site/dist`.
    let is_inside = |folder: &&Path| match project.folder == Path::new(".") {
        true => folder.is_relative() && !folder.starts_with(".."),
        false => folder.starts_with(&project.folder),
    };
    let beside = www.parent().filter(is_inside);
    let mut folders = [Some(www), Some(project.folder.as_path()), beside].into_iter().flatten();
    let is_cloudflare = folders.any(|folder| WRANGLER_FILES.iter().any(|name| folder.join(name).is_file()));
    Some(if is_cloudflare { Rules::Cloudflare } else { Rules::Netlify })
}

/// Returns the note about a `Procfile` in use.
pub fn procfile_note(from: &FromProcfile) -> String {
    let file = &from.file;
    match &from.route {
        Some(route) => {
            format!("{file} says how the backend is started; as nobody says a route to it, {route} leads there")
        }
        None => format!("{file} says how the backend is started"),
    }
}

/// The note about a guess.
pub fn guess_note(rules: Rules) -> String {
    let (name, word) = match rules {
        Rules::Cloudflare => ("Cloudflare's", "cloudflare"),
        Rules::Netlify => ("Netlify's", "netlify"),
    };
    format!(
        "_redirects and _headers are taken to have {name} meaning; rules = \"{word}\" in devanture.toml says so for good"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::io::Write::write_all(
                &mut fs::OpenOptions::new().create_new(true).write(true).open(path).unwrap(),
                text.as_bytes(),
            )
            .unwrap();
        }
        folder
    }

    fn guess(files: &[(&str, &str)], site: &str) -> Option<Rules> {
        let folder = folder(files);
        let site = SiteFile::parse("devanture.toml", site).unwrap();
        let project = Project { folder: folder.path().to_owned(), site, ..Project::default() };
        let www = folder.path().join("dist");
        guess_rules(&scan::scan(&www, false).unwrap(), &project, &www)
    }

    #[test]
    fn rules_are_guessed_only_where_they_matter_and_nobody_says() {
        let index = ("dist/index.html", "");
        let rules = ("dist/_redirects", "");
        assert_eq!(guess(&[index], ""), None);
        assert_eq!(guess(&[index, rules], ""), Some(Rules::Netlify));
        assert_eq!(guess(&[("dist/_headers", "")], ""), Some(Rules::Netlify));
        assert_eq!(guess(&[rules, ("wrangler.jsonc", "")], ""), Some(Rules::Cloudflare));
        assert_eq!(guess(&[rules, ("dist/wrangler.toml", "")], ""), Some(Rules::Cloudflare));
        assert_eq!(guess(&[rules, ("wrangler.json", "")], "rules = \"netlify\""), None);
        assert_eq!(guess(&[("dist/a/_redirects", "")], ""), None);
    }

    #[cfg(unix)]
    #[test]
    fn equal_bytes_of_pages_and_backend_are_sent_once() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = folder(&[("www/a", "same"), ("server/b", "same"), ("server/run", "other")]);
        fs::set_permissions(folder.path().join("server/run"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("server/link")).unwrap();
        let site = SiteFile::parse("devanture.toml", "[server]\ndir = \"server\"\ncommand = [\"./run\"]\n").unwrap();
        let project = Project { folder: folder.path().to_owned(), site, ..Project::default() };
        let scan = project.folders(None).unwrap().scan(false).unwrap();
        let bundle = Bundle::of(&scan, &project.site, None).unwrap();
        assert_eq!((bundle.blobs.len(), bundle.files(), bundle.blobs[&Digest::of(b"same")].files), (2, 3, 2));
        assert_eq!((bundle.manifest.files_count() as u64, bundle.manifest.total_bytes()), (scan.count(), 13));
        let server = bundle.manifest.server.clone().unwrap();
        let runs: Vec<_> = server.files.iter().map(|(path, file)| (path.as_str(), file.run)).collect();
        assert_eq!((runs, server.links.len()), (vec![("b", false), ("run", true)], 1));
        // A changed run bit makes a new version.
        fs::set_permissions(folder.path().join("server/run"), fs::Permissions::from_mode(0o644)).unwrap();
        let other = Bundle::of(&project.folders(None).unwrap().scan(false).unwrap(), &project.site, None).unwrap();
        assert_ne!(other.manifest.id(), bundle.manifest.id());
        // The backend alone.
        fs::remove_dir_all(folder.path().join("www")).unwrap();
        let alone = Bundle::of(&project.folders(None).unwrap().scan(false).unwrap(), &project.site, None).unwrap();
        assert!(alone.manifest.files.is_empty() && alone.files() == 2);
    }

    #[test]
    fn equal_bytes_are_one_blob_and_settings_belong_to_the_version() {
        let folder = folder(&[("a", "same"), ("b", "same"), ("c", "other")]);
        let scan = scan::scan(folder.path(), false).unwrap();
        let plain = Bundle::of(&scan, &SiteFile::default(), None).unwrap();
        assert_eq!(plain.blobs.len(), 2);
        assert_eq!(plain.blobs[&Digest::of(b"same")].files, 2);
        let site = SiteFile::parse(
            "devanture.toml",
            "app = \"x\"\nnot_found = \"none\"\n[env.staging]\nnot_found = \"404-page\"\n",
        );
        let with_settings = Bundle::of(&scan, &site.unwrap(), None).unwrap();
        assert_ne!(plain.manifest.id(), with_settings.manifest.id());
        assert_eq!(with_settings.manifest.env.len(), 1);
        // A configured type is stored with the file.
        let typed = SiteFile::parse("devanture.toml", "[types]\n\"/a\" = \"text/x-own\"\n").unwrap();
        let typed = Bundle::of(&scan, &typed, None).unwrap().manifest;
        let types: Vec<_> = typed.files.values().map(|file| file.media_type.as_deref()).collect();
        assert_eq!(types, [Some("text/x-own"), None, None]);
        // The app and the path of its folder are not part of the version.
        let renamed = SiteFile::parse("devanture.toml", "app = \"y\"\nwww = \"z\"\n").unwrap();
        assert_eq!(Bundle::of(&scan, &renamed, None).unwrap().manifest.id(), plain.manifest.id());
    }
}
