//! Manifests that contradict themselves or are too many at once.

use devanture_config::api::BeginDeploy;
use devanture_config::problem::Code;

use crate::support::{edge, manifest};

/// The length that a manifest gives for bytes stands in `content-length`, so a second one for the same bytes would let
/// the next response of a connection stand where the rest of this one's body is expected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hash_with_two_sizes_is_refused_with_both_paths_and_sizes() {
    let edge = edge().start().await;
    let text = "2,200 bytes".repeat(200).into_bytes();
    let files: [(&str, &[u8]); 3] = [("index.html", b"hi"), ("a.txt", &text), ("b.txt", &text)];
    for wrong in ["a.txt", "b.txt"] {
        let mut manifest = manifest(&files);
        manifest.files.get_mut(wrong).unwrap().size = 6_600;
        let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
        let problem = edge.try_push("shop", "prod", begin, &files).await.unwrap_err();
        assert_eq!(problem.code, Code::BadManifest, "{problem:?}");
        for part in ["`a.txt`", "`b.txt`", "2200", "6600"] {
            assert!(problem.detail.contains(part), "{part}: {}", problem.detail);
        }
    }
    // The same for bytes that the edge has already, of which one length alone is given.
    edge.push("shop", &files).await;
    let mut manifest = manifest(&files[..2]);
    manifest.files.get_mut("a.txt").unwrap().size = 6_600;
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    let problem = edge.try_push("shop", "prod", begin, &files).await.unwrap_err();
    assert!(matches!(problem.code, Code::BadManifest | Code::BlobMismatch), "{problem:?}");
    assert_eq!(edge.get("shop.localhost", "/b.txt").await.body, text);
    edge.stop().await;
}
