//! Tests of dictionary settings changed at run time.

use http::header::LINK;

use super::*;
use crate::ledger::Page;
use crate::publish::DiffRequest;
use devanture_store::blobs::NewDelta;

#[tokio::test]
async fn passes_look_back_as_far_as_the_settings_of_the_moment_say() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let [one, two, three] = [1, 2, 3].map(|release| script(1, release));
    world.push(&shop(), &[("app-3f2a91bc.js", one.clone())]).await;
    let none = Compress { dictionary_versions: 0, ..Compress::default() };
    assert!(world.publisher.set_compress(&none).is_none(), "there is no pass that could make anything better");
    world.push(&shop(), &[("app-77c01d2e.js", two.clone())]).await;
    assert_eq!(world.deltas(&two, &one).await, []);
    assert!(world.publisher.set_compress(&Compress::default()).is_none());
    world.push(&shop(), &[("app-1d2e77c0.js", three.clone())]).await;
    assert_eq!(world.deltas(&three, &two).await, QUICK);
}

#[tokio::test]
async fn pages_offer_dictionaries_while_these_are_to_be_kept_for_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let files = |release| {
        let viewer = [script(1, release), script(2, release)].concat();
        vec![("index.html", b"<script src=viewer.js></script>".to_vec()), ("viewer.js", viewer)]
    };
    let offers = || {
        let live = world.publisher.ledger.live.place(&shop(), &PlaceName::prod()).unwrap().current().unwrap();
        let page = live.version.files.iter().find(|file| *file.path == *"index.html").unwrap();
        page.representations[0].head.ok(&live.version.header).contains_key(LINK)
    };
    world.push(&shop(), &files(1)).await;
    assert!(offers());
    let not_kept = Compress { dictionary_days: 0, ..Compress::default() };
    assert!(world.publisher.set_compress(&not_kept).is_none());
    world.push(&shop(), &files(2)).await;
    assert!(!offers());
}

/// Law 11: deltas of a file are shared by all apps with the file.
#[tokio::test]
async fn law_11_a_comparison_counts_no_delta_from_a_file_that_visitors_do_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let (one, two) = (script(1, 1), script(1, 2));
    let first = world.push(&shop(), &[("app-3f2a91bc.js", one.clone())]).await;
    let second = world.push(&shop(), &[("app-77c01d2e.js", two.clone())]).await;
    assert_eq!(world.deltas(&two, &one).await, QUICK);
    let wanted = DiffRequest {
        from: first.version.to_string(),
        to: second.version.to_string(),
        environment: PlaceName::prod(),
        page: Page { limit: 9, after: None, cursor: "after" },
    };
    let compared = async || world.publisher.diff(&Actor::local(), &shop(), &wanted).await.unwrap().visitors;
    let before = compared().await;
    let with = before.with_dictionaries.unwrap();
    assert!(with * 10 < before.load.bytes, "{before:?}");
    let of_others = NewDelta {
        form: DeltaForm::Dcb,
        dictionary: Digest::of(b"another app's"),
        sha256: delta::sha256(b"another app's"),
        quality: Quality::Quick,
        bytes: vec![0; 10].into(),
    };
    world.blobs.put_deltas(Digest::of(&two), vec![of_others]).await.unwrap();
    assert_eq!(compared().await, before);
}
