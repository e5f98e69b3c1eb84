//! Media types by file name, and whether a type is worth compressing.
//!
//! `mime_guess` knows most names; [`corrected`] comes first, with types that `mime_guess` lacks or has differently from
//! today's browsers and media type registry.

use std::borrow::Cow;

pub use crate::fingerprint::extension;
use crate::well_known;

/// For a file of unknown type; with `nosniff` a browser offers to save the file.
pub const UNKNOWN: &str = "application/octet-stream";

/// The value of `Content-Type` for the file at `path`.
///
/// `is_utf8` is true if the bytes are UTF-8 without a conflicting declaration, as determined by `charset`.
#[must_use]
pub fn content_type(path: &str, is_utf8: bool) -> Cow<'static, str> {
    with_charset(media_type(path, is_utf8), is_utf8)
}

/// Returns true if a file is a page that browsers request as a document, by its media type or else by its name.
#[must_use]
pub fn is_html(path: &str, media_type: Option<&str>) -> bool {
    let media_type = media_type.map_or_else(|| content_type(path, false), Cow::Borrowed);
    media_type.trim_start().to_ascii_lowercase().starts_with("text/html")
}

/// Adds `charset=utf-8` to a text media type without parameters, if the bytes are UTF-8.
#[must_use]
pub fn with_charset<'t>(media_type: impl Into<Cow<'t, str>>, is_utf8: bool) -> Cow<'t, str> {
    let media_type = media_type.into();
    if is_utf8 && has_charset(&media_type) && !media_type.to_ascii_lowercase().contains("charset=") {
        Cow::Owned(format!("{media_type}; charset=utf-8"))
    } else {
        media_type
    }
}

/// Returns true if bytes of the type are worth compressing: text, code, and media without compression of its own.
///
/// Bytes of an unknown type are tried, since a result that is not smaller is discarded.
#[must_use]
pub fn is_compressible(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || essence.ends_with("+yaml")
        || matches!(
            essence.as_str(),
            UNKNOWN
                | "application/ecmascript"
                | "application/javascript"
                | "application/json"
                | "application/json5"
                | "application/jsonl"
                | "application/postscript"
                | "application/rtf"
                | "application/sql"
                | "application/cbor"
                | "application/link-format"
                | "application/toml"
                | "application/vnd.apple.mpegurl"
                | "application/vnd.ms-fontobject"
                | "application/wasm"
                | "application/x-apple-aspen-config"
                | "application/x-javascript"
                | "application/x-ndjson"
                | "application/x-protobuf"
                | "application/x-sh"
                | "application/x-tar"
                | "application/x-tex"
                | "application/xml"
                | "application/xml-dtd"
                | "application/yaml"
                | "audio/wav"
                | "audio/mid"
                | "audio/midi"
                | "font/collection"
                | "font/otf"
                | "font/sfnt"
                | "font/ttf"
                | "image/bmp"
                | "image/vnd.microsoft.icon"
                | "image/x-icon"
                | "model/gltf-binary"
                | "model/mtl"
                | "model/obj"
                | "model/stl"
        )
}

fn media_type(path: &str, is_utf8: bool) -> &'static str {
    if let Some(media_type) = well_known::media_type(path) {
        return media_type;
    }
    let Some(extension) = extension(path) else { return UNKNOWN };
    corrected(&extension, is_utf8).or_else(|| mime_guess::from_ext(&extension).first_raw()).unwrap_or(UNKNOWN)
}

/// Types that `mime_guess` lacks or has wrong.
fn corrected(extension: &str, is_utf8: bool) -> Option<&'static str> {
    Some(match extension {
        // RFC 9239: `text/javascript` is the only type of JavaScript, modules included; browsers accept no other type
        // for modules.
        "cjs" | "js" | "mjs" => "text/javascript",
        // `.ts` and `.mts` are also video streams, which are never UTF-8: each packet begins with binary fields. As
        // TypeScript has no registered type and no browser runs TypeScript, the type is plain text, as at unpkg and
        // GitHub.
        "mts" | "ts" if is_utf8 => "text/plain",
        "mts" | "ts" => "video/mp2t",
        "cts" | "svelte" | "tsx" | "vue" => "text/plain",
        "har" | "map" | "topojson" => "application/json",
        "importmap" => "application/importmap+json",
        "ipynb" => "application/x-ipynb+json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "geojson" => "application/geo+json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "toml" => "application/toml",
        "yaml" | "yml" => "application/yaml",
        "mdx" => "text/markdown",
        // Sources for reading, not for running.
        "astro" | "diff" | "frag" | "ftl" | "glsl" | "go" | "graphql" | "ini" | "java" | "kt" | "lock" | "patch"
        | "php" | "proto" | "py" | "rb" | "rs" | "rst" | "sha256" | "sha512" | "swift" | "vert" | "wat" => "text/plain",
        "wgsl" => "text/wgsl",
        "sql" => "application/sql",
        "vcf" => "text/vcard",
        "woff" => "font/woff",
        "otf" => "font/otf",
        "ttf" => "font/ttf",
        "avif" | "avifs" => "image/avif",
        "cur" | "ico" => "image/x-icon",
        "jxl" => "image/jxl",
        "ktx2" => "image/ktx2",
        "m4a" => "audio/mp4",
        "m3u8" => "application/vnd.apple.mpegurl",
        "glb" | "vrm" => "model/gltf-binary",
        "mtl" => "model/mtl",
        "obj" => "model/obj",
        "stl" => "model/stl",
        "usda" => "model/vnd.usda",
        "usdz" => "model/vnd.usdz+zip",
        // An unpackable file is served as the SVG inside: see `precompressed`.
        "svgz" | "tgz" => "application/gzip",
        "zst" => "application/zstd",
        "rpm" => "application/x-rpm",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pem" => "application/x-pem-file",
        _ => return data_and_packages(extension),
    })
}

