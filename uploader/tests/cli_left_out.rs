//! Published and left-out files of a push: names, `exclude` and `include`, after a migration, and in a folder under
//! change.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on should stop where it is")]

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli_support::Project;
use crate::cli_support::fake_edge::FakeEdge;

/// The pages of the last push.
fn pages(edge: &FakeEdge) -> Vec<String> {
    let state = edge.state.lock().unwrap();
    state.begun.last().unwrap().manifest.files.keys().map(ToString::to_string).collect()
}

/// The files and links of the backend of the last push.
fn backend(edge: &FakeEdge) -> Vec<String> {
    let state = edge.state.lock().unwrap();
    let server = state.begun.last().unwrap().manifest.server.clone().unwrap();
    server.files.keys().chain(server.links.keys()).map(ToString::to_string).collect()
}

#[test]
fn what_is_pushed_is_what_names_and_globs_leave() {
    let files = [
        "_worker.js/index.js",
        "api/docs/index.html",
        "api/pay.js",
        "assets/app.js.map",
        "assets/node_modules/@expo/font.ttf",
        "drafts/a.html",
        "index.html",
        "node_modules/a/index.js",
        "vercel.json",
    ];
    for (keys, left) in [
        ("", &[1, 2, 3, 4, 5, 6][..]),
        ("exclude = [\"/api/\", \"*.map\", \"drafts\"]\n", &[4, 6]),
        ("exclude = [\"/api/*\", \"!/api/docs\"]\n", &[1, 3, 4, 5, 6]),
        ("exclude = [\"/api/\"]\ninclude = [\"/api/docs/\"]\n", &[1, 3, 4, 5, 6]),
        ("exclude = [\"node_modules/\"]\n", &[1, 2, 3, 5, 6]),
        ("include = [\"/node_modules/\", \"/vercel.json\", \"/_worker.js/\"]\n", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ] {
        let edge = FakeEdge::start();
        let project = Project::new(&[]).variable("DEVANTURE_URL", &edge.url()).variable("DEVANTURE_TOKEN", "t0ken");
        project.file("devanture.toml", &format!("app = \"shop\"\nwww = \"dist\"\n{keys}"));
        files.iter().for_each(|path| project.file(&format!("dist/{path}"), path));
        let ran = project.run(&["push"]);
        assert_eq!(ran.code, Some(0), "{keys}: {ran:#?}");
        let expected: Vec<&str> = left.iter().map(|at| files[*at]).collect();
        assert_eq!(pages(&edge), expected, "{keys}: {ran:#?}");
        // Files run or read by a provider are named explicitly.
        for (path, provider) in [("_worker.js", "Cloudflare"), ("vercel.json", "Vercel")] {
            let line = format!("left out: {path}, which is for {provider}");
            assert_eq!(ran.stderr.contains(&line), !keys.contains(path), "{keys}: {ran:#?}");
        }
        assert_eq!(ran.stderr.contains("`exclude` leaves out: "), keys.contains("exclude"), "{keys}: {ran:#?}");
    }
}

#[test]
fn a_link_publishes_nothing_that_is_excluded() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    project.file("devanture.toml", "app = \"shop\"\nwww = \"dist\"\nexclude = [\"/private/\"]\n");
    project.file("dist/private/plan.html", "plan");
    std::os::unix::fs::symlink("private/plan.html", project.path("dist/public.html")).unwrap();
    std::os::unix::fs::symlink("private", project.path("dist/open")).unwrap();
    assert_eq!(project.run(&["push"]).code, Some(0));
    assert_eq!(pages(&edge), ["a/app.js", "index.html"]);
}

