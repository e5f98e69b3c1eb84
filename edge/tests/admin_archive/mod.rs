//! A whole bundle in one request: valid and invalid archives of every kind, sent to a running edge.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod limits;

use crate::support;
use crate::support::archives::{
    KINDS, archive, claiming, counting, encrypted, form, gzip, media_type, replaced, stored_zip, tar, tar_with, zip,
    zip_with_link,
};
use crate::support::{Files, Got, RunningEdge, edge, eventually, got, manifest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use devanture_config::api::{
    BeginDeploy, DeployReport, DeployState, DeployStatus, History, Outcome, Scope, Step, StepState,
};
use devanture_config::problem::Code;
use futures_util::stream;
use http::{Method, StatusCode};

const DEPLOYS: &str = "/v1/apps/shop/environments/prod/deploys";
const SITE: Files<'_> = &[("index.html", b"<h1>Hi</h1>"), ("assets/a.js", b"let a;"), ("empty.txt", b"")];
const FIRST: Files<'_> = &[("index.html", b"first")];

async fn send(edge: &RunningEdge, query: &str, media_type: &str, body: Vec<u8>) -> Got {
    let request = edge.api(Method::POST, &format!("{DEPLOYS}{query}")).header("content-type", media_type);
    got(request.body(body)).await
}

/// Sends an archive that must be refused, and checks that no state changed and no files are left.
async fn refused(edge: &RunningEdge, media_type: &str, body: Vec<u8>) -> devanture_config::problem::Problem {
    let problem = send(edge, "", media_type, body).await.problem();
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "first");
    eventually("no temporary file is left", async || edge.leftovers().is_empty()).await;
    problem
}