/// Types that `mime_guess` lacks or has wrong, of data, of stream segments, and of application packages.
fn data_and_packages(extension: &str) -> Option<&'static str> {
    Some(match extension {
        // RFC 8949 §9.5, RFC 7519 §10.3.1.
        "cbor" => "application/cbor",
        "jwt" => "application/jwt",
        "pb" | "pbf" => "application/x-protobuf",
        "arrow" => "application/vnd.apache.arrow.file",
        "arrows" => "application/vnd.apache.arrow.stream",
        // Segments of DASH and of HLS (RFC 8216 §3.3).
        "m4s" => "video/iso.segment",
        "cmfa" => "audio/mp4",
        "cmfv" => "video/mp4",
        "dfxp" | "imsc1" | "ttml" => "application/ttml+xml",
        // Tiles and layers of maps.
        "gpkg" => "application/geopackage+sqlite3",
        "mvt" => "application/vnd.mapbox-vector-tile",
        "pmtiles" => "application/vnd.pmtiles",
        // Without a registered type: application stores accept the unknown type.
        "aab" => UNKNOWN,
        "appinstaller" => "application/appinstaller",
        "msix" => "application/msix",
        "msixbundle" => "application/msixbundle",
        "mobileconfig" => "application/x-apple-aspen-config",
        "pkpass" => "application/vnd.apple.pkpass",
        "pkpasses" => "application/vnd.apple.pkpasses",
        // Browsers accept a signed exchange only with its version.
        "sxg" => "application/signed-exchange;v=b3",
        "wbn" => "application/webbundle",
        _ => return None,
    })
}

/// Returns true if the registered type has a parameter `charset`: true for text and XML (RFC 7303), false for JSON (RFC
/// 8259 §11).
fn has_charset(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || matches!(essence.as_str(), "application/javascript" | "application/xml")
}

