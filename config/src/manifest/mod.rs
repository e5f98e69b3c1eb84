//! Manifest: the canonical form of a bundle, whose BLAKE3 is the version's id.
//!
//! The canonical form is JSON without spaces, with the members of every object in the byte order of their names,
//! without absent members, and with integers as the only numbers. The form is fixed: a change of the written output
//! changes every id, and requires a new [`FORMAT`].

mod canonical;
mod container;
mod error;
mod files;
pub mod halves;
mod incoming;
mod interpreter;
pub mod leave_out;
pub mod parts;
mod server_folder;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, VersionId};
use crate::names::PlaceName;
use crate::path::BundlePath;
use crate::rules::{HEADERS_FILE, REDIRECTS_FILE};
use crate::site_toml::{BundleScripts, EntryMistake, HtmlHandling, Rules, Server, Serving, UpstreamName};

pub use error::{BadManifest, TwoSizes};
pub use incoming::{FILES_MEMORY_FACTOR, IncomingManifest, SETTINGS_MEMORY_FACTOR};
pub use interpreter::{BadInterpreterName, InterpreterName};
pub use server_folder::{BadServerFolder, LINK_BYTES_MAX, ServerFile, ServerFolder, stays_within};

/// Format number written by this code.
pub const FORMAT: u32 = 1;

/// File of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// BLAKE3 of the bytes.
    pub hash: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Media type, only if set explicitly; other types are derived when the version is loaded.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// Content of a bundle and its serving, before any environment's settings are merged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    // The members are in the order of their names, as the derived writer keeps the order.
    /// Settings of `devanture.toml` about serving in every environment.
    #[serde(default, skip_serializing_if = "Serving::is_empty")]
    pub base: Serving,
    /// The `[env.*]` tables, unmerged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<PlaceName, Serving>,
    /// Files by path, including rule files.
    pub files: BTreeMap<BundlePath, FileEntry>,
    /// [`FORMAT`].
    pub format: u32,
    /// Provider whose meaning of `_redirects` and `_headers` was guessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guessed_rules: Option<Rules>,
    /// Folder of the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerFolder>,
}

/// Backend as run in a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// BLAKE3 of the folder and of the definition without routes: equal for versions with the same backend.
    pub digest: Digest,
    /// Definition.
    pub server: Server,
    /// Scripts of the folder, if run by PHP. Derived from the manifest, and never sent.
    #[serde(skip)]
    pub scripts: Option<Arc<BundleScripts>>,
}

impl Manifest {
    /// Makes a manifest of files alone.
    #[must_use]
    pub fn of_files(files: BTreeMap<BundlePath, FileEntry>) -> Self {
        Self {
            base: Serving::default(),
            env: BTreeMap::new(),
            files,
            format: FORMAT,
            guessed_rules: None,
            server: None,
        }
    }

