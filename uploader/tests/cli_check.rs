//! `devanture check` of the files of a site: findings, positions, output, and suppression.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on should stop where it is")]

use crate::cli_support::{Project, Ran};
use serde_json::Value;

/// Makes a site, with `toml` behind the first two lines of its `devanture.toml`.
fn site(toml: &str, files: &[(&str, &str)]) -> Project {
    let project = Project::new(&[("devanture.toml", &format!("app = \"shop\"\nwww = \"dist\"\n{toml}"))]);
    for (path, text) in files {
        project.file(&format!("dist/{path}"), text);
    }
    project
}

/// Returns the findings, as `code file:line:column`.
fn found(ran: &Ran) -> Vec<String> {
    let json = ran.json();
    let summary = |finding: &Value| {
        let mark = if finding["severity"] == "doubt" { "?" } else { "" };
        let text = |key: &str| finding[key].as_str().unwrap().to_owned();
        format!("{}{mark} {}:{}:{}", text("code"), text("file"), finding["line"], finding["column"])
    };
    json["findings"].as_array().unwrap().iter().map(summary).collect()
}

#[test]
fn links_and_assets_that_nothing_answers_are_found_with_their_places() {
    let toml = "html_handling = \"auto-trailing-slash\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n\
                [[redirects]]\nfrom = \"/old/*\"\nto = \"/about\"\n[env.prod]\nhostnames = [\"www.example.org\"]\n";
    let page = "<!doctype html>\n\
                <a href=\"/about\">fine</a> <a href=about.html#team>fine</a> <a href=/api/x>fine</a> <a href=/old/y>fine</a>\n\
                <p>\u{fc}</p><a href=\"/nothing\">broken</a> <a href=\"https://www.example.org/gone\">broken</a>\n\
                <img src=\"img/leaf.png\" srcset=\"img/leaf.png 1x, img/leaf@2x.png 2x\">\n\
                <a href=\"https://other.example/x\">not ours</a> <a href=\"mailto:a@b.example\">m</a> <a href=\"{{ url }}\">t</a>\n\
                <a href=\"/about#nobody\">no such place</a> <a href=\"#top\">fine</a>\n";
    let project = site(
        toml,
        &[
            ("index.html", page),
            ("about.html", "<h1 id=team>Team</h1><base href=/docs/><a href=guide>fine</a><a href=/About>case</a>"),
            ("docs/guide.html", "<link rel=stylesheet href=../site.css>"),
            ("site.css", "@import \"more.css\";\nbody { background: url(img/leaf.png) }\n"),
            ("img/leaf.png", "png"),
        ],
    );
    let ran = project.run(&["check", "--json"]);
    ran.failed("check_failed", 2);
    assert_eq!(
        found(&ran),
        [
            "broken-link dist/about.html:1:65",
            "broken-link dist/index.html:3:12",
            "broken-link dist/index.html:3:42",
            "missing-asset dist/index.html:4:25",
            "broken-fragment? dist/index.html:6:4",
            "missing-asset dist/site.css:1:9",
        ]
    );
    let findings = &ran.json()["findings"];
    assert_eq!(findings[0]["hint"], "`about.html` is there, whose case differs");
    assert_eq!(findings[1]["message"], "`/nothing` of a href leads to nothing");
    assert_eq!(findings[3]["target"], "/img/leaf@2x.png");
    assert!(ran.stderr.contains("The site has 5 mistakes, and 1 doubt."), "{ran:#?}");
}

#[test]
fn an_application_answers_every_link_and_no_missing_asset() {
    let page = ("index.html", "<a href=/cart>c</a><script src=/app.js></script>");
    let project = site("not_found = \"single-page-application\"\n", &[page]);
    let ran = project.run(&["check", "--json"]);
    assert_eq!(found(&ran), ["missing-asset dist/index.html:1:28"]);
    project.file("dist/_redirects", "/* /index.html 200\n");
    project.file("devanture.toml", "app = \"shop\"\nwww = \"dist\"\n");
    assert_eq!(found(&project.run(&["check", "--json"])), ["missing-asset dist/index.html:1:28"]);
}