#[tokio::test]
async fn every_kind_is_pushed_raw_and_as_a_form_and_means_what_a_push_means() {
    let edge = edge().start().await;
    let id = manifest(SITE).id();
    for kind in KINDS {
        for as_form in [false, true] {
            let (app, archive) = (format!("{}-{as_form}", kind.replace('.', "")), archive(kind, SITE));
            let (media_type, body) = match as_form {
                true => form(&[("bundle", Some(&format!("www.{kind}")), &archive)]),
                false => (media_type(kind).to_owned(), archive),
            };
            let path = format!("/v1/apps/{app}/environments/prod/deploys");
            let request = edge.api(Method::POST, &path).header("content-type", media_type).body(body);
            let answer = got(request).await;
            assert_eq!(answer.status, StatusCode::OK, "{kind}: {}", answer.text());
            let report: DeployReport = answer.json();
            assert_eq!((report.version, report.previous, report.switched), (id, None, true), "{kind}");
            assert_eq!((report.files.total, report.files.new, report.bytes.total, report.bytes.sent), (3, 3, 17, 17));
            let steps: Vec<&str> = report.steps.iter().map(|step| step.name.as_str()).collect();
            assert_eq!(steps, ["upload", "verify", "compress", "prepare", "switch"]);
            assert_eq!(edge.get(&format!("{app}.localhost"), "/assets/a.js").await.text(), "let a;");
        }
    }
    assert!(edge.leftovers().is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn an_archive_is_known_by_its_bytes() {
    let edge = edge().start().await;
    for kind in KINDS {
        assert_eq!(send(&edge, "", "application/octet-stream", archive(kind, SITE)).await.status, StatusCode::OK);
    }
    let push = edge.push("shop", SITE).await;
    assert!(!push.switched, "the same content is the same version");
    assert_eq!(send(&edge, "", "text/html", zip(SITE)).await.code(), Code::UnsupportedType);
    for nothing in [Vec::new(), b"<h1>Hi</h1>".to_vec(), vec![b'x'; 10_000]] {
        assert_eq!(send(&edge, "", "application/zip", nothing).await.code(), Code::BadArchive);
    }
    let no_tar = send(&edge, "", "application/zip", gzip(b"no tar")).await;
    assert_eq!(no_tar.code(), Code::ArchiveCutOff, "it may have become one");
    for empty in [zip(&[]), tar(&[]), tar(&[(".env", b"")])] {
        assert_eq!(send(&edge, "", "application/octet-stream", empty).await.code(), Code::EmptyBundle);
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_query_and_the_form_say_how_and_why() {
    let edge = edge().with_app("shop", FIRST).start().await;
    let fields = form(&[
        ("message", None, b"from the form"),
        ("bundle", Some("www.zip"), &zip(SITE)),
        ("commit", None, b"4f2a91b"),
        ("branch", None, b"main"),
    ]);
    let report: DeployReport =
        send(&edge, "?no_switch=1&message=from+the+query", &fields.0, fields.1.clone()).await.json();
    assert!(!report.switched);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "first");
    let history = "/v1/apps/shop/environments/prod/history";
    let history: History = got(edge.api(Method::GET, history)).await.json();
    let source = &history.deploys[0].source;
    assert_eq!(history.deploys[0].outcome, Outcome::Stored);
    assert_eq!(
        (source.message.as_deref(), source.commit.as_deref(), source.branch.as_deref()),
        (Some("from the form"), Some("4f2a91b"), Some("main"))
    );
    assert_eq!(send(&edge, "?if_live=abcdef", &fields.0, fields.1.clone()).await.code(), Code::LiveMoved);
    let live = manifest(FIRST).id().to_string();
    let report: DeployReport = send(&edge, &format!("?if_live={live}"), &fields.0, fields.1).await.json();
    assert!(report.switched);
    edge.stop().await;
}

#[tokio::test]
async fn a_form_that_is_none_is_refused() {
    let edge = edge().with_app("shop", FIRST).start().await;
    let zip = zip(SITE);
    let bundle: (&str, Option<&str>, &[u8]) = ("bundle", Some("www.zip"), &zip);
    let (media_type, whole) = form(&[bundle]);
    let cut = whole[..whole.len() - 70].to_vec();
    let long = vec![b'x'; 70_000];
    for (fields, code) in [
        (vec![], Code::BadRequest),
        (vec![("message", None, &b"x"[..])], Code::BadRequest),
        (vec![bundle, bundle], Code::BadRequest),
        (vec![bundle, ("mesage", None, b"x")], Code::BadRequest),
        (vec![bundle, ("message", None, b"\xff")], Code::BadRequest),
        (vec![bundle, ("message", None, &long)], Code::TooLarge),
        (vec![("bundle", Some("www.zip"), b"no zip")], Code::BadArchive),
        (vec![("message", None, &b"x"[..]); 20], Code::BadRequest),
    ] {
        assert_eq!(refused(&edge, &media_type, form(&fields).1).await.code, code, "{fields:?}");
    }
    let mut endless = b"----------------------------d74496d66958873e\r\nX: ".to_vec();
    endless.resize(5_000_000, b'x');
    for body in [cut, endless, b"nothing".to_vec(), vec![b'x'; 5_000_000]] {
        assert_eq!(refused(&edge, &media_type, body).await.code, Code::BadRequest);
    }
    assert_eq!(refused(&edge, "multipart/form-data", whole).await.code, Code::BadRequest);
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_gets_an_address() {
    let edge = edge().start().await;
    let request = edge.api(Method::POST, DEPLOYS).header("prefer", "wait=5, respond-async");
    let answer = got(request.header("content-type", "application/zip").body(zip(SITE))).await;
    assert_eq!((answer.status, answer.header("preference-applied")), (StatusCode::ACCEPTED, "respond-async"));
    let (begun, location): (DeployStatus, _) = (answer.json(), answer.header("location").to_owned());
    assert_eq!(location, format!("/v1/apps/shop/deploys/{}", begun.deploy));
    let status = async || got(edge.api(Method::GET, &location)).await.json::<DeployStatus>();
    eventually("it is live", async || status().await.state == DeployState::Live).await;
    let ended = status().await;
    assert_eq!(ended.report.unwrap().version, manifest(SITE).id());
    assert!(ended.steps.iter().all(|step| step.state == StepState::Done), "{:?}", ended.steps);

    let request = edge.api(Method::POST, DEPLOYS).header("prefer", "respond-async");
    let bad = replaced(stored_zip(SITE), b"let a;", b"let b;");
    let answer = got(request.header("content-type", "application/zip").body(bad)).await;
    let failing = answer.header("location").to_owned();
    let status = async |path: &str| got(edge.api(Method::GET, path)).await.json::<DeployStatus>();
    eventually("it failed", async || status(&failing).await.state == DeployState::Failed).await;
    assert_eq!(status(&failing).await.problem.unwrap().code, Code::ArchiveDamaged);

    let reader = edge.token_for(Scope::Read, Some("other"), None).await;
    assert_eq!(got(edge.ask(Method::GET, &location, &reader)).await.code(), Code::NotFound);
    let elsewhere = location.replace("shop", "other");
    assert_eq!(got(edge.ask(Method::GET, &elsewhere, &reader)).await.code(), Code::NotFound);

    let edge = edge.restart().await;
    let remembered: DeployStatus = got(edge.api(Method::GET, &location)).await.json();
    assert_eq!((remembered.state, remembered.version), (DeployState::Live, Some(manifest(SITE).id())));
    assert_eq!(remembered.steps.len(), 5);
    for unknown in [failing.as_str(), "/v1/apps/shop/deploys/x", "/v1/apps/shop/deploys/ffffffffffffffffffffff"] {
        assert_eq!(got(edge.api(Method::GET, unknown)).await.code(), Code::NotFound, "{unknown}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_push_of_a_manifest_has_an_address_too() {
    let edge = edge().start().await;
    let begin = BeginDeploy { manifest: manifest(SITE), source: Default::default(), options: Default::default() };
    let begun: devanture_config::api::DeployBegun = got(edge.api(Method::POST, DEPLOYS).json(&begin)).await.json();
    let path = format!("/v1/apps/shop/deploys/{}", begun.deploy);
    let status: DeployStatus = got(edge.api(Method::GET, &path)).await.json();
    assert_eq!((status.state, status.version), (DeployState::Begun, Some(manifest(SITE).id())));
    assert_eq!(got(edge.api(Method::POST, &format!("{path}/finish"))).await.code(), Code::BlobMissing);
    assert_eq!(got(edge.api(Method::GET, &path)).await.json::<DeployStatus>().state, DeployState::Begun);
    let report = edge.push("shop", SITE).await;
    let path = format!("/v1/apps/shop/deploys/{}", report.deploy.unwrap());
    assert_eq!(got(edge.api(Method::GET, &path)).await.json::<DeployStatus>().state, DeployState::Live);
    edge.stop().await;
}

#[tokio::test]
async fn the_steps_are_streamed_to_who_asks_for_events() {
    let edge = edge().start().await;
    let request = edge.api(Method::POST, DEPLOYS).header("accept", "text/event-stream");
    let answer = got(request.header("content-type", "application/zip").body(zip(SITE))).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.text();
    let events: Vec<(&str, &str)> =
        text.split_terminator("\n\n").map(|event| event.split_once("\ndata: ").unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.iter().filter(|name| **name == "event: step").count(), 10, "{text}");
    assert_eq!(names.last(), Some(&"event: done"));
    let first: Step = serde_json::from_str(events[0].1).unwrap();
    assert_eq!((first.name.as_str(), first.state), ("upload", StepState::Started));
    let report: DeployReport = serde_json::from_str(events.last().unwrap().1).unwrap();
    assert_eq!(report.version, manifest(SITE).id());
    edge.stop().await;
}

#[tokio::test]
async fn bad_archives_are_refused_and_change_nothing() {
    use tar::EntryType as Type;
    let edge = edge().with_app("shop", FIRST).start().await;
    let file = |name: &[u8]| tar_with(name, Type::Regular, b"");
    let zipped =
        |from: &str, to: &str| replaced(zip(&[("index.html", b"hi"), (from, b"x")]), from.as_bytes(), to.as_bytes());
    let cut = |kind: &str| {
        let mut archive = archive(kind, SITE);
        archive.truncate(archive.len() * 2 / 3);
        archive
    };
    for (code, what, archive) in [
        (Code::PathEscapes, "../evil", file(b"../evil")),
        (Code::PathEscapes, "a/../../evil", file(b"a/../../evil")),
        (Code::PathEscapes, "/etc/passwd", file(b"/etc/passwd")),
        (Code::PathEscapes, "../evil", zipped("aa/evil", "../evil")),
        (Code::PathEscapes, "/etc/passwd", zipped("xetc/passwd", "/etc/passwd")),
        (Code::ArchiveLink, "symbolic link", tar_with(b"link", Type::Symlink, b"../../etc/passwd")),
        (Code::ArchiveLink, "symbolic link", tar_with(b"link", Type::Symlink, b"index.html")),
        (Code::ArchiveLink, "hard link", tar_with(b"link", Type::Link, b"/etc/passwd")),
        (Code::ArchiveLink, "symbolic link", zip_with_link("../../etc/passwd")),
        (Code::ArchiveSpecial, "device", tar_with(b"null", Type::Char, b"")),
        (Code::ArchiveSpecial, "device", tar_with(b"disk", Type::Block, b"")),
        (Code::ArchiveSpecial, "pipe", tar_with(b"pipe", Type::Fifo, b"")),
        (Code::ArchiveSpecial, "not known", tar_with(b"volume", Type::new(b'V'), b"")),
        (Code::DuplicatePath, "`index.html` stands twice", file(b"index.html")),
        (Code::DuplicatePath, "`index.html` stands twice", file(b"./index.html")),
        (Code::DuplicatePath, "same name", zipped("endex.html", "index.html")),
        (Code::DuplicatePath, "both a file and a folder", file(b"index.html/a")),
        (Code::DuplicatePath, "both a file and a folder", tar_with(b"index.html/", Type::Directory, b"")),
        (Code::BadPath, "control character", file(b"a\nb")),
        (Code::BadPath, "control character", zipped("a_b", "a\x01b")),
        (Code::BadPath, "backslash", file(b"a\\b")),
        (Code::BadPath, "not UTF-8", file(b"caf\xe9.html")),
        (Code::BadArchive, "encrypted", encrypted(zip(SITE))),
        (Code::ArchiveDamaged, "damaged", replaced(stored_zip(SITE), b"let a;", b"let b;")),
        (Code::ArchiveDamaged, "larger than its declared", claiming(zip(SITE), 3)),
        (Code::ArchiveDamaged, "does not have the 50 bytes", claiming(zip(SITE), 50)),
        (Code::ArchiveDamaged, "more entries than it counts", counting(zip(SITE), 1)),
        (Code::ArchiveCutOff, "cut off", cut("zip")),
        (Code::ArchiveCutOff, "cut off", cut("tar")),
        (Code::ArchiveCutOff, "cut off", cut("tar.gz")),
        (Code::ArchiveCutOff, "cut off", cut("tar.zst")),
    ] {
        let problem = refused(&edge, "application/octet-stream", archive).await;
        assert_eq!(problem.code, code, "{what}: {problem:?}");
        assert!(problem.detail.contains(what), "{what}: {}", problem.detail);
    }
    let twice: Files<'_> = &[("\u{fc}.txt", b"1"), ("u\u{308}.txt", b"2")];
    for kind in KINDS {
        let problem = refused(&edge, "application/octet-stream", archive(kind, twice)).await;
        assert_eq!(problem.code, Code::DuplicatePath, "{kind}: {problem:?}");
        assert!(problem.detail.contains("spelled otherwise in Unicode"), "{kind}: {problem:?}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn names_that_differ_in_case_are_two_files_where_that_is_meant() {
    let edge = edge().with_app("shop", FIRST).start().await;
    let files: Files<'_> = &[("index.html", b"hi"), ("README", b"1"), ("readme", b"2")];
    for kind in KINDS {
        let problem = refused(&edge, "application/octet-stream", archive(kind, files)).await;
        assert_eq!(problem.code, Code::CaseCollision, "{kind}: {problem:?}");
        assert!(problem.detail.contains("`README` and `readme`"), "{kind}: {problem:?}");
    }
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    let begun = edge.try_push("shop", "prod", begin, &[]).await.unwrap_err();
    assert_eq!(begun.code, Code::CaseCollision, "as a manifest, before anything is sent");
    assert_eq!(send(&edge, "?allow_warnings", "application/zip", zip(files)).await.status, StatusCode::OK);
    for (path, text) in [("/README", "1"), ("/readme", "2")] {
        assert_eq!(edge.get("shop.localhost", path).await.text(), text);
    }
    edge.stop().await;
}

/// RFC 9530.
#[tokio::test]
async fn a_body_that_does_not_have_its_digest_is_not_taken() {
    let edge = edge().with_app("shop", FIRST).start().await;
    let digest = |body: &[u8]| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
        format!("sha-256=:{}:", BASE64_STANDARD.encode(digest))
    };
    let push = async |media_type: &str, body: Vec<u8>, field: String| {
        let request = edge.api(Method::POST, DEPLOYS).header("content-type", media_type);
        got(request.header("content-digest", field).body(body)).await
    };
    let boundary = "bundle-of-bytes";
    let head = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"bundle\"; filename=\"a.zip\"\r\n\r\n");
    let form = [head.as_bytes(), &zip(SITE), format!("\r\n--{boundary}--\r\nepilogue").as_bytes()].concat();
    let bodies = [
        ("application/gzip", archive("tar.gz", SITE)),
        ("application/zip", zip(SITE)),
        ("multipart/form-data; boundary=bundle-of-bytes", form),
    ];
    for (media_type, body) in &bodies {
        let refused = push(media_type, body.clone(), digest(b"another body")).await;
        assert_eq!(refused.code(), Code::DigestMismatch, "{media_type}: {refused:?}");
        let unread = push(media_type, body.clone(), "sha-256=AAAA".to_owned()).await;
        assert_eq!(unread.code(), Code::BadRequest, "{media_type}: {unread:?}");
        assert_eq!(edge.get("shop.localhost", "/").await.text(), "first");
    }
    eventually("no temporary file is left", async || edge.leftovers().is_empty()).await;
    for (media_type, body) in &bodies {
        let taken = push(media_type, body.clone(), digest(body)).await;
        assert_eq!(taken.status, StatusCode::OK, "{media_type}: {taken:?}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_no_bundle_holds_is_left_out_and_rule_files_are_not_served() {
    let edge = edge().start().await;
    let files: Files<'_> = &[
        ("index.html", b"hi"),
        (".DS_Store", b"x"),
        (".env", b"SECRET=1"),
        (".git/config", b"x"),
        ("__MACOSX/._index.html", b"x"),
        ("node_modules/b/c.js", b"x"),
        ("_worker.js", b"x"),
        ("vercel.json", b"{}"),
        ("netlify/functions/pay.js", b"x"),
        ("api/pay.js", b"x"),
        ("drafts/a.txt", b"x"),
        ("tls/server.KEY", b"x"),
        ("tls/chain.pem", b"x"),
        ("keys/id_rsa", b"x"),
        ("id_ed25519", b"x"),
        (".npmrc", b"x"),
        ("home/_netrc", b"x"),
        ("store.p12", b"x"),
        ("_redirects", b"/old / 301\n"),
        ("devanture.toml", b"not_found = \"none\"\nexclude = [\"/api/\", \"a.txt\"]\n"),
    ];
    for kind in KINDS {
        let report: DeployReport = send(&edge, "?no_switch", media_type(kind), archive(kind, files)).await.json();
        assert_eq!(report.files.total, 3, "{kind}");
    }
    let report: DeployReport = send(&edge, "", "application/zip", zip(files)).await.json();
    assert!(report.switched);
    for (path, _) in &files[1..] {
        assert_eq!(edge.get("shop.localhost", &format!("/{path}")).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    // A `node_modules` folder in the build output is content, unlike the package folder in the project.
    let files: Files<'_> = &[("index.html", b"hi"), ("assets/node_modules/font.ttf", b"font")];
    let report: DeployReport = send(&edge, "", "application/zip", zip(files)).await.json();
    assert!(report.switched && report.files.total == 2);
    let font = edge.get("shop.localhost", "/assets/node_modules/font.ttf").await;
    assert_eq!((font.status, &font.body[..]), (StatusCode::OK, &b"font"[..]));
    edge.stop().await;
}

#[tokio::test]
async fn the_settings_of_an_archive_count_and_their_mistakes_have_lines() {
    let edge = edge().with_app("shop", FIRST).start().await;
    let files: Files<'_> =
        &[("index.html", b"hi"), ("devanture.toml", b"app = \"shop\"\nnot_fuond = \"none\"\nhtml_handling = 3\n")];
    let problem = refused(&edge, "application/zip", zip(files)).await;
    assert_eq!(problem.code, Code::BadConfig);
    let lines: Vec<(&str, usize)> = problem.mistakes.iter().map(|m| (m.file.as_str(), m.line)).collect();
    assert_eq!(lines, [("devanture.toml", 2), ("devanture.toml", 3)]);
    let files: Files<'_> = &[("site/index.html", b"hi"), ("site/devanture.toml", b"\n\n\xff")];
    let problem = refused(&edge, "application/zip", zip(files)).await;
    assert_eq!((problem.mistakes[0].file.as_str(), problem.mistakes[0].line), ("site/devanture.toml", 3));

    let toml = b"not_found = \"single-page-application\"\n[env.prod]\nhtml_handling = \"none\"\n";
    let files: Files<'_> = &[("index.html", b"app"), ("page.html", b"page"), ("devanture.toml", toml)];
    assert_eq!(send(&edge, "", "application/gzip", archive("tar.gz", files)).await.status, StatusCode::OK);
    let request = edge.visit(Method::GET, "shop.localhost", "/page").header("sec-fetch-mode", "navigate");
    assert_eq!(got(request).await.text(), "app");

    // A token with the push scope alone must not add routes to private addresses, in an archive either.
    let toml = b"[[routes]]\npath = \"/api/*\"\nto = \"http://169.254.169.254\"\n";
    let files: Files<'_> = &[("index.html", b"app"), ("devanture.toml", toml)];
    let token = edge.token(Scope::Push).await;
    let request = edge.ask(Method::POST, DEPLOYS, &token).header("content-type", "application/zip").body(zip(files));
    assert_eq!(got(request).await.code(), Code::UpstreamForbidden);
    edge.stop().await;
}

#[tokio::test]
async fn the_folder_that_is_plainly_meant_is_the_bundle() {
    let edge = edge().start().await;
    let toml: &[u8] = b"www = \"./dist/\"\n";
    let cases: [(Files<'_>, Files<'_>); 7] = [
        // One wrapping folder, with a page inside.
        (
            &[("www/index.html", b"1"), ("www/a.js", b"2"), ("__MACOSX/www/._a.js", b"x")],
            &[("index.html", b"1"), ("a.js", b"2")],
        ),
        // Without a page, the folder may be intended.
        (&[("files/a.js", b"2")], &[("files/a.js", b"2")]),
        // Not a wrapping folder: another file is beside the folder.
        (&[("www/index.html", b"1"), ("robots.txt", b"2")], &[("www/index.html", b"1"), ("robots.txt", b"2")]),
        // The folder named in `devanture.toml`.
        (&[("devanture.toml", toml), ("dist/index.html", b"1"), ("src/a.ts", b"x")], &[("index.html", b"1")]),
        (&[("site/devanture.toml", toml), ("site/dist/index.html", b"1")], &[("index.html", b"1")]),
        // The default folder of the command line.
        (&[("devanture.toml", b""), ("www/index.html", b"1"), ("README", b"x")], &[("index.html", b"1")]),
        // Settings file inside the site.
        (&[("devanture.toml", toml), ("index.html", b"1")], &[("devanture.toml", toml), ("index.html", b"1")]),
    ];
    for (files, expected) in cases {
        let report: DeployReport = send(&edge, "?no_switch", "application/x-tar", tar(files)).await.json();
        assert_eq!(report.version, manifest(expected).id(), "{files:?}");
    }
    // The manifest notes a guess about rule files, like the note of the command line.
    let rules: Files<'_> = &[("index.html", b"1"), ("_redirects", b"")];
    let report: DeployReport = send(&edge, "?no_switch", "application/x-tar", tar(rules)).await.json();
    let mut noted = manifest(rules);
    noted.guessed_rules = Some(devanture_config::site_toml::Rules::Netlify);
    assert_eq!(report.version, noted.id());
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing() {
    let edge = edge().with_app("shop", FIRST).start().await;
    for kind in KINDS {
        let half = archive(kind, SITE);
        let half = half[..half.len() / 2].to_vec();
        let chunks = stream::iter([Ok(half), Err(std::io::Error::other("the client is gone"))]);
        let request = edge.api(Method::POST, DEPLOYS).header("content-type", media_type(kind));
        let answer = support::try_got(request.body(reqwest::Body::wrap_stream(chunks))).await;
        assert!(answer.is_err(), "{kind}: {answer:?}");
        eventually("no temporary file is left", async || edge.leftovers().is_empty()).await;
    }
    assert_eq!(edge.live("shop").await, Some(manifest(FIRST).id()));
    assert_eq!(send(&edge, "", "application/zip", zip(SITE)).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn a_token_may_push_archives_where_it_may_push() {
    let edge = edge().with_app("shop", FIRST).start().await;
    for (scope, app, environment, code) in [
        (Scope::Read, None, None, Code::Forbidden),
        (Scope::Push, Some("other"), None, Code::NotFound),
        (Scope::Push, None, Some("staging"), Code::Forbidden),
    ] {
        let token = edge.token_for(scope, app, environment).await;
        let request = edge.ask(Method::POST, DEPLOYS, &token).header("content-type", "application/zip");
        assert_eq!(got(request.body(zip(SITE))).await.code(), code);
    }
    edge.stop().await;
}
