//! Cases of <https://developers.cloudflare.com/workers/static-assets/> and of Pages' own.

use super::super::testing::{NOTHING, notes, written};
use super::*;
use crate::moved::NoteKind;

fn moved(file: &str, text: &str) -> Moved {
    read(Some((file, text)), &NOTHING).unwrap()
}

#[test]
fn assets_of_a_worker_are_the_same_here() {
    for handling in ["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"] {
        for not_found in ["none", "404-page", "single-page-application"] {
            let text = format!(
                "name = \"shop\"\n[assets]\ndirectory = \"./dist/\"\nhtml_handling = \"{handling}\"\nnot_found_handling = \"{not_found}\"\n"
            );
            let moved = moved("wrangler.toml", &text);
            let text = written(&moved);
            for line in [
                "www = \"dist\"".to_owned(),
                "rules = \"cloudflare\"".to_owned(),
                format!("html_handling = \"{handling}\""),
                format!("not_found = \"{not_found}\""),
            ] {
                assert!(text.lines().any(|l| l == line), "{line}\n{text}");
            }
            assert_eq!(moved.app.as_deref(), Some("shop"));
            let differs = notes(&moved, NoteKind::Differs).len();
            assert_eq!(differs, usize::from(not_found == "single-page-application"));
        }
    }
}

#[test]
fn a_worker_without_a_word_answers_a_missing_path_plainly() {
    let moved = moved("wrangler.json", r#"{ "assets": { "directory": "dist" } }"#);
    assert!(written(&moved).contains("not_found = \"none\""));
    assert!(moved.html_handling.is_none() && moved.notes.is_empty(), "{:?}", moved.notes);
}

#[test]
fn wranglers_json_may_have_comments() {
    let text = "{\n  // where the build is\n  \"assets\": { \"directory\": \"./public\", /* all */ },\n  \"main\": \"src/index.ts\",\n}\n";
    let moved = moved("wrangler.jsonc", text);
    assert_eq!(moved.www.as_deref(), Some("public"));
    assert_eq!(notes(&moved, NoteKind::Lost), ["4 main: a Worker does not run at the edge"]);
}

#[test]
fn pages_without_a_404_page_are_a_single_page_application() {
    let text = "pages_build_output_dir = \"./dist\"\n";
    for (files, not_found, reported) in [
        (&["dist", "dist/404.html"][..], None, 0),
        (&["dist"], Some(NotFound::SinglePageApplication), 0),
        (&[], None, 1),
    ] {
        let around = Around { has: &|path| files.contains(&path), www: "www", is_explicit: false };
        let moved = read(Some(("wrangler.toml", text)), &around).unwrap();
        assert_eq!(moved.not_found.as_ref().map(|justified| justified.word), not_found, "{files:?}");
        assert_eq!(notes(&moved, NoteKind::Stays).len(), reported, "{:?}", moved.notes);
        written(&moved);
    }
    let around = Around {
        has: &|path| ["www", "www/404.html", "functions", "www/_headers"].contains(&path),
        www: "www",
        is_explicit: false,
    };
    let moved = read(None, &around).unwrap();
    let settings: Vec<&str> = moved.notes.iter().map(|note| note.setting.as_str()).collect();
    assert_eq!(settings, ["file", "functions", "_headers"]);
}

#[test]
fn everything_else_of_wranglers_file_is_reported_with_its_line() {
    let text = "name = \"shop\"\nmain = \"src/index.ts\"\ncompatibility_date = \"2026-01-01\"\nroutes = []\n\
        [assets]\ndirectory = \"dist\"\nbinding = \"ASSETS\"\nrun_worker_first = true\nhtml_handling = \"odd\"\n\
        [[kv_namespaces]]\nbinding = \"KV\"\n[triggers]\ncrons = []\n[vars]\nA = 1\n[build]\n[env.staging]\nname = \"x\"\n";
    let moved = moved("wrangler.toml", text);
    let lost: Vec<(usize, &str)> = moved.notes.iter().map(|n| (n.line, n.setting.as_str())).collect();
    assert_eq!(
        lost,
        [
            (2, "main"),
            (3, "compatibility_date"),
            (4, "routes"),
            (7, "assets.binding"),
            (8, "assets.run_worker_first"),
            (9, "assets.html_handling"),
            (10, "kv_namespaces"),
            (12, "triggers"),
            (14, "vars"),
            (16, "build"),
            (17, "env.staging"),
        ]
    );
    written(&moved);
}

#[test]
fn workers_sites_name_their_folder() {
    let moved = moved("wrangler.toml", "[site]\nbucket = \"./public\"\n");
    assert_eq!(moved.www.as_deref(), Some("public"));
    assert_eq!(moved.not_found.as_ref().map(|justified| justified.word), Some(NotFound::Page404));
}
