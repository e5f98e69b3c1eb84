//! Every sample of `config/samples`: the valid ones are taken, the invalid ones refused with the sentences beside them.
//!
//! The documents show the valid ones; an invalid one is named after its fault. Which file a sample is stands at the
//! beginning of its name: `edge-`, `site-` or `overlay-`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use devanture_config::edge_toml::EdgeFile;
use devanture_config::limits::{AppLimits, Limits, TABLE};
use devanture_config::site_toml::{OverlayText, SiteFile};

fn samples(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut samples: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    samples.sort();
    assert!(samples.len() > 4, "the samples are not where they are looked for");
    samples
}

/// The mistakes of a sample, one in a line, under the name that the file has in use.
fn mistakes(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let read = match name.split_once('-').unwrap().0 {
        "edge" => EdgeFile::parse("edge.toml", &text).map(drop),
        "site" => SiteFile::parse("devanture.toml", &text).map(drop),
        "overlay" => {
            let overlay = OverlayText { file: "devanture.staging.toml", place: "staging", text: &text };
            SiteFile::parse_with("devanture.toml", None, &[overlay]).map(drop)
        }
        other => panic!("{name}: {other} is neither edge nor site nor overlay"),
    };
    read.map_or_else(|mistakes| format!("{mistakes}\n"), |()| String::new())
}

#[test]
fn every_valid_sample_is_taken() {
    for path in samples("valid") {
        assert_eq!(mistakes(&path), "", "{}", path.display());
    }
}

#[test]
fn law_8_every_invalid_sample_is_refused_with_the_sentences_beside_it() {
    for path in samples("invalid") {
        let found = mistakes(&path);
        assert_ne!(found, "", "{} is taken", path.display());
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        assert_eq!(found, expected, "{}", path.display());
    }
}

#[test]
fn the_full_sample_of_the_edge_has_every_limit_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/valid/edge-full.toml");
    let text = fs::read_to_string(path).unwrap();
    let limits = EdgeFile::parse("edge.toml", &text).unwrap().limits;
    let shop = limits.for_app(&"shop".parse().unwrap()).into_owned();
    assert_ne!(shop, limits, "[limits.apps.shop]");
    assert_eq!(Limits { apps: AppLimits::default(), ..limits }, Limits::default());
    for limit in TABLE {
        assert!(text.lines().any(|line| line.starts_with(&format!("{} = ", limit.name))), "{} is missing", limit.name);
    }
}