/// The type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_type() {
        #[rustfmt::skip]
        let cases = [
            ("index.html",              "text/html; charset=utf-8"),
            ("a/b.HTM",                 "text/html; charset=utf-8"),
            ("a.css",                   "text/css; charset=utf-8"),
            ("a.js",                    "text/javascript; charset=utf-8"), // RFC 9239
            ("a.mjs",                   "text/javascript; charset=utf-8"),
            ("a.cjs",                   "text/javascript; charset=utf-8"),
            ("a.txt",                   "text/plain; charset=utf-8"),
            ("a.md",                    "text/markdown; charset=utf-8"),   // RFC 7763
            ("a.csv",                   "text/csv; charset=utf-8"),
            ("a.ics",                   "text/calendar; charset=utf-8"),
            ("a.vtt",                   "text/vtt; charset=utf-8"),
            ("a.ts",                    "text/plain; charset=utf-8"),
            ("a.tsx",                   "text/plain; charset=utf-8"),
            ("a.d.mts",                 "text/plain; charset=utf-8"),
            ("a.cts",                   "text/plain; charset=utf-8"),
            ("a.json",                  "application/json"),               // RFC 8259 §11: no charset
            ("a.js.map",                "application/json"),
            ("a.webmanifest",           "application/manifest+json"),
            ("a.jsonld",                "application/ld+json"),
            ("a.geojson",               "application/geo+json"),
            ("a.gltf",                  "model/gltf+json"),
            ("a.glb",                   "model/gltf-binary"),
            ("a.xml",                   "text/xml; charset=utf-8"),        // RFC 7303
            ("a.rss",                   "application/rss+xml; charset=utf-8"),
            ("a.atom",                  "application/atom+xml; charset=utf-8"),
            ("a.svg",                   "image/svg+xml; charset=utf-8"),
            ("a.xhtml",                 "application/xhtml+xml; charset=utf-8"),
            ("a.wasm",                  "application/wasm"),
            ("a.yaml",                  "application/yaml"),               // RFC 9512
            ("a.pdf",                   "application/pdf"),
            ("a.zip",                   "application/zip"),
            ("a.tar.gz",                "application/gzip"),
            ("a.js.gz",                 "application/gzip"),
            ("a.js.zst",                "application/zstd"),               // RFC 8878 §7.1
            ("a.js.br",                 "application/octet-stream"),
            ("a.woff",                  "font/woff"),                      // RFC 8081
            ("a.woff2",                 "font/woff2"),
            ("a.ttf",                   "font/ttf"),
            ("a.otf",                   "font/otf"),
            ("a.eot",                   "application/vnd.ms-fontobject"),
            ("a.png",                   "image/png"),
            ("a.JPG",                   "image/jpeg"),
            ("a.webp",                  "image/webp"),
            ("a.avif",                  "image/avif"),
            ("favicon.ico",             "image/x-icon"),
            ("a.mp4",                   "video/mp4"),
            ("a.webm",                  "video/webm"),
            ("a.mp3",                   "audio/mpeg"),
            ("a.m3u8",                  "application/vnd.apple.mpegurl"),
            ("LICENSE",                 "application/octet-stream"),
            ("a.b/c",                   "application/octet-stream"),
            ("a.",                      "application/octet-stream"),
            (".well-known/security.txt", "text/plain; charset=utf-8"),
            (".well-known/apple-app-site-association", "application/json"),
            (".well-known/host-meta",   "application/xrd+xml; charset=utf-8"),
            (".well-known/host-meta.json", "application/json"),
            (".well-known/webfinger",   "application/jrd+json"),
            (".well-known/acme-challenge/x", "application/octet-stream"),
            ("a.mobileconfig",          "application/x-apple-aspen-config"),
            ("a.pkpass",                "application/vnd.apple.pkpass"),
            ("a.pkpasses",              "application/vnd.apple.pkpasses"),
            ("a.m4s",                   "video/iso.segment"),
            ("a.cmfv",                  "video/mp4"),
            ("a.ttml",                  "application/ttml+xml; charset=utf-8"),
            ("a.cbor",                  "application/cbor"),               // RFC 8949
            ("a.pmtiles",               "application/vnd.pmtiles"),
            ("a.mvt",                   "application/vnd.mapbox-vector-tile"),
            ("a.pbf",                   "application/x-protobuf"),
            ("a.wgsl",                  "text/wgsl; charset=utf-8"),
            ("a.ftl",                   "text/plain; charset=utf-8"),
            ("a.glsl",                  "text/plain; charset=utf-8"),
            ("a.aab",                   "application/octet-stream"),
            ("a.apk",                   "application/vnd.android.package-archive"),
            ("a.msix",                  "application/msix"),
            ("a.sxg",                   "application/signed-exchange;v=b3"),
            ("a.wbn",                   "application/webbundle"),
            ("a.jwt",                   "application/jwt"),
            ("a.avifs",                 "image/avif"),
            ("a.svgz",                  "application/gzip"),
            ("a.nobody-knows",          "application/octet-stream"),
        ];
        for (path, expected) in cases {
            assert_eq!(content_type(path, true), expected, "{path}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_have_no_charset() {
        for (path, expected) in
            [("a.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.ts", "video/mp2t"), ("a.mts", "video/mp2t")]
        {
            assert_eq!(content_type(path, false), expected, "{path}");
        }
    }

    #[test]
    fn a_type_that_somebody_set_keeps_its_parameters() {
        assert_eq!(with_charset("text/x-own", true), "text/x-own; charset=utf-8");
        assert_eq!(with_charset("text/plain; Charset=latin1", true), "text/plain; Charset=latin1");
        assert_eq!(with_charset("text/plain;format=flowed", true), "text/plain;format=flowed; charset=utf-8");
        assert_eq!(with_charset("image/png", true), "image/png");
    }

    #[test]
    fn what_is_compressed_by_itself_is_not_tried() {
        #[rustfmt::skip]
        let yes = ["a.html", "a.css", "a.js", "a.json", "a.js.map", "a.xml", "a.svg", "a.wasm", "a.ttf", "a.otf",
            "a.eot", "a.ico", "a.bmp", "a.webmanifest", "a.gltf", "a.glb", "a.txt", "a.md", "a.yaml", "a.rss", "a.tar",
            "a.ts", "a.data", "LICENSE"];
        #[rustfmt::skip]
        let no = ["a.woff", "a.woff2", "a.png", "a.jpg", "a.gif", "a.webp", "a.avif", "a.zip", "a.gz", "a.zst", "a.mp4",
            "a.webm", "a.mp3", "a.m4a", "a.ogg", "a.pdf", "a.docx", "a.jxl", "a.7z", "a.whl.zip"];
        for path in yes {
            assert!(is_compressible(&content_type(path, true)), "{path}");
        }
        for path in no {
            assert!(!is_compressible(&content_type(path, false)), "{path}");
        }
    }
}
