//! Manifest of an archive: selection of the bundle's folder, and settings of its `devanture.toml`.

use std::collections::BTreeMap;

use devanture_config::manifest::FileEntry;
use devanture_config::manifest::halves::Half;
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::procfile::PROCFILE;
use devanture_config::site_toml::{
    FILE_NAME, FolderGlobs, Image, OverlayText, Rules, ServerTable, SiteFile, overlay_of,
};
use devanture_config::text::counted;
use devanture_config::{AppName, Manifest};

use super::backend::{self, SERVER};
use super::store::Files;
use super::{Tree, of_config};
use crate::ledger::{Error, lost};
use devanture_store::blobs::{Blobs, Key};

/// Longest `devanture.toml`, equal to the limit of the command line.
const SETTINGS_BYTES_MAX: u64 = 1024 * 1024;
/// Most overlays of `devanture.toml`.
const OVERLAYS_MAX: usize = 100;
/// Pushed folder by default, unless set in `devanture.toml`.
const WWW: &str = "www";
/// Files whose meaning depends on their provider.
const RULE_FILES: [&str; 2] = ["_redirects", "_headers"];
/// Files that mark a site made for Cloudflare.
const WRANGLER_FILES: [&str; 3] = ["wrangler.toml", "wrangler.jsonc", "wrangler.json"];

/// Builds the manifest.
///
/// 1. If all files lie in one folder with an `index.html` or a `devanture.toml`, that folder is the root.
/// 2. `devanture.toml` in the root defines the serving of the bundle, together with its overlays, for example
///    `devanture.staging.toml`; these are not files of the bundle. The bundle is the folder named by `www`, or by
///    default a folder `www` in a root without `index.html`, as for the command line; otherwise the root.
/// 3. `_redirects` and `_headers` have the meaning guessed by the command line by default.
/// 4. Files named by `exclude`, and configuration files of other providers, are excluded from the bundle.
///
/// A push of one half ignores the rest of the archive. [`backend`] handles the backend half.
///
/// `reserve` reserves memory for settings of the given length before reading.
pub(crate) async fn manifest(
    store: &dyn Blobs,
    (app, half): (&AppName, Option<Half>),
    content: Files,
    settings_bytes_max: u64,
    reserve: &mut (dyn FnMut(u64) -> Result<(), Error> + Send),
) -> Result<Manifest, Error> {
    let Files { files, mut runs, mut links } = content;
    let mut tree: Tree = files.into_iter().map(|(path, file)| (path.into(), file)).collect();
    let wrapper = wrapper(&tree);
    if let Some(wrapper) = &wrapper {
        tree = below(&tree, wrapper);
        let inside = |path: &str| Some(path.strip_prefix(wrapper.as_str())?.strip_prefix('/')?.to_owned());
        runs = runs.iter().filter_map(|path| inside(path)).collect();
        links = links.into_iter().filter_map(|(path, target)| Some((inside(&path)?, target))).collect();
    }
    let exists = tree.contains_key(FILE_NAME);
    let mut site = site_file(store, &tree, (wrapper.as_deref(), half), settings_bytes_max, reserve).await?;
    if !site.apps.is_empty() {
        let names: Vec<String> = site.apps.keys().map(ToString::to_string).collect();
        let missing = || of_config(FILE_NAME, 0, format!("[apps.*] has {}, and not {app}", names.join(", ")));
        site = site.apps.remove(app).ok_or_else(missing)?;
    }
    if half == Some(Half::Backend) {
        (tree, links) = left((tree, links), &format!("{SERVER}/"), site.backend.clone(), Half::Backend).await?;
        return backend::manifest(site, &tree, (&runs, &links));
    }
    // An image in a registry needs no folder.
    let is_in_registry = |server: &ServerTable| matches!(server.image, Some(Image::Registry(_)));
    if half.is_none() && site.base.server.as_ref().is_some_and(|server| !is_in_registry(server)) {
        let why = "an archive is pushed as one half where there is [server]: with `?only=front`, and with \
                   `?only=backend` for the folder `server/`";
        return Err(of_config(FILE_NAME, 0, why.to_owned()).into());
    }
    if half.is_some() && (site.base.server.is_some() || procfile(&tree).is_some()) {
        without_backend(&mut tree, &site);
    }
    tree.retain(|path, _| overlay_of(FILE_NAME, path).is_none());
    let wrangled = has_any(&tree, &WRANGLER_FILES);
    if let Some(www) = exists.then(|| www(&site, &tree)).flatten() {
        tree = below(&tree, &www);
        tree.retain(|path, _| overlay_of(FILE_NAME, path).is_none());
    }
    let is_cloudflares = wrangled || has_any(&tree, &WRANGLER_FILES);
    // Excluded only now, once the root and its settings are known.
    let (tree, _) = left((tree, links), "", site.pages.clone(), Half::Front).await?;
    let guessed = match has_any(&tree, &RULE_FILES) && site.base.rules.is_none() {
        true if is_cloudflares => Some(Rules::Cloudflare),
        true => Some(Rules::Netlify),
        false => None,
    };
    if tree.is_empty() {
        return Err(Problem::new(Code::EmptyBundle, "The archive holds no file to publish.").into());
    }
    let mut files = BTreeMap::new();
    for (path, mut file) in tree {
        let path: BundlePath = path.parse().map_err(|error| super::gate::bad(format!("{error}.")))?;
        file.media_type = site.types.of(path.as_str()).map(str::to_owned);
        files.insert(path, file);
    }
    let mut manifest = Manifest::of_files(files);
    manifest.base = site.base;
    manifest.env = site.env;
    manifest.guessed_rules = guessed;
    Ok(manifest)
}

