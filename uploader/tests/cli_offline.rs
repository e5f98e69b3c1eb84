//! `devanture` without an edge: mistakes in files, sources of settings, ids, new projects.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::net::TcpListener;

use crate::cli_support::{Project, STILL_RUNNING, dead_url, write};

const NOTHING_SENT: &str = "Nothing was sent; nothing has changed.";

#[test]
fn a_missing_folder_is_reported() {
    let project = Project::site(&dead_url());
    let ran = project.run(&["push", "not-there", "--json"]);
    let error = ran.failed("missing_folder", 2);
    assert_eq!(error["message"], "The folder `not-there` does not exist.");
    assert!(error["hint"].as_str().unwrap().contains("build the site first"));
    assert_eq!(ran.last_line(), NOTHING_SENT, "nobody knows what is live");
}

#[test]
fn all_missing_folders_are_named_at_once_and_once() {
    let toml = "app = \"shop\"\nwww = \"./dist\"\n[server]\ndir = \"././out\"\ncommand = [\"./run\"]\n";
    let project = Project::new(&[("devanture.toml", toml)]).variable("DEVANTURE_URL", &dead_url());
    for command in ["push", "check"] {
        let error = project.run(&[command, "--json"]).failed("missing_folder", 2);
        let expected = "The folders `dist` of the pages and `out` of the backend do not exist.";
        assert_eq!(error["message"], expected, "{command}");
        assert!(error["hint"].as_str().unwrap().contains("`dir` below [server]"), "{error}");
    }
    project.file("dist/index.html", "hi");
    let error = project.run(&["check", "--json"]).failed("missing_folder", 2);
    assert_eq!(error["message"], "The folder `out` does not exist.");
}

#[test]
fn an_app_that_the_settings_do_not_name_is_deleted_by_its_flag_too() {
    let project = Project::site(&dead_url());
    let error = project.run(&["delete", "app", "nonesuch", "--yes", "--json"]).failed("usage", 2);
    assert_eq!(error["message"], "The settings name the app shop, and the command nonesuch.");
    assert_eq!(error["hint"], "add `--app nonesuch` if that one is meant");
    project.run(&["delete", "app", "nonesuch", "--app", "nonesuch", "--yes", "--json"]).failed("unreachable", 3);
    let error = project.run(&["delete", "app", "nonesuch", "--app", "shop", "--yes", "--json"]).failed("usage", 2);
    assert_eq!(error["hint"], "leave --app out, or name the same app");
}

#[test]
fn paths_are_reported_without_leading_dots() {
    let project = Project::new(&[("dist/index.html", "hi"), ("devanture.toml", "app = \"shop\"\n")]);
    let config = ["--config", "././devanture.toml"];
    let checked = project.run(&[&["check", "././dist", "--json", "--explain"], &config[..]].concat()).json();
    assert_eq!(checked["www"], "dist");
    assert!(!checked.to_string().contains("./"), "{checked}");
    let error = project.run(&["check", "././missing", "--json"]).failed("missing_folder", 2);
    assert_eq!(error["message"], "The folder `missing` does not exist.");
    let moved = Project::new(&[("vercel.ts", "export default {}")]);
    let error = moved.run(&["init", "--from", "vercel", "--json"]).failed("usage", 2);
    assert_eq!(error["message"], "vercel.ts is a program, which is not run.");
    let error = moved.run(&["init", "--from", "netlify", "././dist", "--json"]).failed("usage", 2);
    assert!(!error["message"].as_str().unwrap().contains("./"), "{error}");
}

#[cfg(unix)]
#[test]
fn paths_of_the_projects_own_folder_are_reported_as_they_are_opened() {
    let files =
        [("_redirects", "/a /b\n/a /c\n"), ("index.html", "hi"), ("devanture.toml", "app = \"shop\"\nwww = \".\"\n")];
    let project = Project::new(&files);
    let checked = project.run(&["check", "--json"]);
    assert_eq!(checked.failed("warnings", 1)["mistakes"][0]["file"], "_redirects");
    assert!(!checked.stderr.contains("./"), "{checked:#?}");
    let empty = Project::new(&[
        (".env", "A=b"),
        ("devanture.staging.toml", ""),
        ("site.toml", "app = \"shop\"\nwww = \".\"\n"),
    ]);
    std::os::unix::fs::symlink("nowhere", empty.path("link")).unwrap();
    let error = empty.run(&["push", "--dry-run", "--config", "site.toml", "--json"]).failed("bad_bundle", 2);
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("The folder `.` holds something that cannot be published.\nlink: "), "{error}");
}

