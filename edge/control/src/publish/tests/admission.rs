//! Tests of the admission of bundles: each bound at its value, and beyond.

use std::collections::BTreeMap;

use devanture_config::api::{BeginDeploy, DeployOptions, Source};
use devanture_config::limits::Limits;
use devanture_config::manifest::{FileEntry, ServerFile, ServerFolder};
use devanture_config::problem::Code;
use devanture_config::site_toml::SiteFile;
use devanture_config::{AppName, Digest, Manifest, PlaceName};
use serde_json::{Value, json};

use super::collections::world::{World, name, world, world_with};
use crate::ledger::{Actor, Error};
use crate::publish::admission::{SOURCE_CHARACTERS_MAX, check_cases, check_options, check_source};
use crate::switch::check_reason;

fn manifest(files: &[(&str, u64)]) -> Manifest {
    let entry = |size: u64| FileEntry { hash: Digest::of(&size.to_le_bytes()), size, media_type: None };
    let files: BTreeMap<_, _> = files.iter().map(|(path, size)| (path.parse().unwrap(), entry(*size))).collect();
    Manifest::of_files(files)
}

fn code(result: Result<(), Error>) -> Result<(), Code> {
    result.map_err(|Error(problem)| problem.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_refused_beyond_each_limit_and_not_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        bundle_files_max: 2,
        bundle_bytes_max: 100,
        file_bytes_max: 60,
        path_bytes_max: 10,
        segment_bytes_max: 5,
        ..Limits::default()
    };
    let world = world_with(folder.path(), 9, limits).await;
    let check = |files: &[(&str, u64)]| code(world.publisher.check_manifest(&name(0), &manifest(files)));
    for fine in [&[("a", 60), ("b", 40)][..], &[("ab/cd/efgh", 1)], &[("abcde", 0)]] {
        assert_eq!(check(fine), Ok(()), "{fine:?}");
    }
    let refused = [
        (&[][..], Code::EmptyBundle),
        (&[("a", 1), ("b", 1), ("c", 1)][..], Code::BundleTooLarge),
        (&[("a", 60), ("b", 41)][..], Code::BundleTooLarge),
        (&[("a", 61)][..], Code::BundleTooLarge),
        (&[("ab/cd/efghi", 1)][..], Code::PathTooLong),
        (&[("abcdef", 1)][..], Code::PathTooLong),
    ];
    for (files, expected) in refused {
        assert_eq!(check(files), Err(expected), "{files:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_11_the_folders_that_the_files_of_a_backend_imply_have_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_with(folder.path(), 9, Limits { bundle_files_max: 5, ..Limits::default() }).await;
    let base = SiteFile::parse("devanture.toml", "[server]\ncommand = [\"node\", \"main.js\"]\n").unwrap().base;
    let check = |path: &str| {
        let file = ServerFile { hash: Digest::of(b"1"), run: false, size: 1 };
        let server = ServerFolder { files: [(path.parse().unwrap(), file)].into(), ..ServerFolder::default() };
        let manifest = Manifest { base: base.clone(), server: Some(server), ..manifest(&[("a", 1)]) };
        code(world.publisher.check_manifest(&name(0), &manifest))
    };
    assert_eq!(check("1/2/3/4/5/main.js"), Ok(()));
    assert_eq!(check("1/2/3/4/5/6/main.js"), Err(Code::BundleTooLarge));
}

#[test]
fn what_people_say_of_a_push_is_bounded_and_printable() {
    let reason = |reason: &str| code(check_reason(Some(reason)));
    assert_eq!((reason(&"ä".repeat(500)), reason(&"ä".repeat(501))), (Ok(()), Err(Code::BadRequest)));
    assert_eq!(reason("one\ntwo"), Err(Code::BadRequest));
    let options = DeployOptions { reason: Some("one\ntwo".to_owned()), ..DeployOptions::default() };
    assert_eq!(code(check_options(&options)), Err(Code::BadRequest));
    let limits = Limits::default();
    let check = |source: Source| code(check_source(&source, &limits));
    let message = |text: &str| check(Source { message: Some(text.to_owned()), ..Source::default() });
    let branch = |text: &str| check(Source { branch: Some(text.to_owned()), ..Source::default() });
    let (longest, longer) = ("ä".repeat(SOURCE_CHARACTERS_MAX), "ä".repeat(SOURCE_CHARACTERS_MAX + 1));
    for (text, expected) in
        [(&*longest, Ok(())), (&longer, Err(Code::BadRequest)), ("\u{1b}[2J", Err(Code::BadRequest))]
    {
        assert_eq!((message(text), branch(text)), (expected, expected), "{text}");
    }
    assert_eq!((message("one\n\ttwo"), branch("one\ttwo")), (Ok(()), Err(Code::BadRequest)));
    // Each text alone, and the total: half of a history entry.
    let long = |bytes: usize| Some("x".repeat(bytes));
    let all = |limits: &Limits| {
        let (message, commit, branch) = (long(4_096), long(4_096), long(4_096));
        code(check_source(&Source { message, commit, branch, url: long(4_096), ..Source::default() }, limits))
    };
    let small = Limits { history_entry_bytes_max: 32_768, ..Limits::default() };
    assert_eq!((all(&limits), all(&small)), (Ok(()), Err(Code::BadRequest)));
}

#[test]
fn paths_that_differ_in_their_case_alone_pass_with_warnings_alone() {
    let manifest = manifest(&[("About.html", 1), ("about.html", 1)]);
    let allowed = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    assert_eq!(code(check_cases(&manifest, &DeployOptions::default())), Err(Code::CaseCollision));
    assert_eq!(code(check_cases(&manifest, &allowed)), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_checked_by_itself_before_anything_is_done_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let check = |manifest: Manifest, source: Value, options: Value| {
        let (source, options) = (serde_json::from_value(source).unwrap(), serde_json::from_value(options).unwrap());
        let memory = world.publisher.uploads.manifest_memory.hold(&name(0), &PlaceName::prod());
        let checked = world.publisher.checked(BeginDeploy { manifest, source, options }, memory);
        code(checked.map(drop))
    };
    let one = || manifest(&[("a", 1)]);
    let cases = || manifest(&[("a", 1), ("A", 1)]);
    assert_eq!(check(one(), json!({}), json!({ "watch_s": 1, "if_live": "4f2a91" })), Ok(()));
    // The other half provides the files.
    assert_eq!(check(manifest(&[]), json!({}), json!({ "only": "backend", "with": "4f2a91" })), Ok(()));
    for (manifest, source, options, expected) in [
        (one(), json!({ "branch": "one\ntwo" }), json!({}), Code::BadRequest),
        (one(), json!({}), json!({ "if_live": "zzz" }), Code::BadRequest),
        (one(), json!({}), json!({ "watch_s": 0 }), Code::BadRequest),
        (one(), json!({}), json!({ "with": "4f2a91" }), Code::BadRequest),
        (manifest(&[]), json!({}), json!({}), Code::EmptyBundle),
        (cases(), json!({}), json!({}), Code::CaseCollision),
    ] {
        assert_eq!(check(manifest, source.clone(), options.clone()), Err(expected), "{source} {options}");
    }
}

/// Law 11.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_for_which_there_is_no_memory_is_refused_as_such_however_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_with(folder.path(), 9, Limits { manifest_memory_bytes_max: 100, ..Limits::default() }).await;
    let begin = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        serde_json::to_vec(&json!({ "manifest": manifest(&files) })).unwrap()
    };
    let read = async |pieces: &[&[u8]]| {
        let mut intake = world.publisher.manifest_intake((&name(0), &PlaceName::prod()), |_begin| {});
        for piece in pieces {
            intake.write(piece.to_vec().into()).await?;
        }
        intake.end().await.map(drop)
    };
    let whole = begin(1);
    assert_eq!(code(read(&[&whole]).await), Err(Code::Busy));
    // A large manifest is parsed as received, on another thread.
    let large = begin(2_000);
    assert_eq!(code(read(&[&large[..100_000], &large[100_000..]]).await), Err(Code::Busy));
    assert_eq!(world.publisher.uploads.manifest_memory.bytes().0, 0);
}

/// Law 11.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_takes_the_memory_of_pushes_of_the_app_that_has_the_most() {
    let read = async |world: &World, app: &AppName, files: usize| {
        let names: Vec<String> = (10..10 + files).map(|number| number.to_string()).collect();
        let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let text = serde_json::to_vec(&json!({ "manifest": manifest(&files) })).unwrap();
        let mut intake = world.publisher.manifest_intake((app, &PlaceName::prod()), |_begin| {});
        intake.write(text.into()).await?;
        intake.end().await
    };
    let held = |world: &World| world.publisher.uploads.manifest_memory.bytes().0;
    let (greedy, shop) = (name(0), name(1));
    let folder = tempfile::tempdir().unwrap();
    let unbounded = world(folder.path(), 9).await;
    let short = read(&unbounded, &greedy, 4).await.ok().unwrap();
    let each = held(&unbounded);
    drop(short);
    let long = read(&unbounded, &greedy, 10).await.ok().unwrap();
    assert!((2 * each + 1..=3 * each).contains(&held(&unbounded)), "{each} and {}", held(&unbounded));
    drop(long);

    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { manifest_memory_bytes_max: 4 * each, ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    let begin = async || {
        let push = read(&world, &greedy, 4).await?;
        let begun = world.publisher.begin(&Actor::local(), &greedy, &PlaceName::prod(), push).await?;
        Ok::<_, Error>(begun.deploy)
    };
    let (first, second) = (begin().await.unwrap(), begin().await.unwrap());
    assert_eq!(code(begin().await.map(drop)), Err(Code::Busy), "it has half of the memory");
    let pushes = &world.publisher.uploads.pushes;
    assert!(pushes.is_there(&greedy, &first) && pushes.is_there(&greedy, &second));
    assert_eq!(code(read(&world, &shop, 10).await.map(drop)), Ok(()));
    assert!(!pushes.is_there(&greedy, &first) && pushes.is_there(&greedy, &second), "the one that rested longest");
    assert_eq!(held(&world), each);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_taken_up_to_its_longest_and_not_beyond_it() {
    let text = serde_json::to_vec(&json!({ "manifest": manifest(&[("a", 1)]) })).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { manifest_bytes_max: text.len() as u64, ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    let read = async |text: &[u8]| {
        let mut intake = world.publisher.manifest_intake((&name(0), &PlaceName::prod()), |_begin| {});
        for piece in text.chunks(50) {
            intake.write(piece.to_vec().into()).await?;
        }
        intake.end().await.map(drop)
    };
    assert_eq!(code(read(&text).await), Ok(()));
    assert_eq!(code(read(&[&text[..], b"\n"].concat()).await), Err(Code::TooLarge));
}