#[test]
fn what_the_backend_leaves_out_is_not_sent() {
    let edge = FakeEdge::start();
    let toml = "app = \"shop\"\nwww = \"www\"\n[server]\ndir = \"server\"\ncommand = [\"node\", \"a.js\"]\n";
    let project = Project::new(&[
        ("www/index.html", "hi"),
        ("server/a.js", "go()"),
        ("server/.env", "DEVANTURE_TOKEN=hush\n"),
        ("server/.env.example", "A=\n"),
        ("server/test/a.test.js", "test()"),
        ("server/node_modules/b/.env", "A=b\n"),
    ]);
    let project = project.variable("DEVANTURE_URL", &edge.url()).variable("DEVANTURE_TOKEN", "t0ken");
    project.file("devanture.toml", toml);
    let warned = project.run(&["push"]);
    assert!(warned.stderr.contains("`exclude` below [server] leaves it out"), "{warned:#?}");
    project.file("devanture.toml", &format!("{toml}exclude = [\"/.env\", \"test/\"]\n"));
    let ran = project.run(&["push"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(backend(&edge), [".env.example", "a.js", "node_modules/b/.env"]);
    assert!(ran.stderr.contains("`server.exclude` leaves out: .env, test"), "{ran:#?}");
}

#[test]
fn nothing_that_a_provider_never_served_is_published_after_a_move() {
    type Files = &'static [(&'static str, &'static str)];
    let vercel: Files = &[
        ("vercel.json", r#"{"outputDirectory": ".", "functions": {"jobs/*.js": {}}}"#),
        (".vercelignore", "# not for visitors\nsecret.txt\n/drafts/\n"),
        ("api/pay.js", "key"),
        ("jobs/nightly.js", "key"),
        ("middleware.ts", "code"),
        ("package.json", "{}"),
        ("vercel.ts", "code"),
        ("npm-debug.log", "log"),
        ("notes/config.gypi", "{}"),
        ("notes/node_modules/a.js", "a"),
        ("notes/__pycache__/a.pyc", "a"),
        ("venv/pyvenv.cfg", "home"),
        ("CVS/Root", "root"),
        ("notes/secret.txt", "secret"),
        ("drafts/a.html", "draft"),
        ("notes/drafts/b.html", "<!doctype html><title>b</title>"),
        ("_redirects", "/old / 301\n"),
    ];
    let built: Files = &[
        ("vercel.json", r#"{"outputDirectory": "dist"}"#),
        (".vercelignore", "/*\n!/dist\n/dist/private\n*.map\n"),
        ("api/pay.js", "key"),
        ("dist/index.html", "hi"),
        ("dist/a.js.map", "{}"),
        ("dist/private/a.html", "a"),
    ];
    let sources: Files = &[
        ("vercel.json", r#"{"outputDirectory": "dist"}"#),
        ("package.json", r#"{"scripts": {"build": "make"}}"#),
        (".vercelignore", "/dist/*\n!/dist/keep\n*.map\n"),
        ("dist/index.html", "hi"),
        ("dist/js/app.js", "go()"),
        ("dist/js/app.js.map", "{}"),
    ];
    let netlify: Files = &[
        ("netlify.toml", "[build]\npublish = \".\"\nfunctions = \"fn\"\n[functions]\ndirectory = \"other/fn\"\n"),
        ("fn/pay.js", "key"),
        ("other/fn/pay.js", "key"),
        ("netlify/functions/pay.js", "key"),
        ("netlify/edge-functions/a.ts", "key"),
    ];
    let cloudflare: Files = &[
        ("wrangler.toml", "name = \"shop\"\npages_build_output_dir = \".\"\n"),
        (".assetsignore", "*.txt\n!robots.txt\n"),
        ("functions/hello.js", "key"),
        ("_worker.js/index.js", "key"),
        ("_routes.json", "{}"),
        (".dev.vars", "KEY=1\n"),
        ("a.txt", "a"),
        ("robots.txt", ""),
    ];
    let firebase: Files = &[
        (
            "firebase.json",
            r#"{"hosting": {"public": ".",
                "ignore": ["firebase.json", "**/.*", "**/node_modules/**", "*.txt", "src/**"]},
                "functions": {"source": "backend"}, "firestore": {"rules": "my.rules"}}"#,
        ),
        (".firebaserc", "{}"),
        (".firebase/hosting.Lg.cache", "x"),
        ("firebase-debug.log", "log"),
        ("sub/firebase-debug.1.log", "log"),
        ("backend/index.js", "key"),
        ("my.rules", "rules"),
        ("storage.rules", "rules"),
        ("lib/node_modules/a.js", "a"),
        ("src/a.js", "a"),
        ("a.txt", "a"),
        ("sub/a.txt", "a"),
    ];
    for (provider, files, expected) in [
        ("vercel", vercel, &["notes/drafts/b.html"][..]),
        ("vercel", built, &["dist"]),
        ("vercel", sources, &["js/app.js"]),
        ("netlify", netlify, &[]),
        ("cloudflare", cloudflare, &["robots.txt"]),
        ("firebase", firebase, &["sub/a.txt"]),
    ] {
        let edge = FakeEdge::start();
        let project = Project::new(files).variable("DEVANTURE_URL", &edge.url()).variable("DEVANTURE_TOKEN", "t0ken");
        let project = project.variable("DEVANTURE_APP", "shop");
        project.file("index.html", "<!doctype html><title>Hi</title>");
        let moved = project.run(&["init", "--from", provider, "--json"]);
        assert_eq!(moved.code, Some(0), "{moved:#?}");
        let text = std::fs::read_to_string(project.path("devanture.toml")).unwrap();
        let checked = project.run(&["check", "--json"]);
        assert_eq!(checked.code, Some(0), "{checked:#?}\n{text}");
        let ran = project.run(&["push", "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:#?}\n{text}");
        // `devanture.toml` itself is never served.
        let mut found = pages(&edge);
        found.retain(|path| path != "devanture.toml");
        let expected = match expected {
            ["dist"] => vec!["index.html"],
            more => ["index.html"].into_iter().chain(more.iter().copied()).collect(),
        };
        assert_eq!(found, expected, "{provider}\n{text}");
    }
}

#[test]
fn a_folder_that_loses_files_while_it_is_sent_does_not_go_live() {
    let toml = "app = \"shop\"\nwww = \"dist\"\n[server]\ndir = \"server\"\ncommand = [\"node\", \"a.js\"]\n";
    for lost in ["dist/a/app.js", "dist/a", "server/b.js", "server/lib"] {
        let project = Project::site("");
        project.file("devanture.toml", toml);
        for path in ["server/a.js", "server/b.js", "server/lib/c.js"] {
            project.file(path, path);
        }
        let (at, has_begun) = (project.path(lost), AtomicBool::new(false));
        let edge = FakeEdge::start_with(move |request, _| {
            // A build begins again.
            if request.target.ends_with("/deploys") && !has_begun.swap(true, Ordering::Relaxed) {
                match at.is_dir() {
                    true => std::fs::remove_dir_all(&at).unwrap(),
                    false => std::fs::remove_file(&at).unwrap(),
                }
            }
            None
        });
        let ran = project.run(&["push", "--url", &edge.url(), "--json"]);
        let error = ran.failed("unreadable_file", 2);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(lost) && message.contains("was there when the push began"), "{error}");
        assert_eq!(error["hint"], "push when the build is done");
        assert!(edge.state.lock().unwrap().live.is_none(), "{ran:#?}");
    }
}