#[test]
fn names_with_a_leading_dot_are_reported() {
    let project = Project::new(&[("www/index.html", "hi"), ("www/.well-known/security.txt", "Contact: me")]);
    for command in [&["check"][..], &["push", "--dry-run"]] {
        assert!(!project.run(command).stderr.contains("no visitor gets"), "{command:?}");
    }
    project.file("www/.config", "x");
    let note = "no visitor gets .config: names with a leading dot are never served";
    assert!(project.run(&["check"]).stderr.contains(note));
    project.file("www/a/.hidden/b.html", "x");
    for command in [&["check"][..], &["push", "--dry-run"]] {
        let ran = project.run(command);
        assert!(ran.code == Some(0) && ran.stderr.contains("no visitor gets .config and 1 more: "), "{ran:#?}");
    }
}

#[test]
fn an_empty_folder_is_reported() {
    let project = Project::site(&dead_url());
    std::fs::create_dir(project.path("empty")).unwrap();
    project.run(&["push", "empty", "--json"]).failed("empty_bundle", 2);
    project.file("empty/_redirects", "/a /b\n");
    project.run(&["push", "empty", "--json"]).failed("unreachable", 3);
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::site(&dead_url());
    let path = project.path("dist/index.html");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        eprintln!("left out: this user may read every file");
        return;
    }
    let error = project.run(&["push", "--json"]).failed("unreadable_file", 2);
    assert!(error["message"].as_str().unwrap().contains("dist/index.html: it cannot be read"), "{error}");
}

#[test]
fn every_mistake_of_devanture_toml_is_reported_at_once_with_its_line() {
    let project = Project::site(&dead_url());
    project.file("devanture.toml", "app = \"Shop\"\nwwww = \"dist\"\nhtml_handling = \"auto\"\n");
    for command in ["push", "check", "status"] {
        let ran = project.run(&[command, "--json"]);
        let error = ran.failed("bad_config", 2);
        assert_eq!(error["mistakes"].as_array().unwrap().len(), 3, "{error}");
        for line in 1..=3 {
            let place = format!("devanture.toml:{line}: ");
            assert!(ran.stderr.contains(&place) && error["message"].as_str().unwrap().contains(&place), "{ran:#?}");
        }
        assert_eq!(ran.last_line() == NOTHING_SENT, command == "push", "{ran:#?}");
    }
}

#[test]
fn an_unreachable_edge_is_reported() {
    let project = Project::site(&dead_url());
    let ran = project.run(&["push", "--json"]);
    let error = ran.failed("unreachable", 3);
    assert!(error["message"].as_str().unwrap().contains("cannot be reached"), "{error}");
    assert_eq!(ran.last_line(), STILL_RUNNING);
    for arguments in
        [&["status", "--json"][..], &["switch", "abcdef", "--json"], &["rollback", "--json"], &["history", "--json"]]
    {
        project.run(arguments).failed("unreachable", 3);
    }
}