#[test]
fn an_environment_that_answers_otherwise_is_named() {
    let toml = "[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n[env.staging]\nroutes = []\n";
    let project = site(toml, &[("index.html", "<a href=/api/x>a</a>")]);
    let ran = project.run(&["check", "--json"]);
    assert_eq!(ran.json()["findings"][0]["message"], "in staging: `/api/x` of a href leads to nothing");
    assert_eq!(project.run(&["check", "--env", "prod"]).code, Some(0));
    assert_eq!(project.run(&["check", "--env", "staging"]).code, Some(2));
}

#[test]
fn what_comes_without_encryption_is_found() {
    let page = "<script src=http://cdn.example/x.js></script>\n<img src=http://cdn.example/x.png>\n\
                <a href=http://other.example/>a link is none</a>\n<div style=\"background:url('http://cdn.example/y.png')\">\n";
    let project = site("", &[("index.html", page), ("a.css", "@import url(http://cdn.example/a.css);")]);
    let ran = project.run(&["check", "--json"]);
    ran.failed("check_failed", 2);
    assert_eq!(
        found(&ran),
        [
            "mixed-content dist/a.css:1:9",
            "mixed-content dist/index.html:1:9",
            "mixed-content? dist/index.html:2:6",
            "mixed-content? dist/index.html:4:6",
        ]
    );
}

#[test]
fn secrets_are_found_and_never_shown() {
    // Assembled here, so that no scanner reports this file as a leak.
    let token = format!("ghp_{}", "Ab3dE5gH7jK9".repeat(3));
    let project = site("", &[("index.html", "hi"), ("app.js", &format!("go()\nconst t = '{token}'\n"))]);
    project.file("dist/prod.env", "DB_PASSWORD=hunter2\n");
    for arguments in [&["check", "--json"][..], &["check"], &["check", "--format", "github"]] {
        let ran = project.run(arguments);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert!(!format!("{ran:?}").contains(&token[5..]) && !format!("{ran:?}").contains("hunter2"), "{ran:#?}");
    }
    let ran = project.run(&["check", "--json"]);
    assert_eq!(found(&ran), ["secret dist/app.js:2:12", "secret dist/prod.env:1:1"]);
}

#[test]
fn names_and_sizes_are_looked_at() {
    let project = site("[check]\nfile_bytes_max = 10\n", &[("index.html", "hi"), ("A.txt", "a"), ("a.txt", "b")]);
    project.file("dist/large.txt", "more than ten bytes");
    let ran = project.run(&["check", "--json"]);
    assert_eq!(found(&ran), ["case-collision dist/a.txt:0:0", "large-file dist/large.txt:0:0"]);
    // The edge accepts both if warnings are allowed.
    let allowed = found(&project.run(&["check", "--json", "--allow-warnings"]));
    assert_eq!(allowed[0], "case-collision? dist/a.txt:0:0");
}

#[test]
fn what_is_named_is_not_warned_of_and_is_no_part_of_the_version() {
    let files = [("index.html", "<a href=/legacy/x>a</a><a href=/other>b</a>")];
    let plain = site("", &files);
    let ignoring = site("[check]\nignore = [\"broken-link:/legacy/*\"]\n", &files);
    assert_eq!(found(&plain.run(&["check", "--json"])).len(), 2);
    assert_eq!(found(&ignoring.run(&["check", "--json"])), ["broken-link dist/index.html:1:27"]);
    let id = |project: &Project| project.run(&["push", "--dry-run"]).stdout;
    assert_eq!(id(&plain), id(&ignoring));
    let all = site("[check]\nignore = [\"broken-link\"]\n", &files);
    assert_eq!(all.run(&["check"]).code, Some(0));
    let wrong = site("[check]\nignore = [\"brokenlink\"]\n", &files).run(&["check", "--json"]);
    let error = wrong.failed("bad_config", 2);
    assert!(error["message"].as_str().unwrap().contains("did you mean `broken-link`?"), "{error}");
}

