//! Commands that continue despite mistakes in unneeded files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on should stop where it is")]

use crate::cli_support::Project;
use crate::cli_support::fake_edge::FakeEdge;

/// Commands that need only the app's name and the edge.
const COMMANDS: [&[&str]; 6] = [
    &["status", "--json"],
    &["rollback", "--json"],
    &["switch", "abcdef", "--json"],
    &["history", "--json"],
    &["env", "list", "--json"],
    &["whoami", "--json"],
];

/// The files of a project, with their text.
type Written<'a> = &'a [(&'a str, &'a str)];

/// A project for `edge`.
fn project(edge: &FakeEdge, files: &[(&str, &str)]) -> Project {
    let project = Project::new(files).variable("DEVANTURE_URL", &edge.url()).variable("DEVANTURE_TOKEN", "t0ken");
    project.file("www/index.html", "hi");
    project
}

#[test]
fn what_needs_only_the_apps_name_goes_on_whatever_is_wrong_with_the_rest() {
    let server = "app = \"shop\"\n[server]\ninstances = 2\n";
    let several = "[apps.shop]\nwww = \"www\"\n[apps.two]\nnot_foundd = \"x\"\n";
    let cases: [(&str, Written<'_>, &[&str]); 7] = [
        ("an unknown key", &[("devanture.toml", "app = \"shop\"\nnot_foundd = \"x\"\n")], &[]),
        ("no TOML", &[("devanture.toml", "app = \"shop\"\n[env.prod]\nhostnames = [\"a\n")], &[]),
        ("another app's table", &[("devanture.toml", several)], &["--app", "shop"]),
        ("an unbuilt backend", &[("devanture.toml", server), ("Procfile", "web: node a.js\n")], &[]),
        (
            "a Procfile",
            &[("devanture.toml", server), ("dist/server/a.js", ""), ("dist/server/Procfile", "web: a\nWeb: b\n")],
            &[],
        ),
        ("an overlay", &[("devanture.toml", "app = \"shop\"\n"), ("devanture.staging.toml", "www = \"x\"\n")], &[]),
        ("no TOML at all", &[("devanture.toml", "app = ")], &["--app", "shop"]),
    ];
    for (what, files, flags) in cases {
        let edge = FakeEdge::start();
        let project = project(&edge, files);
        for command in COMMANDS {
            let before = edge.seen().len();
            let ran = project.run(&[flags, command].concat());
            assert!(edge.seen().len() > before, "{what}, {command:?}: {ran:#?}");
            let of_app = edge.seen().iter().skip(before).all(|line| !line.contains("/apps/two"));
            assert!(of_app && ran.stderr.contains("`devanture check` shows"), "{what}, {command:?}: {ran:#?}");
        }
        let before = edge.seen().len();
        for command in [&["push", "--dry-run", "--json"][..], &["check", "--json"], &["routes", "/", "--json"]] {
            project.run(&[flags, command].concat()).failed("bad_config", 2);
        }
        assert_eq!(edge.seen().len(), before, "{what}");
    }
}

#[test]
fn where_the_app_is_not_known_the_mistakes_of_the_file_are_the_reason() {
    let edge = FakeEdge::start();
    let project = project(&edge, &[("devanture.toml", "app = \"Shop\"\nnot_foundd = \"x\"\n")]);
    for command in COMMANDS.into_iter().filter(|command| command[0] != "whoami") {
        project.run(command).failed("bad_config", 2);
    }
    assert_eq!(edge.seen(), Vec::<String>::new());
    // A flag with a missing target stops every command.
    let missing = project.run(&["status", "--app", "shop", "--config", "none.toml", "--json"]);
    missing.failed("usage", 2);
}

#[test]
fn lines_of_the_apps_own_env_file_stop_no_command() {
    for text in [
        "export NODE_OPTIONS\n",
        "DEBUG\n",
        "FOO: bar\n",
        "KEY=-----BEGIN\nMIIE+x/y\n-----END\n",
        "A=\"b\" c\n",
        "[section]\n",
    ] {
        let edge = FakeEdge::start();
        let project = Project::site(&edge.url());
        project.file(".env", text);
        project.file(".env.shop", text);
        for command in [&["check"][..], &["status"], &["push", "--dry-run"], &["push"]] {
            let ran = project.run(command);
            assert_eq!(ran.code, Some(0), "{text:?}: {ran:#?}");
            assert!(!ran.stderr.contains(".env"), "{text:?}: {ran:#?}");
        }
        let explained = project.run(&["status", "--explain"]);
        for file in [".env:", ".env.shop:"] {
            let is_it = |line: &str| line.contains(file) && line.contains("passed over");
            assert!(explained.stderr.lines().any(is_it), "{text:?}: {explained:#?}");
        }
    }
}