#[test]
fn a_token_of_the_environment_is_not_sent_where_a_file_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let site = ("dist/index.html", "hi");
    let in_toml = format!("app = \"shop\"\nwww = \"dist\"\nurl = \"{url}\"\n");
    let in_dotenv = format!("DEVANTURE_URL={url}\nDEVANTURE_APP=shop\n");
    for files in [[site, ("devanture.toml", &in_toml)], [site, (".env", &in_dotenv)]] {
        let project = Project::new(&files).variable("DEVANTURE_TOKEN", "t0ken");
        let ran = project.run(&["push", "dist", "--json"]);
        let error = ran.failed("untrusted_source", 2);
        assert!(error["message"].as_str().unwrap().contains("a pull request could have written"), "{error}");
        assert_eq!(ran.last_line(), NOTHING_SENT);
        assert!(!format!("{ran:?}").contains("t0ken"));
        // A flag is of the person's own trust too.
        project.run(&["push", "dist", "--token", "t0ken", "--json"]).failed("untrusted_source", 2);
    }
    let ca = Project::new(&[site, (".env", "DEVANTURE_CA=ca.pem\n")]);
    let ca = ca.variable("DEVANTURE_TOKEN", "t0ken").variable("DEVANTURE_URL", &url);
    ca.run(&["status", "--app", "shop", "--json"]).failed("untrusted_source", 2);
    assert!(listener.accept().is_err(), "something was sent");
}

#[test]
fn a_dollar_sign_in_dotenv_brings_in_nothing() {
    let project =
        Project::new(&[(".env", "DEVANTURE_APP=$SECRET\nDEVANTURE_ENV=${SECRET}\n"), ("www/index.html", "hi")]);
    let ran = project.variable("SECRET", "stolen").run(&["check", "--explain"]);
    assert!(ran.stderr.contains("$SECRET") && !format!("{ran:?}").contains("stolen"), "{ran:#?}");
}

#[test]
fn lines_of_settings_that_cannot_be_read_are_named_all_at_once() {
    let project = Project::site(&dead_url());
    let text = "DEVANTURE_ENV=staging\nDEVANTURE_APP: hush\n\n# said\nhush hush\n";
    project.file(".env", "DEVANTURE_ENV=staging\nDEVANTURE_APP: hush\n\n# said\nexport DEVANTURE_hush\nDEBUG\n");
    for command in ["push", "check", "status"] {
        let ran = project.run(&[command, "--json"]);
        let error = ran.failed("bad_config", 2);
        let lines: Vec<_> = error["mistakes"].as_array().unwrap().iter().map(|m| (&m["file"], &m["line"])).collect();
        assert_eq!(lines, [(&".env".into(), &2.into()), (&".env".into(), &5.into())], "{ran:#?}");
        assert!(ran.stderr.contains(".env:2: ") && !format!("{ran:?}").contains("hush"), "{ran:#?}");
    }
    let project = Project::site(&dead_url());
    project.file("production.env", text);
    let ran = project.run(&["env", "set", "--from", "production.env", "--json"]);
    assert_eq!(ran.failed("bad_config", 2)["mistakes"].as_array().unwrap().len(), 2);
    assert!(ran.stderr.contains("production.env:5: ") && !format!("{ran:?}").contains("hush"), "{ran:#?}");
    project.file(".env.shop", "not a setting\nDEVANTURE_URL https://hush\n");
    let error = project.run(&["status", "--app", "shop", "--json"]).failed("bad_config", 2);
    assert_eq!((&error["mistakes"][0]["file"], &error["mistakes"][0]["line"]), (&".env.shop".into(), &2.into()));
}