    /// Returns the canonical bytes.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Neither a `Vec` nor the types of a manifest fail.
        canonical::write(self, &mut bytes).ok();
        bytes
    }

    /// Returns the length of the canonical form.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        let mut length = canonical::Length::default();
        // As in `canonical`.
        canonical::write(self, &mut length).ok();
        length.bytes
    }

    /// Returns the version's id.
    #[must_use]
    pub fn id(&self) -> VersionId {
        let mut hasher = blake3::Hasher::new();
        // As in `canonical`.
        canonical::write(self, &mut hasher).ok();
        hasher.finalize().into()
    }

    /// Parses and checks a manifest, from any spelling of its JSON.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(json: &[u8]) -> Result<Self, BadManifest> {
        let manifest = Self::read(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Parses a stored manifest for serving. Only manifests that cannot be served are rejected: checks added after the
    /// upload must not take down a live version ([`Manifest::check`] reports these).
    ///
    /// # Errors
    /// The first mistake.
    pub fn stored(json: &[u8]) -> Result<Self, BadManifest> {
        let manifest = Self::read(json)?;
        manifest.check_files()?;
        Ok(manifest)
    }

    /// Parses a stored manifest without [`Manifest::check`], for callers in need of its references only: checks added
    /// after the upload must not hide blobs from these callers.
    ///
    /// # Errors
    /// [`BadManifest::Json`].
    pub fn read(json: &[u8]) -> Result<Self, BadManifest> {
        serde_json::from_slice(json).map_err(|e| BadManifest::Json(e.to_string()))
    }

    /// Checks the rules beyond the types.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), BadManifest> {
        if self.format == FORMAT && self.files.is_empty() && !self.has_backend() {
            return Err(BadManifest::Empty);
        }
        self.check_files()?;
        self.check_servers()?;
        self.check_tables()
    }

    /// Checks the basis of every response: the format, and that each file has one length and one type.
    fn check_files(&self) -> Result<(), BadManifest> {
        if self.format != FORMAT {
            return Err(BadManifest::Format(self.format));
        }
        if let Some(folder) = &self.server {
            folder.check()?;
        }
        for (path, file) in &self.files {
            // The first path below a folder of this name comes next in the order of the paths.
            let below = format!("{path}/");
            let next = self.files.range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded)).next();
            if next.is_some_and(|(other, _)| other.as_str().starts_with(&below)) {
                return Err(BadManifest::FileAndFolder(path.clone()));
            }
            if file.media_type.as_deref().is_some_and(|media_type| !is_media_type(media_type)) {
                return Err(BadManifest::MediaType(path.clone()));
            }
        }
        self.check_sizes()
    }

    /// Checks the start of backends, in every environment.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check_servers(&self) -> Result<(), BadManifest> {
        for table in self.tables().filter_map(|table| table.server.as_ref()) {
            if let Some(EntryMistake { key, message }) = table.mistakes().into_iter().next() {
                return Err(BadManifest::ServerTable { key, message });
            }
        }
        if self.env.values().filter_map(|table| table.server.as_ref()).any(|table| table.owns.is_some()) {
            let message = "stands below [server] alone: it is the same in every environment".to_owned();
            return Err(BadManifest::ServerTable { key: "owns", message });
        }
        let places = self.env.keys().map(PlaceName::as_str).chain([""]);
        for place in places {
            let serving = self.serving_for(place);
            self.check_image(&serving)?;
            if serving.server.is_some() != self.has_backend() {
                let message = match self.has_backend() {
                    true => "is missing, and the bundle holds a backend".to_owned(),
                    false => "is said, and the bundle holds no backend".to_owned(),
                };
                return Err(BadManifest::ServerTable { key: "server", message });
            }
            if let Some(EntryMistake { key, message }) = serving.mistaken_server() {
                return Err(BadManifest::ServerTable { key, message });
            }
            self.check_persist(&serving)?;
        }
        Ok(())
    }

    /// Checks smoke checks, pools and routes: at run time, only the faulty entry fails.
    fn check_tables(&self) -> Result<(), BadManifest> {
        for check in self.tables().filter_map(|table| table.smoke.as_ref()).flatten() {
            if let Some(EntryMistake { key, message }) = check.mistakes().into_iter().next() {
                let path = check.path.chars().take(80).flat_map(char::escape_debug).collect();
                return Err(BadManifest::Smoke { path, key, message });
            }
        }
        self.tables().try_for_each(check_backends)?;
        for place in self.env.keys().map(PlaceName::as_str).chain([""]) {
            let serving = self.serving_for(place);
            if let Some((_, route)) = serving.routes_to_nothing().next() {
                let message = format!("leads to `{}`, which is not below [upstreams]", route.to);
                return Err(BadManifest::Backend { what: format!("the route {}", route.path), key: "to", message });
            }
        }
        Ok(())
    }

    /// Checks that the backend's persistent folder does not overlap the bundle.
    fn check_persist(&self, serving: &Serving) -> Result<(), BadManifest> {
        // A container's persistent folder is in its own file system.
        let server = serving.server.as_ref().filter(|server| server.image.is_none());
        let persist = server.and_then(|server| server.persist.as_ref());
        let taken = self.server.as_ref().zip(persist).and_then(|(folder, persist)| folder.in_the_way_of(persist));
        match taken {
            Some(taken) => {
                let message = format!("is in the way of `{taken}` of the bundle: name a folder that is not in it");
                Err(BadManifest::ServerTable { key: "persist", message })
            }
            None => Ok(()),
        }
    }

    /// Checks that equal bytes have one length, since the edge announces the manifest's length and sends the bytes.
    fn check_sizes(&self) -> Result<(), BadManifest> {
        let pages = self.files.iter().map(|(path, file)| (path, file.hash, file.size));
        let server = self.server.iter().flat_map(|folder| &folder.files);
        let server = server.map(|(path, file)| (path, file.hash, file.size));
        let mut seen: HashMap<Digest, (&BundlePath, u64)> = HashMap::with_capacity(self.files.len());
        for (path, hash, size) in pages.chain(server) {
            let (first, known) = *seen.entry(hash).or_insert((path, size));
            if known != size {
                let sizes = TwoSizes { hash, one: (first.clone(), known), other: (path.clone(), size) };
                return Err(BadManifest::Sizes(Box::new(sizes)));
            }
        }
        Ok(())
    }

    /// Returns two paths that differ in case alone: on many systems these are the same file, and only one survives
    /// unpacking.
    #[must_use]
    pub fn case_collision(&self) -> Option<(&BundlePath, &BundlePath)> {
        let mut seen: HashMap<String, &BundlePath> = HashMap::with_capacity(self.files.len());
        self.files.keys().find_map(|path| {
            let other = seen.insert(path.as_str().to_lowercase(), path)?;
            Some((other, path))
        })
    }

    /// Iterates over the tables about serving: the base, and the tables of environments.
    pub fn tables(&self) -> impl Iterator<Item = &Serving> {
        std::iter::once(&self.base).chain(self.env.values())
    }

    /// Iterates over all blobs with their lengths: first of pages, then of the backend.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> {
        let pages = self.files.values().map(|file| (file.hash, file.size));
        pages.chain(self.server.iter().flat_map(ServerFolder::blobs))
    }

    /// Returns the number of files of both folders.
    #[must_use]
    pub fn files_count(&self) -> usize {
        self.files.len() + self.server.as_ref().map_or(0, |server| server.files.len() + server.links.len())
    }

    /// Returns the bytes of all files together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.blobs().fold(0, |sum, (_, size)| sum.saturating_add(size))
    }

    /// Returns the backend for `serving`, the result of [`Manifest::serving_for`], if any.
    #[must_use]
    pub fn managed_in(&self, serving: &Serving) -> Option<Managed> {
        let (folder, table) = (self.server.as_ref(), serving.server.as_ref()?);
        if folder.is_none() && table.image.is_none() {
            return None;
        }
        let mut declared = table.clone();
        (declared.routes, declared.owns) = (None, None);
        // Versions that differ in schedules alone run the same instances.
        declared.schedule = None;
        let value = serde_json::json!({ "folder": folder, "said": declared });
        let server = table.resolved();
        let scripts = server.php.as_ref().zip(folder);
        let scripts = scripts.map(|(php, folder)| BundleScripts::below(&php.root, &folder.files, &folder.links));
        Some(Managed { digest: Digest::of(value.to_string().as_bytes()), server, scripts: scripts.map(Arc::new) })
    }

    /// Returns the settings for `table`: the base, overlaid by the environment's table, with the routes of the bundle's
    /// own backend.
    ///
    /// `table` is the environment's name, or `preview`; a missing table changes nothing.
    #[must_use]
    pub fn serving_for(&self, table: &str) -> Serving {
        match self.env.iter().find(|(name, _)| name.as_str() == table).map(|(_, over)| over) {
            Some(over) => self.base.clone().overlaid_by(over).with_server_routes(),
            None => self.base.clone().with_server_routes(),
        }
    }

    /// Returns the provider whose meaning rule files have under `serving`: the set provider, or the guess.
    #[must_use]
    pub fn rules_in(&self, serving: &Serving) -> Rules {
        serving.rules.or(self.guessed_rules).unwrap_or(Rules::Netlify)
    }

    /// Returns the mapping of paths to pages under `serving`: the set mapping, or the default of the rules' provider,
    /// since links are brought along with rules.
    #[must_use]
    pub fn html_handling_in(&self, serving: &Serving) -> HtmlHandling {
        let has_rules = || [REDIRECTS_FILE, HEADERS_FILE].iter().any(|name| self.files.contains_key(*name));
        let rules = serving.rules.or(self.guessed_rules).or_else(|| has_rules().then_some(Rules::Netlify));
        serving.html_handling.unwrap_or(match rules {
            Some(Rules::Netlify) => HtmlHandling::AsIs,
            Some(Rules::Cloudflare) | None => HtmlHandling::AutoTrailingSlash,
        })
    }
}

