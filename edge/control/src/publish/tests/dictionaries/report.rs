//! Tests of transfers to visitors, compared with the report of a push.

use devanture_config::api::Returning;
use devanture_site::negotiate::Coding;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::*;
use crate::encode::best;
use devanture_serve::live::Load;
use devanture_serve::version::{CommonField, Source, USE_AS_DICTIONARY, Version};
use devanture_store::blobs::Form;

impl World {
    /// Returns the live version of `prod`.
    fn live(&self, app: &AppName) -> Arc<Version> {
        let place = self.publisher.ledger.live.place(app, &PlaceName::prod()).unwrap();
        Arc::clone(&place.current().unwrap().version)
    }
}

/// Returns the transfer size of a file, with or without a dictionary.
fn sent(version: &Version, path: &str, with: Option<&[u8]>) -> u64 {
    let file = version.files.iter().find(|file| *file.path == *path).unwrap();
    let br = file.available().find(|(coding, _)| *coding == Coding::Br).unwrap().1;
    let deltas = with.map(|with| version.deltas(file.dictionaries.as_ref().unwrap(), delta::sha256(with)));
    let deltas = deltas.into_iter().flatten().map(|number| file.representations[number].size());
    deltas.fold(br, u64::min)
}

#[tokio::test]
async fn deltas_are_made_with_what_browsers_keep_and_the_report_promises_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let long = |release| [script(1, release), script(2, release), script(3, release)].concat();
    let (largest, near, other) = (long(1), [script(1, 1), script(2, 1)].concat(), script(5, 1));
    let vendor = [long(9), script(6, 1), script(7, 1)].concat();
    let chunks = [("a/chunk-3f2a91bc.js", &largest), ("a/chunk-77c01d2e.js", &near), ("a/chunk-1d2e77c0.js", &other)];
    let files = |chunks: &[(&'static str, &Vec<u8>)]| {
        let chunks = chunks.iter().map(|(path, bytes)| (*path, bytes.to_vec()));
        [("index.html", page()), ("a/vendor-3f2a91bc.js", vendor.clone())].into_iter().chain(chunks).collect::<Vec<_>>()
    };
    world.push(&shop(), &files(&chunks)).await;
    let before = world.live(&shop());
    let announces = |path: &str| {
        let file = before.files.iter().find(|file| *file.path == *path).unwrap();
        let value = file.representations[0].head.ok(&before.header).get(USE_AS_DICTIONARY).cloned();
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let id = delta::sha256(&largest).to_string();
    let expected = format!("match=\"/a/chunk-*.js\", id=\"{}\"", &id[..16]);
    assert_eq!(announces("a/chunk-3f2a91bc.js"), Some(expected));
    assert_eq!([announces("a/chunk-77c01d2e.js"), announces("a/chunk-1d2e77c0.js")], [None, None]);

    let (like_near, like_other) = ([script(1, 2), script(2, 2)].concat(), script(5, 2));
    let second =
        world.push(&shop(), &files(&[("a/chunk-8d41f0aa.js", &like_near), ("a/chunk-9e52a1bb.js", &like_other)])).await;
    assert_eq!(world.deltas(&like_near, &largest).await, QUICK);
    assert_eq!(world.deltas(&like_near, &near).await, []);
    assert_eq!(world.deltas(&like_other, &other).await, []);
    let now = world.live(&shop());
    let with = |path| sent(&now, path, Some(&largest));
    let without = |path| sent(&now, path, None);
    let (one, two) = ("a/chunk-8d41f0aa.js", "a/chunk-9e52a1bb.js");
    assert!(with(one) * 10 < without(one));
    let expected = Returning { bytes: with(one) + with(two), plain_bytes: without(one) + without(two) };
    assert_eq!(second.returning, Some(expected));
}

#[tokio::test]
async fn the_report_counts_what_visitors_load_and_a_file_that_pages_offer_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let large = |release| [script(1, release), script(2, release)].concat();
    let brotli = |bytes: &[u8]| {
        let (_, _, encoded) = best(&bytes.to_vec().into()).into_iter().find(|(form, ..)| *form == Form::Br).unwrap();
        encoded.to_vec()
    };
    let html = b"<script src=viewer.js></script>".to_vec();
    let files = |token: &'static str, release| {
        let (lib, viewer) = (script(3, release), large(release));
        let names: [&str; 3] = match token {
            "1" => ["a/lib-3f2a91bc.js", "a/lib-3f2a91bc.js.br", "a/lib-3f2a91bc.js.map"],
            _ => ["a/lib-77c01d2e.js", "a/lib-77c01d2e.js.br", "a/lib-77c01d2e.js.map"],
        };
        let files = [(names[0], lib.clone()), (names[1], brotli(&lib)), (names[2], script(8, release))];
        [("index.html", html.clone()), ("viewer.js", viewer)].into_iter().chain(files).collect::<Vec<_>>()
    };
    world.push(&shop(), &files("1", 1)).await;
    let second = world.push(&shop(), &files("2", 2)).await;
    let now = world.live(&shop());
    let (lib, lib_br) = ("a/lib-77c01d2e.js", brotli(&script(3, 2)).len() as u64);
    assert_eq!(sent(&now, lib, None), lib_br);
    let expected = Returning {
        bytes: sent(&now, lib, Some(&script(3, 1))) + sent(&now, "viewer.js", Some(&large(1))),
        plain_bytes: lib_br + sent(&now, "viewer.js", None),
    };
    assert_eq!(second.returning, Some(expected));
    assert!(expected.bytes * 5 < expected.plain_bytes, "{expected:?}");
}

