//! `init` on real projects: the sources of `tools/sites.d`, before and after the build.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on should stop where it is")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cli_support::{Project, write};
use crate::support::inputs;
use crate::support::project::copy;

/// A source of `tools/sites.d`: the framework, and true if a single page answers every path. Without a framework, only
/// an existing folder is found.
const SITES: [(&str, Option<&str>, bool); 14] = [
    ("angular", Some("angular"), true),
    ("astro", Some("astro"), false),
    ("docusaurus", Some("docusaurus"), false),
    ("eleventy", Some("eleventy"), false),
    ("esbuild", None, false),
    ("next", Some("next"), false),
    ("next-webpack", Some("next"), false),
    ("nuxt", Some("nuxt"), false),
    ("parcel", None, false),
    ("rollup", None, false),
    ("sveltekit", Some("sveltekit"), false),
    ("vite-react", Some("react"), true),
    ("vitepress", Some("vitepress"), false),
    ("webpack", None, false),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the output folder of a generator, by the rules of the build script.
fn output_of(name: &str) -> String {
    let ran = Command::new(root().join("tools/sites")).args(["--output", name]).output().unwrap();
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

/// Returns the value of `key` in a file written by `init`.
fn written(project: &Project, key: &str) -> Option<Value> {
    let text = fs::read_to_string(project.path("devanture.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    table.get(key).map(|value| serde_json::to_value(value).unwrap())
}

/// Checks the output and the file of `init` for a project.
#[track_caller]
fn holds(project: &Project, name: &str, framework: Option<&str>, www: Option<&str>, is_application: bool) -> Value {
    let json = project.run(&["init", "--app", "plants", "--force", "--json"]).json();
    assert_eq!(json["framework"], Value::from(framework), "{name}: {json}");
    assert_eq!(written(project, "www"), www.map(Value::from), "{name}: {json}");
    let not_found = is_application.then(|| Value::from("single-page-application"));
    assert_eq!(written(project, "not_found"), not_found, "{name}: {json}");
    assert_eq!((json["notes"].clone(), written(project, "rewrites")), (Value::Array(vec![]), None), "{name}: {json}");
    json
}

#[test]
fn init_finds_the_folder_that_each_generator_writes_before_and_after_it_has_built() {
    let mut sources: Vec<PathBuf> =
        fs::read_dir(root().join("tools/sites.d")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.retain(|folder| folder.join("package.json").exists());
    assert_eq!(sources.len(), SITES.len(), "{sources:?}");
    for (name, framework, is_application) in SITES {
        let project = Project::new(&[]);
        copy(&root().join("tools/sites.d").join(name), &project.path(""));
        let output = output_of(name);
        let json = holds(&project, name, framework, framework.map(|_| output.as_str()), is_application);
        let next: &[&str] =
            if framework.is_some() { &["npm run build", "devanture push"] } else { &["devanture push"] };
        assert_eq!(json["next"], Value::from(next), "{name}");

        let Some(built) = inputs::site(name, "a") else { continue };
        copy(&built, &project.path(&output));
        let json = holds(&project, name, framework, Some(&output), is_application);
        assert_eq!(json["next"], Value::from(&["devanture push"][..]), "{name}");
        let checked = project.run(&["check", "--allow-warnings", "--json"]);
        assert_eq!(checked.code, Some(0), "{name}: {checked:#?}");
        assert!(checked.json()["files"]["total"].as_u64().unwrap() > 0, "{name}: {checked:#?}");
    }
}

#[test]
fn a_framework_that_is_named_counts_more_than_one_that_is_found() {
    let project = Project::new(&[("package.json", r#"{"dependencies":{"react-dom":"19","vite":"7"}}"#)]);
    project.run(&["init", "--framework", "docusaurus", "--app", "plants"]);
    assert_eq!((written(&project, "www"), written(&project, "not_found")), (Some("build".into()), None));
    project.run(&["init", "--framework", "geocities", "--force", "--json"]).failed("usage", 2);
    project.run(&["init", "--framework", "vite", "--from", "netlify", "--json"]).failed("usage", 2);
}

#[test]
fn a_package_json_that_cannot_be_read_is_named_and_its_sources_are_not_taken_for_pages() {
    let project = Project::new(&[("index.html", "<script type=module src=/main.tsx></script>")]);
    for bytes in [&b"{ \"dependencies\": { \"vite\": \"7\""[..], b"{ \"name\": \"caf\xe9\" }"] {
        write(&project.path("package.json"), bytes);
        let ran = project.run(&["init", "--app", "plants", "--force"]);
        assert_eq!((ran.code, written(&project, "www")), (Some(0), None), "{ran:#?}");
        let is_named = ran.stdout.lines().any(|line| line.starts_with("Note: package.json cannot be read: "));
        assert!(is_named && ran.stdout.contains("  www        not found"), "{ran:#?}");
    }
    fs::remove_file(project.path("package.json")).unwrap();
    project.run(&["init", "--app", "plants", "--force"]);
    assert_eq!(written(&project, "www"), Some(".".into()), "without one, it is a site as it is");
}

#[test]
fn a_plain_site_is_taken_as_it_is_with_a_package_json_that_builds_nothing_as_without_one() {
    let project = Project::new(&[("index.html", "<!doctype html><title>Hi</title>")]);
    for package in [None, Some("{}"), Some(r#"{"scripts":{"test":"true"},"dependencies":{"lodash":"4"}}"#)] {
        package.iter().for_each(|text| project.file("package.json", text));
        let ran = project.run(&["init", "--app", "plants", "--force"]);
        assert_eq!((ran.code, written(&project, "www")), (Some(0), Some(".".into())), "{package:?} {ran:#?}");
    }
    project.file("package.json", r#"{"scripts":{"build":"make"}}"#);
    let ran = project.run(&["init", "--app", "plants", "--force"]);
    assert_eq!(written(&project, "www"), None, "{ran:#?}");
    assert!(ran.stdout.contains("  www        not found  (build, then `devanture init --force`"), "{ran:#?}");
    assert!(ran.stdout.contains("`devanture init --force .`"), "{ran:#?}");
    project.run(&["init", "--app", "plants", "--force", "."]);
    assert_eq!(written(&project, "www"), Some(".".into()));
}

#[test]
fn only_force_replaces_a_file_that_is_there() {
    let project = Project::new(&[("dist/index.html", "hi"), ("devanture.toml", "app = \"mine\"\n")]);
    let error = project.run(&["init", "--app", "plants", "--json"]).failed("usage", 2);
    assert!(error["hint"].as_str().unwrap().contains("--force"), "{error}");
    assert_eq!(written(&project, "app"), Some("mine".into()));
    assert_eq!(project.run(&["init", "--app", "plants", "--force"]).code, Some(0));
    assert_eq!(written(&project, "app"), Some("plants".into()));
    let names: Vec<_> = fs::read_dir(project.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_person_reads_what_was_found_and_what_comes_next() {
    let package = r#"{"dependencies":{"next":"16"},"scripts":{"build":"next build"}}"#;
    let project = Project::new(&[("package.json", package), ("pnpm-lock.yaml", "")]);
    let ran = project.run(&["init", "--app", "plants"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let expected = [
        "Wrote devanture.toml for the app plants.",
        "  framework  Next.js  (next in package.json)",
        "  www        out  (Next.js writes it by default; it is not there yet)",
        "Note: Without `output: \"export\"` in its configuration, Next.js builds a server and writes no pages.",
    ];
    assert_eq!(lines[..4], expected, "{ran:#?}");
    assert!(lines[4].starts_with("Next: `pnpm run build`, set DEVANTURE_URL"), "{ran:#?}");
}

#[test]
fn a_page_of_its_own_answers_the_paths_of_an_application_beside_prerendered_ones() {
    let project = Project::new(&[
        ("package.json", r#"{"devDependencies":{"@sveltejs/kit":"2","@sveltejs/adapter-static":"3"}}"#),
        ("svelte.config.js", "export default { kit: { adapter: adapter({ fallback: '200.html' }) } };"),
        ("build/index.html", "home"),
        ("build/200.html", "application"),
    ]);
    project.run(&["init", "--app", "plants"]);
    assert_eq!(written(&project, "rewrites").unwrap()[0]["to"], "/200.html");
    let explained = project.run(&["routes", "/plants/fern", "--json"]);
    assert!(explained.stdout.contains("200.html"), "{explained:#?}");
}