#[test]
fn an_explanation_names_the_source_of_each_setting() {
    let project = Project::site("https://localhost:1");
    project.file(".env", "DEVANTURE_ENV=staging\n");
    let ran = project.run(&["push", "--dry-run", "--explain", "--app", "other"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for line in [
        "DEVANTURE_URL      https://localhost:1  from DEVANTURE_URL",
        "DEVANTURE_TOKEN    (not shown)  from DEVANTURE_TOKEN",
        "DEVANTURE_APP      other  from --app",
        "DEVANTURE_ENV      staging  from .env",
        "DEVANTURE_CA       not set",
    ] {
        assert!(ran.stderr.lines().any(|l| l == line), "{line}\n{}", ran.stderr);
    }
}

#[test]
fn the_id_of_equal_folders_is_equal_and_needs_no_edge() {
    let files = [("www/index.html", "hi"), ("www/a/b.js", "go()"), ("www/a/c.js", "go()")];
    let one = Project::new(&files);
    let mut turned = files;
    turned.reverse();
    let two = Project::new(&turned);
    let id = one.run(&["push", "--dry-run"]);
    assert_eq!(id.code, Some(0), "{id:#?}");
    assert_eq!(id.stdout.trim_end().len(), 64);
    assert_eq!(two.run(&["push", "--dry-run"]).stdout, id.stdout);
    assert!(id.stderr.contains("checked without an edge"), "{id:#?}");
    let json = two.run(&["push", "www", "--dry-run", "--json"]).json();
    assert_eq!(json["version"].as_str(), Some(id.stdout.trim_end()));
    assert_eq!((&json["files"]["total"], &json["checked_by_edge"]), (&3.into(), &false.into()));
    let ran = Project::site("https://localhost:1").run(&["push", "--dry-run"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("checked without the edge: "), "{ran:#?}");
    two.file("www/index.html", "ho");
    assert_ne!(two.run(&["push", "--dry-run"]).stdout, id.stdout);
}

#[test]
fn what_is_left_out_is_reported_and_does_not_change_the_id() {
    let plain = Project::new(&[("www/index.html", "hi")]);
    let littered = Project::new(&[("www/index.html", "hi"), ("www/.env", "SECRET=1"), ("www/.git/config", "")]);
    let ran = littered.run(&["push", "--dry-run"]);
    assert_eq!(ran.stdout, plain.run(&["push", "--dry-run"]).stdout);
    assert!(ran.stderr.contains("left out: .env, .git"), "{ran:#?}");
    let error = littered.run(&["push", "--dry-run", "--strict", "--json"]).failed("bad_bundle", 2);
    assert_eq!(error["mistakes"].as_array().unwrap().len(), 2);
    assert_eq!(littered.run(&["push", "--dry-run", "--quiet"]).stderr, "");
}

#[test]
fn private_keys_and_credentials_are_left_out_by_their_names() {
    let plain = Project::new(&[("www/index.html", "hi"), ("www/id_rsa.pub", "ssh-rsa AAAA")]);
    let careless = Project::new(&[
        ("www/index.html", "hi"),
        ("www/id_rsa.pub", "ssh-rsa AAAA"),
        ("www/id_rsa", "key"),
        ("www/keys/id_ed25519", "key"),
        ("www/.npmrc", "token"),
        ("www/_netrc", "password"),
        ("www/store.pfx", "key"),
    ]);
    let ran = careless.run(&["push", "--dry-run"]);
    assert_eq!(ran.stdout, plain.run(&["push", "--dry-run"]).stdout);
    for name in ["id_rsa", "keys/id_ed25519", ".npmrc", "_netrc", "store.pfx"] {
        assert!(ran.stderr.contains(name), "{name}: {ran:#?}");
    }
    let error = careless.run(&["push", "--dry-run", "--strict", "--json"]).failed("bad_bundle", 2);
    assert_eq!(error["mistakes"].as_array().unwrap().len(), 5);
}

#[test]
fn guessed_rules_are_a_part_of_the_version_and_reported() {
    let project = Project::new(&[("www/_redirects", "/a /b\n")]);
    let netlify = project.run(&["push", "--dry-run"]);
    assert!(netlify.stderr.contains("Netlify's"), "{netlify:#?}");
    project.file("wrangler.toml", "");
    let cloudflare = project.run(&["push", "--dry-run"]);
    assert!(cloudflare.stderr.contains("Cloudflare's"), "{cloudflare:#?}");
    assert_ne!(netlify.stdout, cloudflare.stdout);
}

#[test]
fn a_check_finds_what_a_push_would() {
    let project = Project::site(&dead_url());
    let ran = project.run(&["check"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.starts_with("No mistakes. dist holds 2 files"), "{ran:#?}");
    let json = project.run(&["check", "--json"]).json();
    let id = project.run(&["push", "--dry-run"]).stdout;
    assert_eq!(json["version"].as_str(), Some(id.trim_end()));
    write(&project.path("dist/a\\b"), b"");
    project.run(&["check", "--json"]).failed("bad_bundle", 2);
}

/// A folder with only `_redirects` and the target page.
fn with_redirects(redirects: &str) -> Project {
    let project = Project::site(&dead_url());
    project.file("dist/_redirects", redirects);
    project
}

#[test]
fn mistakes_in_rules_are_reported_with_their_lines_before_anything_is_sent() {
    let project =
        with_redirects("# moved\n/old  javascript:alert(1)\n/a /b\n/a /c\n/x/* https://other.example/:splat 200\n");
    let checked = project.run(&["check", "--json"]).failed("bad_rules", 1);
    // No edge exists in this test: a push past the check would fail with `unreachable`.
    let ran = project.run(&["push", "--json", "--allow-warnings"]);
    let error = ran.failed("bad_rules", 1);
    assert_eq!(error["mistakes"], checked["mistakes"]);
    let found: Vec<(u64, &str)> = error["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mistake| {
            assert_eq!(mistake["file"], "dist/_redirects");
            (mistake["line"].as_u64().unwrap(), mistake["weight"].as_str().unwrap())
        })
        .collect();
    assert_eq!(found, [(2, "mistake"), (5, "mistake"), (4, "doubt")], "{error}");
    assert!(ran.stderr.contains("dist/_redirects:4: doubt: `/a → /c` never applies"), "{ran:#?}");
    assert!(ran.stderr.contains("[upstreams]"), "{ran:#?}");
    assert_eq!(ran.last_line(), NOTHING_SENT);
}

#[test]
fn doubts_pass_where_they_are_allowed() {
    let project = with_redirects("/a /b\n/a /c\n");
    for command in ["check", "push"] {
        let error = project.run(&[command, "--json"]).failed("warnings", 1);
        assert!(error["hint"].as_str().unwrap().contains("--allow-warnings"), "{error}");
    }
    let ran = project.run(&["check", "--allow-warnings", "--json"]);
    assert_eq!((ran.code, ran.json()["doubts"][0]["line"].as_u64()), (Some(0), Some(2)), "{ran:#?}");
    assert!(ran.stderr.contains("doubt: `/a → /c` never applies"), "{ran:#?}");
    let ran = project.run(&["push", "--allow-warnings", "--json"]);
    ran.failed("unreachable", 3);
    assert!(ran.stderr.contains("doubt: `/a → /c` never applies"), "{ran:#?}");
}

#[test]
fn rules_are_checked_for_each_environment_with_the_lines_of_its_tables() {
    let project = Project::site(&dead_url());
    let toml = "app = \"shop\"\nwww = \"dist\"\n[env.staging]\nnot_found = \"none\"\n[[env.staging.redirects]]\n\
        from = \"/a\"\nto = \"/b\"\n[[env.staging.redirects]]\nfrom = \"/b\"\nto = \"/a\"\n";
    project.file("devanture.toml", toml);
    project.file("dist/_redirects", "/index /index.html 200\n");
    let error = project.run(&["check", "--json"]).failed("bad_rules", 1);
    assert_eq!(error["mistakes"].as_array().unwrap().len(), 1, "{error}");
    let mistake = &error["mistakes"][0];
    assert_eq!((mistake["file"].as_str(), mistake["line"].as_u64()), (Some("devanture.toml"), Some(5)), "{mistake}");
    let message = "in staging: `/a → /b` leads around in a circle: /a → /b → /a";
    assert_eq!(mistake["message"], message);
    assert_eq!(project.run(&["check", "--env", "prod"]).code, Some(0));
    project.run(&["push", "--json"]).failed("unreachable", 3);
    project.run(&["push", "--env", "staging", "--json"]).failed("bad_rules", 1);
}

#[test]
fn a_folder_of_rules_alone_is_checked() {
    let project = Project::new(&[("www/_redirects", "/a https://example.org/\n"), ("www/_headers", "/*\n  X-A: b\n")]);
    let ran = project.run(&["check"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stderr.contains("Netlify's meaning"), "{ran:#?}");
}

#[test]
fn another_file_than_devanture_toml_has_its_own_folder() {
    let project =
        Project::new(&[("site/staging.toml", "app = \"shop\"\nwww = \"out\"\n"), ("site/out/index.html", "hi")]);
    let ran = project.run(&["check", "--config", "site/staging.toml", "--json"]);
    assert_eq!(ran.json()["www"], "site/out", "{ran:#?}");
    project.run(&["check", "--config", "missing.toml", "--json"]).failed("usage", 2);
}

#[test]
fn init_writes_a_file_that_check_takes_and_never_overwrites_one() {
    let project = Project::new(&[("dist/index.html", "hi")]);
    let ran = project.run(&["init", "--app", "shop"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let text = std::fs::read_to_string(project.path("devanture.toml")).unwrap();
    assert!(text.starts_with("app = \"shop\"\nwww = \"dist\""), "{text}");
    assert_eq!(project.run(&["check"]).code, Some(0));
    project.run(&["init", "--app", "other", "--json"]).failed("usage", 2);
    assert_eq!(std::fs::read_to_string(project.path("devanture.toml")).unwrap(), text);
}

#[test]
fn init_finds_what_was_built_says_so_and_invents_nothing() {
    let project = Project::new(&[
        ("package.json", r#"{"dependencies":{"vue":"3"}}"#),
        ("dist/www/index.html", "hi"),
        ("dist/server/server.js", "run()"),
        ("server/server.js", "sources"),
        ("www/index.html", "sources"),
    ]);
    let ran = project.run(&["init", "--app", "shop"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let expected = [
        "Wrote devanture.toml for the app shop.",
        "  framework  Vue  (vue in package.json)",
        "  www        dist/www  (it has a page)",
        "  not_found  single-page-application  (its one page answers every path)",
        "  server     node server.js  (dist/server is there; it gets /api/*)",
    ];
    assert_eq!(lines[..5], expected, "{ran:#?}");
    let checked = project.run(&["check", "--json"]).json();
    assert_eq!((&checked["www"], &checked["server"]["files"]), (&"dist/www".into(), &1.into()), "{checked}");
    let empty = Project::new(&[]);
    let ran = empty.run(&["init", "--app", "shop", "--json"]);
    let text = std::fs::read_to_string(empty.path("devanture.toml")).unwrap();
    assert!(text.lines().all(|line| !line.starts_with("www")), "{text}");
    assert_eq!(ran.json()["guessed"][0]["value"], serde_json::Value::Null, "{ran:#?}");
}

#[test]
fn a_folder_that_is_not_there_is_reported_before_settings_that_are_missing() {
    let project = Project::new(&[("devanture.toml", "app = \"shop\"\n")]);
    let error = project.run(&["push", "nodir", "--json"]).failed("missing_folder", 2);
    assert!(error["message"].as_str().unwrap().contains("nodir"), "{error}");
}

#[test]
fn a_first_project_says_all_that_a_push_needs() {
    for (files, arguments) in [
        (&[("dist/index.html", "hi")][..], &["init"][..]),
        (&[("dist/index.html", "hi"), ("vercel.json", "{}")], &["init", "--from", "vercel"]),
    ] {
        let ran = Project::new(files).run(arguments);
        let next = ran.stdout.lines().last().unwrap();
        for needed in ["Next: ", "DEVANTURE_URL", "DEVANTURE_TOKEN", "DEVANTURE_CA", "tls/ca.pem", "devanture push"] {
            assert!(next.contains(needed), "{needed}: {ran:#?}");
        }
    }
}

#[test]
fn a_folder_without_devanture_toml_is_told_from_a_file_that_names_no_app() {
    let project = Project::new(&[]).variable("DEVANTURE_TOKEN", "t0ken");
    let message = |project: &Project| project.run(&["status", "--json"]).failed("usage", 2)["message"].clone();
    assert_eq!(message(&project), "Where the edge is, is not said. This folder has no devanture.toml.");
    let project = project.variable("DEVANTURE_URL", &dead_url());
    assert_eq!(message(&project), "Which app is meant is not said. This folder has no devanture.toml.");
    project.file("devanture.toml", "www = \"dist\"\n");
    assert_eq!(message(&project), "Which app is meant is not said.");
}
