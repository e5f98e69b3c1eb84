//! Files uploaded compressed alone, such as `game.wasm.br` without `game.wasm`, the output of builds such as Unity's.
//!
//! The files are served decoded or encoded, under the plain name and under their own. Only names of page resources
//! count: an archive or dump for download, such as `backup.sql.gz`, stays an ordinary file.
//!
//! An SVG in gzip, `logo.svgz`, has no other name: the file is its own plain file, even beside a `logo.svg`.

use devanture_config::path::BundlePath;

/// Endings of compressed files, the preferred one first.
pub const SUFFIXES: [&str; 3] = ["br", "zst", "gz"];

/// Endings of page resources: code, styles, data of games and applications, fonts, models.
const LOADED: [&str; 21] = [
    "bin",
    "bundle",
    "cjs",
    "css",
    "data",
    "glb",
    "gltf",
    "htm",
    "html",
    "js",
    "json",
    "map",
    "mem",
    "mjs",
    "otf",
    "pck",
    "svg",
    "ttf",
    "unity3d",
    "wasm",
    "webmanifest",
];

/// The type of an unpacked SVG in gzip (SVG 1.1, appendix P).
pub const SVG: &str = "image/svg+xml";

/// Returns true if the name is an SVG's in gzip.
#[must_use]
pub fn is_svgz(path: &BundlePath) -> bool {
    let parts = path.as_str().rsplit_once('.');
    parts.is_some_and(|(stem, ending)| !stem.is_empty() && !stem.ends_with('/') && ending.eq_ignore_ascii_case("svgz"))
}

/// The name of the plain file `plain` in the encoding of the given ending.
#[must_use]
pub fn compressed_path(plain: &BundlePath, suffix: &str) -> Option<BundlePath> {
    match is_svgz(plain) {
        true => (suffix == "gz").then(|| plain.clone()),
        false => format!("{plain}.{suffix}").parse().ok(),
    }
}

/// The plain path of a compressed page resource, by its name.
#[must_use]
pub fn plain_path(path: &BundlePath) -> Option<BundlePath> {
    if is_svgz(path) && !path.is_private() {
        return Some(path.clone());
    }
    let (plain, suffix) = path.as_str().rsplit_once('.')?;
    let (stem, ending) = plain.rsplit_once('.')?;
    let is_named = !stem.is_empty() && !stem.ends_with('/') && SUFFIXES.contains(&suffix);
    let is_loaded = LOADED.iter().any(|loaded| ending.eq_ignore_ascii_case(loaded));
    let plain: BundlePath = if is_named && is_loaded { plain.parse().ok()? } else { return None };
    (!plain.is_private()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pages_load_has_a_plain_path() {
        for (path, plain) in [
            ("Build/game.wasm.br", Some("Build/game.wasm")),
            ("Build/game.framework.js.gz", Some("Build/game.framework.js")),
            ("game.data.zst", Some("game.data")),
            ("index.html.br", Some("index.html")),
            ("GAME.WASM.br", Some("GAME.WASM")),
            ("img/logo.svg.gz", Some("img/logo.svg")),
            ("img/logo.svgz", Some("img/logo.svgz")),
            ("LOGO.SVGZ", Some("LOGO.SVGZ")),
            // Downloads, and uncompressed files.
            ("backup.tar.gz", None),
            ("dump.sql.gz", None),
            ("sitemap.xml.gz", None),
            ("game.br", None),
            ("game.wasm", None),
            ("game.wasm.BR", None),
            (".js.br", None),
            ("a/.js.br", None),
            (".git/a.js.br", None),
            (".git/a.svgz", None),
            (".svgz", None),
            ("svgz", None),
            ("logo.svgz.br", None),
        ] {
            assert_eq!(plain_path(&path.parse().unwrap()).as_ref().map(BundlePath::as_str), plain, "{path}");
        }
    }

    #[test]
    fn a_plain_path_leads_back_to_its_compressed_name() {
        for (plain, suffix, name) in [
            ("game.wasm", "br", Some("game.wasm.br")),
            ("logo.svg", "gz", Some("logo.svg.gz")),
            ("logo.svgz", "gz", Some("logo.svgz")),
            ("logo.svgz", "br", None),
        ] {
            let path = compressed_path(&plain.parse().unwrap(), suffix);
            assert_eq!(path.as_ref().map(BundlePath::as_str), name, "{plain} {suffix}");
            if let Some(path) = path {
                assert_eq!(plain_path(&path).as_ref().map(BundlePath::as_str), Some(plain));
            }
        }
    }
}