#[tokio::test]
async fn the_report_knows_how_long_rules_have_browsers_keep_files() {
    for (rule, announces, is_had) in [
        ("/a/*\n  Cache-Control: no-store\n", [false, false], true),
        // A browser neither requests the file while cached, nor keeps the file as a dictionary afterwards.
        ("/viewer.js\n  Cache-Control: public, max-age=86400\n", [true, true], false),
        ("/viewer.js\n  Cache-Control: no-store\n", [true, false], false),
        ("/other\n  Cache-Control: no-store\n", [true, false], true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let world = world(folder.path(), Compress::default(), patient()).await;
        let viewer = |release| [script(1, release), script(2, release)].concat();
        let html = b"<script src=viewer.js></script>".to_vec();
        let files = |lib: &'static str, release| {
            let others = [("index.html", html.clone()), ("_headers", rule.as_bytes().to_vec())];
            others.into_iter().chain([(lib, script(3, release)), ("viewer.js", viewer(release))]).collect::<Vec<_>>()
        };
        world.push(&shop(), &files("a/lib-3f2a91bc.js", 1)).await;
        let before = world.live(&shop());
        let is_announced = |path: &str| {
            let file = before.files.iter().find(|file| *file.path == *path).unwrap();
            file.representations[0].head.ok(&before.header).contains_key(USE_AS_DICTIONARY)
        };
        assert_eq!([is_announced("a/lib-3f2a91bc.js"), is_announced("viewer.js")], announces, "{rule}");

        let second = world.push(&shop(), &files("a/lib-77c01d2e.js", 2)).await;
        let now = world.live(&shop());
        let lib = script(3, 1);
        let of_lib = sent(&now, "a/lib-77c01d2e.js", announces[0].then_some(lib.as_slice()));
        let expected = Returning {
            bytes: of_lib + sent(&now, "viewer.js", is_had.then_some(&viewer(1))),
            plain_bytes: sent(&now, "a/lib-77c01d2e.js", None) + sent(&now, "viewer.js", None),
        };
        assert_eq!(second.returning, Some(expected), "{rule}");
        // No delta was made from a dictionary that browsers do not have.
        assert_eq!(world.deltas(&script(3, 2), &lib).await.is_empty(), !announces[0], "{rule}");
        let is_kept = !rule.starts_with("/viewer.js\n  Cache-Control: no-store");
        assert_eq!(world.deltas(&viewer(2), &viewer(1)).await.is_empty(), !is_kept, "{rule}");
    }
}