#[test]
fn doubts_fail_only_where_that_is_wanted() {
    let project = site("", &[("index.html", "<a href=#nobody>a</a>")]);
    let ran = project.run(&["check"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.starts_with("dist/index.html:1:4: doubt: broken-fragment: "), "{ran:#?}");
    assert!(ran.stdout.lines().last().unwrap().starts_with("No mistakes, and 1 doubt. dist holds 1 file"), "{ran:#?}");
    project.run(&["check", "--strict", "--json"]).failed("warnings", 1);
}

#[test]
fn annotations_are_those_of_github_actions() {
    let project =
        site("", &[("index.html", "<a href=/x,y>a</a>\n<a href=#no>b</a>"), ("_redirects", "/a javascript:x\n")]);
    let folder = std::fs::canonicalize(project.path("")).unwrap();
    let workspace = folder.parent().unwrap().to_str().unwrap().to_owned();
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let project = project.variable("GITHUB_WORKSPACE", &workspace);
    let ran = project.run(&["check", "--format", "github"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with(&format!("::error file={name}/dist/_redirects,line=1,title=")), "{ran:#?}");
    let link = format!(
        "::error file={name}/dist/index.html,line=1,col=4,title=devanture check%3A broken-link::`/x,y` of a href"
    );
    assert!(lines[1].starts_with(&link), "{ran:#?}");
    assert!(lines[2].starts_with("::warning file="), "{ran:#?}");
    assert_eq!(lines.len(), 3);
    // Syntax errors of the file are reported in the same way.
    project.file("devanture.toml", "app = \"Shop\"\n");
    let ran = project.run(&["check", "--format", "github"]);
    assert!(ran.stdout.starts_with(&format!("::error file={name}/devanture.toml,line=1,title=")), "{ran:#?}");
}

#[test]
fn the_format_json_is_that_of_the_flag() {
    let project = site("", &[("index.html", "<a href=/x>a</a>")]);
    let ran = project.run(&["check", "--format", "json"]);
    assert_eq!(ran.stdout, project.run(&["check", "--json"]).stdout);
    ran.failed("check_failed", 2);
}

#[test]
fn what_is_too_large_to_be_looked_into_is_reported() {
    let project = site("", &[("index.html", "hi")]);
    project.file("dist/data.json", &"a".repeat(17_000_000));
    let ran = project.run(&["check"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stderr.contains("not looked into, since larger than 16.7 MB: dist/data.json"), "{ran:#?}");
}

#[test]
fn the_hook_for_pre_commit_calls_what_there_is() {
    let text = include_str!("../../.pre-commit-hooks.yaml");
    let value = |key: &str| {
        let line = text.lines().find(|line| line.trim_start_matches("- ").trim_start().starts_with(&format!("{key}:")));
        line.unwrap().split_once(": ").unwrap().1
    };
    assert_eq!((value("language"), value("pass_filenames"), value("id")), ("system", "false", "devanture-check"));
    let words: Vec<&str> = value("entry").split(' ').collect();
    assert_eq!(words[0], "devanture");
    let project = site("", &[("index.html", "hi")]);
    assert_eq!(project.run(&words[1..]).code, Some(0));
}

#[test]
fn the_hook_passes_with_a_note_in_a_clone_that_was_never_built() {
    let (pages, both) = ("app = \"shop\"\nwww = \"dist\"\n", "[server]\ncommand = [\"./run\"]\n");
    for toml in [pages.to_owned(), format!("{pages}{both}")] {
        let project = Project::new(&[("devanture.toml", toml.as_str())]);
        let ran = project.run(&["check", "--if-built"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "Nothing was checked: the project is not built.\n"));
        assert!(ran.stderr.contains("note") && ran.stderr.contains("not exist"), "{ran:#?}");
        assert_eq!(project.run(&["check", "--if-built", "--json"]).json()["built"], false);
        project.run(&["check", "--json"]).failed("missing_folder", 2);
        // Files tracked by git are checked, too.
        project.file("devanture.toml", &format!("{toml}\nwwww = 1\n"));
        assert_ne!(project.run(&["check", "--if-built"]).code, Some(0));
    }
}

#[test]
fn an_origin_of_a_visitors_own_machine_is_doubted_for_prod_alone() {
    let files: &[(&str, &str)] = &[("index.html", "<p>hi")];
    let everywhere = site("cors = [\n  \"https://app.example.org\",\n  \"http://localhost:5173\",\n]\n", files);
    let ran = everywhere.run(&["check", "--json"]);
    assert_eq!(found(&ran), ["local-origin? devanture.toml:3:0"]);
    let staging = "[env.staging]\ncors = [\"http://localhost:5173\"]\n";
    assert!(found(&site(staging, files).run(&["check", "--json"])).is_empty());
    let over = "cors = [\"http://127.0.0.1:3000\"]\n[env.prod]\ncors = []\n";
    assert!(found(&site(over, files).run(&["check", "--json"])).is_empty());
    let meant = "cors = [\"http://localhost:5173\"]\n[check]\nignore = [\"local-origin:http://localhost:*\"]\n";
    assert!(found(&site(meant, files).run(&["check", "--json"])).is_empty());
}

#[test]
fn settings_of_other_servers_are_named_and_files_that_came_compressed_alone_are_found() {
    let page = "<!doctype html><title>a</title><script src=/Build/game.js></script><img src=/Build/none.svg>";
    let project = site(
        "",
        &[
            ("index.html", page),
            ("Build/game.js.br", "br"),
            ("backup.tar.gz", "gz"),
            (".htaccess", "Options -Indexes"),
            ("web.config", "<configuration/>"),
        ],
    );
    let ran = project.run(&["check", "--json"]);
    ran.failed("check_failed", 2);
    assert_eq!(
        found(&ran),
        ["foreign-file? dist/.htaccess:0:0", "missing-asset dist/index.html:1:73", "foreign-file? dist/web.config:0:0",]
    );
    let ignoring = site("[check]\nignore = [\"foreign-file:.htaccess\"]\n", &[("index.html", "a"), (".htaccess", "")]);
    assert_eq!(found(&ignoring.run(&["check", "--json"])), Vec::<String>::new());
}

#[test]
fn what_looks_like_code_of_a_server_is_named() {
    let files: &[(&str, &str)] = &[
        ("index.html", "<p>hi"),
        ("api/pay.js", "// pays\nexport default async function handler(req, res) {}"),
        ("app.js", "go()"),
    ];
    let found_in = |toml: &str| found(&site(toml, files).run(&["check", "--json"]));
    assert_eq!(found_in(""), ["server-code? dist/api/pay.js:2:1"]);
    assert!(found_in("exclude = [\"/api/\"]\n").is_empty());
    assert!(found_in("[check]\nignore = [\"server-code\"]\n").is_empty());
}

#[test]
fn a_password_of_one_environment_is_doubted_where_previews_do_not_ask_for_it() {
    let files: &[(&str, &str)] = &[("index.html", "<p>hi"), ("private/plan.html", "<p>plan")];
    let guard = |table: &str| format!("[[{table}]]\nfor = \"/private/*\"\nbasic_auth = [\"ann:secret\"]\n");
    let prod = guard("env.prod.headers");
    let ran = site(&prod, files).run(&["check", "--json"]);
    assert_eq!(found(&ran), ["open-preview? devanture.toml:3:0"]);
    assert!(!format!("{ran:?}").contains("ann:secret"), "{ran:#?}");
    for held in [guard("headers"), prod.clone() + &guard("env.preview.headers"), guard("env.preview.headers")] {
        assert!(found(&site(&held, files).run(&["check", "--json"])).is_empty(), "{held}");
    }
    let meant = prod + "[check]\nignore = [\"open-preview:/private/*\"]\n";
    assert!(found(&site(&meant, files).run(&["check", "--json"])).is_empty());
}

#[test]
fn a_pin_of_previews_is_doubted() {
    let files: &[(&str, &str)] = &[("index.html", "<p>hi")];
    let ran = site("[env.preview]\npin = \"session\"\n", files).run(&["check", "--json"]);
    assert_eq!(found(&ran), ["preview-pin? devanture.toml:4:0"]);
    let ignored = "[env.preview]\npin = \"session\"\n[check]\nignore = [\"preview-pin:pin\"]\n";
    for meant in ["pin = \"session\"\n", "pin = \"session\"\n[env.preview]\npin = \"off\"\n", ignored] {
        assert!(found(&site(meant, files).run(&["check", "--json"])).is_empty(), "{meant}");
    }
}

/// A site with a mistake of each kind: a link that leads out, a rule, a page, and a folder of the backend.
#[cfg(unix)]
fn site_of_mistakes(toml: &str) -> Project {
    let page = "<a href=\"/nothing\">broken</a><img src=\"/zebra.png\">";
    let project = site(toml, &[("index.html", page), ("_redirects", "/a https://elsewhere.example/ 200\n")]);
    std::os::unix::fs::symlink("/etc/hostname", project.path("dist/zebra.png")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", project.path("dist/again")).unwrap();
    project
}

#[cfg(unix)]
#[test]
fn no_mistake_hides_another_and_all_stand_in_the_order_of_files() {
    let project = site_of_mistakes("[server]\ncommand = [\"./run\"]\ndir = \"backend\"\n");
    project.file("backend/run", "x");
    std::os::unix::fs::symlink("/etc/hostname", project.path("backend/out")).unwrap();
    let expected = [
        "bundle backend/out:0:0",
        "rules dist/_redirects:1:0",
        "bundle dist/again:0:0",
        "broken-link dist/index.html:1:4",
        "bundle dist/zebra.png:0:0",
    ];
    let ran = project.run(&["check", "--json"]);
    let error = ran.failed("bad_bundle", 2);
    assert_eq!(found(&ran), expected, "the picture is there: fixing its link fixes the page");
    let files: Vec<&str> = error["mistakes"].as_array().unwrap().iter().map(|m| m["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["backend/out", "dist/_redirects", "dist/again", "dist/zebra.png"]);
    let ran = project.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    let lines: Vec<&str> = ran.stdout.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        lines,
        ["backend/out", "dist/_redirects:1", "dist/again", "dist/index.html:1:4", "dist/zebra.png"],
        "{ran:#?}"
    );
}

#[cfg(unix)]
#[test]
fn mistakes_of_devanture_toml_hide_none_of_the_files() {
    let project = site_of_mistakes("not_found = \"nothing\"\n");
    let ran = project.run(&["check", "--json"]);
    let error = ran.failed("bad_config", 2);
    let expected = [
        "config devanture.toml:3:0",
        "rules dist/_redirects:1:0",
        "bundle dist/again:0:0",
        "bundle dist/zebra.png:0:0",
    ];
    assert_eq!(found(&ran), expected);
    assert!(error["message"].as_str().unwrap().starts_with("The project has 4 mistakes."), "{error}");
    // A folder of pages outside neither hides a mistake in a rule nor is hidden by further mistakes.
    for (rule, expected) in [
        (
            "[[rewrites]]\nfrom = \"/a\"\nto = \"https://elsewhere.example/\"\n",
            ["config devanture.toml:2:0", "rules devanture.toml:3:0"],
        ),
        (
            "[[redirects]]\nfrom = \"/a\"\nto = \"https://:x/\"\n",
            ["config devanture.toml:2:0", "config devanture.toml:5:0"],
        ),
    ] {
        let project = Project::new(&[("devanture.toml", &format!("app = \"shop\"\nwww = \"/etc\"\n{rule}"))]);
        let ran = project.run(&["check", "--json"]);
        ran.failed("bad_config", 2);
        assert_eq!(found(&ran), expected, "{ran:#?}");
    }
}

#[test]
fn the_id_of_a_version_with_an_image_by_its_tag_is_not_printed_since_a_push_alone_knows_it() {
    let with = |image: &str| {
        let server = format!("[server]\nimage = \"registry.example.org/team/api{image}\"\nroutes = [\"/api/*\"]\n");
        site(&server, &[("index.html", "<h1>page</h1>")])
    };
    let (tagged, fixed) = (with(":1.4"), with(&format!("@sha256:{}", "0a".repeat(32))));
    let ran = tagged.run(&["check"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("what the tag of registry.example.org/team/api:1.4 leads to"), "{ran:#?}");
    assert!(!ran.stdout.contains("version "), "{ran:#?}");
    assert_eq!(tagged.run(&["check", "--json"]).json()["version"], Value::Null);
    assert!(fixed.run(&["check"]).stdout.contains(": version "));
    assert!(fixed.run(&["check", "--json"]).json()["version"].is_string());
}

#[test]
fn pages_that_get_no_hashes_take_no_place_of_those_that_do() {
    let shadow = "<template shadowrootmode=open><script src=/a.js></script></template>";
    let names: Vec<String> = (0..2_000).map(|number| format!("p{number:04}.html")).collect();
    let mut files = vec![("a.js", ""), ("a.html", shadow), ("b.xhtml", "<p/>")];
    files.extend(names.iter().map(|name| (name.as_str(), "<script src=/a.js></script>")));
    let check = |files: &[(&str, &str)]| site("integrity = \"report\"\n", files).run(&["check", "--json"]);
    assert_eq!(found(&check(&files)), ["no-hash? dist/a.html:0:0"]);
    files.extend([("q.html", "<script src=/a.js></script>"), ("r.html", shadow)]);
    let ran = check(&files);
    assert_eq!(found(&ran), ["no-hash? dist/a.html:0:0", "no-hash? dist/q.html:0:0"]);
    assert_eq!(ran.json()["findings"][1]["message"], "2 pages from here on get no hashes");
}

#[test]
fn what_enforce_would_block_is_found_before_anything_is_pushed() {
    let toml = "integrity = \"enforce\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n";
    let page = "<!doctype html>\n\
                <script src=\"https://cdn.example/a.js\"></script>\n\
                <script src=\"https://cdn.example/b.js\" integrity=\"sha256-x\"></script>\n\
                <script src=\"https://cdn.example/c.js\" integrity=\"sha256-x\" crossorigin></script>\n\
                <script src=/api/x.js></script>\n\
                <link rel=stylesheet href=/a.css><script type=module src=/main.js></script>\n";
    let refusing = "<meta http-equiv=Content-Security-Policy content=\"script-src 'self'\">\n\
                    <script type=module src=/main.js></script>";
    let files = [
        ("index.html", page),
        ("meta.html", refusing),
        ("main.js", "import \"https://cdn.example/d.js\"; import(\"./late.js\"); [\"assets/late.css\", \"a.css\"];"),
        ("late.js", "import('./' + 'computed.js')"),
        ("tag.js", "s.src='/added.js';l.href='/assets/late.css'"),
        ("write.js", "document.write('<script src=\"/added.js\"><\\/script>')"),
        ("added.js", ""),
        ("shadow.html", "<p><template shadowrootmode=open><script src=/added.js></script></template>"),
        ("a.css", ""),
        ("assets/late.css", ""),
    ];
    let ran = site(toml, &files).run(&["check", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(
        found(&ran),
        [
            "no-hash? dist/index.html:2:9",
            "no-hash? dist/index.html:3:9",
            "no-hash? dist/index.html:5:9",
            "no-hash? dist/main.js:1:9",
            "no-hash? dist/meta.html:0:0",
            "no-hash? dist/shadow.html:0:0",
            "no-hash? dist/tag.js:1:8",
            "no-hash? dist/write.js:1:30",
        ]
    );
    let findings = &ran.json()["findings"];
    assert_eq!(findings[0]["message"], "`https://cdn.example/a.js` has no hash: browsers do not load it");
    // Browsers block no style sheets, not even of a script.
    assert_eq!(findings[4]["target"], "/late.js");
    assert_eq!([&findings[6]["target"], &findings[7]["target"]], ["/added.js"; 2]);
    // Pages without hashes have no such findings, nor pages with the finding ignored.
    for toml in ["", "integrity = \"report\"\n[check]\nignore = [\"no-hash\"]\n"] {
        let lines = format!("{toml}[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n");
        assert_eq!(found(&site(&lines, &files).run(&["check", "--json"])), [""; 0]);
    }
}