/// Checks the routes and pools of one table, up to the first mistake.
fn check_backends(table: &Serving) -> Result<(), BadManifest> {
    for (name, declared) in table.upstreams.iter().flatten() {
        let what = || format!("the upstream `{}`", name.chars().take(80).collect::<String>());
        if let Err(error) = name.parse::<UpstreamName>() {
            return Err(BadManifest::Backend { what: what(), key: "upstreams", message: error.to_string() });
        }
        if let Some(EntryMistake { key, message }) = declared.mistakes().into_iter().next() {
            return Err(BadManifest::Backend { what: what(), key, message });
        }
    }
    for route in table.routes.iter().flatten() {
        if let Some(EntryMistake { key, message }) = route.mistakes().into_iter().next() {
            return Err(BadManifest::Backend { what: format!("the route {}", route.path), key, message });
        }
    }
    Ok(())
}

/// Returns true if a text is a valid media type in a header: type and subtype, both tokens (RFC 9110 §8.3.1), with
/// optional parameters.
#[must_use]
pub fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let (essence, parameters) = match text.split_once(';') {
        Some((essence, parameters)) => (essence.trim_end(), parameters),
        None => (text, ""),
    };
    let is_essence = essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    is_essence && parameters.bytes().all(|b| (b' '..=b'~').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn file(bytes: &[u8]) -> FileEntry {
        FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None }
    }

    fn manifest(paths: &[&str]) -> Manifest {
        Manifest::of_files(paths.iter().map(|p| (p.parse().unwrap(), file(p.as_bytes()))).collect())
    }

    #[test]
    fn the_canonical_form_is_fixed() {
        let one = manifest(&["index.html"]);
        let expected =
            format!(r#"{{"files":{{"index.html":{{"hash":"{}","size":10}}}},"format":1}}"#, Digest::of(b"index.html"));
        assert_eq!(String::from_utf8(one.canonical()).unwrap(), expected);
    }

    #[test]
    fn spelling_does_not_change_the_id() {
        let one = manifest(&["b.js", "a.css"]);
        let loose = serde_json::to_string_pretty(&one).unwrap();
        assert_eq!(Manifest::parse(loose.as_bytes()).unwrap().id(), one.id());
    }

    #[test]
    fn a_file_cannot_be_a_folder_too() {
        let deep = manifest(&["a/b", "a/b-", "a/b.c", "a/b/c/d"]);
        assert_eq!(deep.check(), Err(BadManifest::FileAndFolder("a/b".parse().unwrap())));
        assert_eq!(manifest(&["a", "a/b"]).check(), Err(BadManifest::FileAndFolder("a".parse().unwrap())));
        assert_eq!(manifest(&[]).check(), Err(BadManifest::Empty));
        assert!(manifest(&["a", "ab/c", "a.b", "a-/b", "b/a"]).check().is_ok());
    }

    #[test]
    fn equal_bytes_have_one_size() {
        let mut two = manifest(&["a.txt", "b.txt"]);
        let hash = two.files["b.txt"].hash;
        two.files.get_mut("a.txt").unwrap().hash = hash;
        assert_eq!(two.check(), Ok(()));
        two.files.get_mut("a.txt").unwrap().size = 6_600;
        let refused = two.check().unwrap_err().to_string();
        assert_eq!(refused, format!("`a.txt` has 6600 bytes and `b.txt` has 5, but both have the hash {hash}"));
        assert!(Manifest::parse(&two.canonical()).is_err());
        assert_eq!(Manifest::read(&two.canonical()).unwrap(), two, "what is stored can still be looked through");
        assert!(Manifest::stored(&two.canonical()).is_err(), "no answer has two lengths");
    }

    /// Each manifest was accepted by an earlier release.
    #[test]
    fn what_todays_checks_refuse_of_a_table_is_read_where_it_is_stored_and_named() {
        let ca = "-----BEGIN CERTIFICATE-----\nMAUC\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (table, named) in [
            (json!({ "upstreams": { "api": { "to": ["https://a"], "ca": format!("{ca}{key}") } } }), "`ca`"),
            (json!({ "upstreams": { "api": { "to": ["https://a"], "ca": format!("x {ca}") } } }), "`ca`"),
            (json!({ "upstreams": { "api": { "to": ["http://a,b"] } } }), "http://a,b"),
            (json!({ "upstreams": { "api": "http://a..b" } }), "http://a..b"),
            (json!({ "routes": [{ "path": "/api/*", "to": "fastcgi://256.1.1.1:9000" }] }), "fastcgi://256.1.1.1:9000"),
            (json!({ "routes": [{ "path": "/api/*", "to": "http://$api" }] }), "http://$api"),
            (json!({ "routes": [{ "path": "/api/*", "to": "api" }] }), "not below [upstreams]"),
            (json!({ "smoke": [{ "path": "none" }] }), "smoke check"),
        ] {
            for place in ["base", "prod"] {
                let mut stored = serde_json::to_value(manifest(&["index.html"])).unwrap();
                match place {
                    "base" => stored["base"] = table.clone(),
                    name => stored["env"] = json!({ name: table.clone() }),
                }
                let stored = stored.to_string();
                let read = Manifest::stored(stored.as_bytes()).unwrap();
                let refused = Manifest::parse(stored.as_bytes()).unwrap_err().to_string();
                assert!(refused.contains(named), "{refused}");
                assert_eq!(read.check().unwrap_err().to_string(), refused);
            }
        }
    }

    #[test]
    fn a_file_of_the_backend_has_the_size_that_the_same_file_of_the_site_has() {
        let mut both = manifest(&["a.txt"]);
        let server = ServerFile { hash: both.files["a.txt"].hash, run: false, size: 6 };
        both.server = Some(ServerFolder { files: [("main.js".parse().unwrap(), server)].into(), ..Default::default() });
        let Err(BadManifest::Sizes(sizes)) = both.check() else { panic!("{:?}", both.check()) };
        assert_eq!((sizes.one.1, sizes.other), (5, ("main.js".parse().unwrap(), 6)));
    }

    #[test]
    fn unknown_members_and_bad_paths_are_refused() {
        for json in [
            r#"{"files":{},"format":1,"x":1}"#,
            r#"{"files":{"../a":{"hash":"","size":0}},"format":1}"#,
            "[]",
            "",
            "\u{0}",
        ] {
            assert!(Manifest::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(names in proptest::collection::btree_set("[a-z]{1,8}", 1..20)) {
            let paths: Vec<&str> = names.iter().map(String::as_str).collect();
            let one = manifest(&paths);
            prop_assert_eq!(&Manifest::parse(&one.canonical()).unwrap(), &one);
        }
    }
}