#[tokio::test]
async fn what_comes_back_is_served_with_the_deltas_that_were_made_while_it_was_not_live() {
    let folder = tempfile::tempdir().unwrap();
    let grace = Grace { ms: 600_000, versions_max: 4 };
    let world = world_with(folder.path(), Compress::default(), patient(), grace).await;
    let (one, two) = (script(1, 1), script(1, 2));
    let first = world.push(&shop(), &[("index.html", page()), ("app-3f2a91bc.js", one.clone())]).await;
    world.push(&shop(), &[("index.html", page()), ("app-77c01d2e.js", two.clone())]).await;
    assert!(world.dictionaries.after_switch(&shop(), &PlaceName::prod(), first.version, &world.pool).await.unwrap());
    assert_eq!(world.deltas(&one, &two).await, QUICK);
    assert_eq!(world.rollback().await, first.version);
    for _ in 0..1_000 {
        let live = world.live(&shop());
        if live.id == first.version && sent(&live, "app-3f2a91bc.js", Some(&two)) * 10 < one.len() as u64 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the delta is stored and not served");
}

#[tokio::test]
async fn what_was_found_out_of_files_is_not_looked_for_when_their_version_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let first = world.push(&shop(), &[("index.html", page()), ("latin.txt", b"gr\xfc\xdfe".to_vec())]).await;
    let loader = &world.publisher.switcher.loader;
    let load = || Load::live(&shop(), &first.version, &PlaceName::prod());
    // A version that shares nothing with the live version or any later version.
    loader.outdate(&first.version);
    let mut known = loader.load(load()).await.unwrap();
    loader.outdate(&first.version);
    let types =
        |version: &Version| version.files.iter().map(|file| file.content_type.value().clone()).collect::<Vec<_>>();
    let found = types(&known);
    let content = Arc::get_mut(&mut known).unwrap().content_mut().unwrap();
    let known_type = CommonField::new(CONTENT_TYPE, HeaderValue::from_static("text/known"));
    content.files[1].content_type = Arc::new(known_type);
    let again = loader.load_again(Arc::clone(&known), true).await.unwrap();
    assert_eq!(types(&again), [found[0].clone(), HeaderValue::from_static("text/known")]);
    assert_ne!(again.serial, known.serial);
    assert!(Arc::ptr_eq(&again.indexes, &known.indexes), "the paths are the same");
}

#[tokio::test]
async fn short_encodings_of_a_file_are_held_as_one_piece() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    world.push(&shop(), &[("index.html", page()), ("a.js", b"const price = 1;\n".repeat(300))]).await;
    let live = world.live(&shop());
    let file = live.files.iter().find(|file| *file.path == *"a.js").unwrap();
    let encoded = file.representations.iter().take(file.available().len()).skip(1);
    let held: Vec<_> =
        encoded.filter_map(|one| if let Source::Memory(held) = &one.bytes { Some(held) } else { None }).collect();
    assert_eq!(held.len(), Form::ALL.len());
    assert!(held.windows(2).all(|pair| pair[0].as_ptr_range().end == pair[1].as_ptr()));
}

#[tokio::test]
async fn a_page_that_came_unchanged_is_loaded_again_where_its_hashes_are_others() {
    for (site, is_loaded) in [("", false), ("integrity = \"enforce\"\n", true)] {
        let folder = tempfile::tempdir().unwrap();
        let world = world(folder.path(), Compress::default(), patient()).await;
        let viewer = |release| [script(1, release), script(2, release)].concat();
        let html = b"<script src=viewer.js></script>".to_vec();
        let files = |release| [("index.html", html.clone()), ("viewer.js", viewer(release))];
        world.push_as(&shop(), &files(1), site).await;
        let second = world.push_as(&shop(), &files(2), site).await.returning.unwrap();
        let of_viewer = sent(&world.live(&shop()), "viewer.js", None);
        assert_eq!(second.plain_bytes > of_viewer, is_loaded, "{site}: {second:?}");
        assert!(second.bytes < second.plain_bytes, "{site}: {second:?}");
    }
}