/// Returns the single folder that contains all files, if recognizably the root.
fn wrapper(tree: &Tree) -> Option<String> {
    let (folder, _) = tree.first_key_value()?.0.split_once('/')?;
    let inside = |path: &String| is_within(path, folder);
    let holds = |name: &str| tree.contains_key(&format!("{folder}/{name}"));
    (tree.keys().all(inside) && (holds("index.html") || holds(FILE_NAME))).then(|| folder.to_owned())
}

/// Removes the backend, private to visitors: the folder `server/`, and the folders of `dir` and `image` of `[server]`.
/// If the pages lie within such a folder, only the pages are published anyway.
fn without_backend(tree: &mut Tree, site: &SiteFile) {
    let image = site.base.server.as_ref().and_then(|server| server.image.as_ref());
    if let Some(Image::Archive(image)) = image {
        tree.remove(image.as_str());
    }
    let declared = if image.is_none() { plain(site.server_folder()) } else { None };
    let mut folders = vec![SERVER.to_owned()];
    folders.extend(declared);
    let www = www(site, tree);
    let holds = |folder: &str, path: &str| folder.is_empty() || is_within(path, folder);
    folders.retain(|folder| !www.as_ref().is_some_and(|www| www == folder || holds(folder, www)));
    tree.retain(|path, _| !folders.iter().any(|folder| holds(folder, path)));
}

/// Normalizes a folder to the paths of the archive, empty for the root; `None` for a folder outside.
fn plain(folder: &str) -> Option<String> {
    let mut segments = Vec::new();
    for segment in folder.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            segment => segments.push(segment),
        }
    }
    Some(segments.join("/"))
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the folder named by `devanture.toml`, if in the archive.
fn www(site: &SiteFile, tree: &Tree) -> Option<String> {
    let declared = site.www.as_deref();
    let folder = declared.unwrap_or(WWW).trim_start_matches("./").trim_end_matches('/');
    let is_there = tree.keys().any(|path| is_within(path, folder));
    (is_there && (declared.is_some() || !tree.contains_key("index.html"))).then(|| folder.to_owned())
}

fn below(tree: &Tree, folder: &str) -> Tree {
    let inside = |path: &String| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
    tree.iter().filter_map(|(path, file)| Some((inside(path)?, file.clone()))).collect()
}

fn has_any(tree: &Tree, names: &[&str]) -> bool {
    names.iter().any(|name| tree.contains_key(*name))
}

/// Returns the files and links of an archive, without excluded paths below `folder`, the folder of `half`.
async fn left(
    (mut tree, mut links): (Tree, BTreeMap<String, String>),
    folder: &str,
    globs: FolderGlobs,
    half: Half,
) -> Result<(Tree, BTreeMap<String, String>), Error> {
    let folder = folder.to_owned();
    // Runs on a blocking thread: many globs and paths take time.
    let left = tokio::task::spawn_blocking(move || {
        let leave_out = globs.of(half);
        let stays = |path: &str| path.strip_prefix(&folder).is_none_or(|path| !leave_out.covers(path, false));
        tree.retain(|path, _| stays(path));
        links.retain(|path, _| stays(path));
        (tree, links)
    });
    left.await.map_err(|error| lost(&error))
}

/// Reads `devanture.toml` and its overlays in the root, if present.
async fn site_file(
    store: &dyn Blobs,
    tree: &Tree,
    (wrapper, half): (Option<&str>, Option<Half>),
    settings_bytes_max: u64,
    reserve: &mut (dyn FnMut(u64) -> Result<(), Error> + Send),
) -> Result<SiteFile, Error> {
    let shown = |name: &str| wrapper.map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"));
    let base = tree.get(FILE_NAME);
    let overlays = || tree.iter().filter_map(|(name, file)| Some((name, overlay_of(FILE_NAME, name)?, file)));
    if let Some((name, ..)) = overlays().nth(OVERLAYS_MAX) {
        return Err(of_config(&shown(name), 0, format!("{OVERLAYS_MAX} overlays are the most")).into());
    }
    let sizes = base.into_iter().chain(overlays().map(|(_, _, file)| file)).map(|file| file.size);
    let bytes = sizes.fold(0, u64::saturating_add);
    if bytes > settings_bytes_max {
        let detail = format!("The settings in the archive have {bytes} bytes; {settings_bytes_max} are allowed.");
        let hint = "`manifest_settings_bytes_max` in edge.toml is the limit";
        return Err(Problem::new(Code::BadManifest, detail).hint(hint).into());
    }
    reserve(bytes)?;
    let base = match base {
        Some(file) => Some(text(store, &shown(FILE_NAME), file).await?),
        None => None,
    };
    let mut texts = Vec::new();
    for (name, place, file) in overlays() {
        let name = shown(name);
        let text = text(store, &name, file).await?;
        texts.push((name, place.to_owned(), text));
    }
    let procfile = match procfile(tree).filter(|_| half == Some(Half::Backend)) {
        Some((name, file)) => Some((shown(name), text(store, &shown(name), file).await?)),
        None => None,
    };
    let file = shown(FILE_NAME);
    // Runs on a blocking thread: a large file takes time.
    let parsed = tokio::task::spawn_blocking(move || parse(&file, base.as_deref(), &texts, procfile));
    parsed.await.map_err(|error| lost(&error))?
}

/// Returns the `Procfile` of a backend, in its folder or next to the folder.
fn procfile(tree: &Tree) -> Option<(&str, &FileEntry)> {
    let inside = format!("{SERVER}/{PROCFILE}");
    let found = tree.get_key_value(&inside).or_else(|| tree.get_key_value(PROCFILE))?;
    Some((found.0.as_str(), found.1))
}

fn parse(
    file: &str,
    base: Option<&str>,
    overlays: &[(String, String, String)],
    procfile: Option<(String, String)>,
) -> Result<SiteFile, Error> {
    let overlays: Vec<OverlayText<'_>> =
        overlays.iter().map(|(file, place, text)| OverlayText { file, place, text }).collect();
    SiteFile::parse_with_procfile(file, base, &overlays, &mut |_| procfile.clone()).map_err(|mistakes| {
        let count = mistakes.0.len();
        let file = mistakes.0.first().map_or_else(String::new, |mistake| mistake.file.clone());
        let what = if mistakes.0.iter().all(|m| m.file == file) { file } else { "The configuration".to_owned() };
        let detail = format!("{what} in the archive has {}.", counted(count, "mistake"));
        Problem::new(Code::BadConfig, detail).with_mistakes(mistakes.0).into()
    })
}

async fn text(store: &dyn Blobs, name: &str, file: &FileEntry) -> Result<String, Error> {
    if file.size > SETTINGS_BYTES_MAX {
        return Err(of_config(name, 0, format!("it has more than {SETTINGS_BYTES_MAX} bytes")).into());
    }
    let bytes = store.get(Key::Blob(file.hash)).await?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let fine = bytes.iter().take(error.valid_up_to());
        of_config(name, fine.filter(|byte| **byte == b'\n').count() + 1, "this is not UTF-8".to_owned())
    })?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns those of `paths` published by a push of the front, before the selection of the pages' folder.
    fn front_of(settings: &str, paths: &[&str]) -> Vec<String> {
        let site = SiteFile::parse(FILE_NAME, settings).unwrap();
        let file = |path: &&str| {
            let hash = devanture_config::Digest::of(path.as_bytes());
            ((*path).to_owned(), FileEntry { hash, size: 1, media_type: None })
        };
        let mut tree: Tree = paths.iter().map(file).collect();
        without_backend(&mut tree, &site);
        tree.into_keys().collect()
    }

    #[test]
    fn the_front_has_nothing_of_the_folder_of_the_backend_wherever_that_is() {
        let front = |settings: &str, paths: &[&str]| front_of(&format!("app = \"game\"\n{settings}"), paths);
        let command = "command = [\"node\", \"server.js\"]\n";
        let usual = format!("www = \"dist\"\n[server]\n{command}");
        let paths = ["dist/a.html", "dist/server/main.js", "dist/servers/b.html", "server/main.js"];
        assert_eq!(front(&usual, &paths), ["dist/a.html", "dist/servers/b.html"]);
        let out = |dir: &str| format!("[server]\ndir = \"{dir}\"\n{command}");
        for dir in ["api/out", "./api/out/", "api//x/../out"] {
            assert_eq!(
                front(&out(dir), &["a.html", "api/b.html", "api/out/main.js"]),
                ["a.html", "api/b.html"],
                "{dir}"
            );
        }
        assert_eq!(front(&out("."), &["a.html", "main.js"]), Vec::<String>::new());
        // The pages of PHP lie within the program; no other file of the program is published.
        let php = format!("www = \"app/public\"\n{}", out("app"));
        assert_eq!(front(&php, &["app/main.php", "app/public/a.css"]), ["app/main.php", "app/public/a.css"]);
        let php = format!("www = \"server/public\"\n{}", out("server"));
        assert_eq!(front(&php, &["server/public/a.css"]), ["server/public/a.css"]);
        let image = "[server]\nimage = \"oci-archive:dist/api.tar\"\n";
        assert_eq!(front(image, &["dist/a.html", "dist/api.tar"]), ["dist/a.html"]);
    }
}
