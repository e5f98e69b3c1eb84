//! Archives beyond a limit: refused with the name of the limit, or with `Retry-After`.

use devanture_config::problem::{Code, MISTAKES_MAX};
use futures_util::stream;
use http::{Method, StatusCode};

use crate::admin_archive::{DEPLOYS, FIRST, SITE, refused, send};
use crate::support::archives::{archive, claiming, counting, stored_zip, zip};
use crate::support::{Files, edge, eventually, got};

#[tokio::test]
async fn every_limit_of_a_bundle_names_itself() {
    let limited = |name: &'static str, value| edge().with_limit(name, value).with_app("shop", FIRST).start();
    let long = "n".repeat(5_000);
    let segment = "s".repeat(256);
    let incompressible: Vec<u8> = (0_u32..40_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let zeros = vec![0; 3_000_000];
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let cases: [(&'static str, u64, Files<'_>); 7] = [
        ("bundle_files_max", 3, &[("1", b""), ("2", b""), ("3", b""), ("4", b"")]),
        ("bundle_bytes_max", 100_000, &[("1", &incompressible)]),
        ("file_bytes_max", 20, &[("small", b"x"), ("large", b"more than twenty bytes")]),
        ("path_bytes_max", 4_096, &[(&long, b"x")]),
        ("segment_bytes_max", 255, &[(&segment, b"x")]),
        ("archive_ratio_max", 10, &[("zeros", &zeros)]),
        ("manifest_bytes_max", 1_024, &many),
    ];
    for (limit, value, files) in cases {
        let edge = limited(limit, value).await;
        for kind in ["zip", "tar.gz"] {
            let problem = refused(&edge, "application/octet-stream", archive(kind, files)).await;
            let code = match limit {
                "archive_ratio_max" => Code::ArchiveBomb,
                "path_bytes_max" | "segment_bytes_max" => Code::PathTooLong,
                _ => Code::BundleTooLarge,
            };
            assert_eq!(problem.code, code, "{limit}, {kind}: {problem:?}");
            assert!(problem.hint.as_deref().unwrap().contains(&format!("`{limit}`")), "{limit}, {kind}: {problem:?}");
        }
        edge.stop().await;
    }
}

#[tokio::test]
async fn settings_of_an_archive_have_the_limits_of_a_manifests() {
    let edge = edge().with_limit("manifest_settings_bytes_max", 1_024).with_app("shop", FIRST).start().await;
    let long = format!("# {}\nhtml_handling = \"as-is\"\n", "x".repeat(600));
    let files = |more: &[(&'static str, &'static str)]| {
        let mut files = vec![("index.html", "hi".to_owned()), ("devanture.toml", long.clone())];
        files.extend(more.iter().map(|(name, text)| (*name, (*text).to_owned())));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        archive("zip", &files)
    };
    let overlay: &'static str = Box::leak(long.clone().into_boxed_str());
    let problem = refused(&edge, "application/zip", files(&[("devanture.staging.toml", overlay)])).await;
    assert_eq!(problem.code, Code::BadManifest, "{problem:?}");
    assert!(problem.hint.as_deref().unwrap().contains("`manifest_settings_bytes_max`"), "{problem:?}");
    assert_eq!(send(&edge, "", "application/zip", files(&[])).await.status, StatusCode::OK);
    edge.stop().await;
    // For a file with many mistakes, the response lists some and counts the rest.
    let edge = crate::support::edge().with_app("shop", FIRST).start().await;
    let many: String = (0..5_000).map(|number| format!("unknown-{number} = 1\n")).collect();
    let many = archive("tar.gz", &[("index.html", b"hi"), ("devanture.toml", many.as_bytes())]);
    let problem = refused(&edge, "application/gzip", many).await;
    assert_eq!((problem.code, problem.mistakes.len()), (Code::BadConfig, MISTAKES_MAX + 1));
    assert!(problem.detail.contains("5000 mistakes"), "{}", problem.detail);
    assert_eq!(problem.mistakes[MISTAKES_MAX].message, "4800 more are not listed.");
    edge.stop().await;
}

#[tokio::test]
async fn a_zip_that_claims_too_much_is_not_unpacked() {
    let edge = edge().with_app("shop", FIRST).start().await;
    for archive in [claiming(zip(SITE), u32::MAX - 1), counting(zip(SITE), u16::MAX)] {
        let problem = refused(&edge, "application/zip", archive).await;
        assert!(matches!(problem.code, Code::ArchiveDamaged | Code::BundleTooLarge), "{problem:?}");
    }
    edge.stop().await;
    let edge = crate::support::edge().with_limit("bundle_files_max", 5).with_app("shop", FIRST).start().await;
    let problem = refused(&edge, "application/zip", counting(zip(SITE), 60_000)).await;
    assert_eq!(problem.code, Code::BundleTooLarge, "{problem:?}");
    edge.stop().await;
}

#[tokio::test]
async fn archives_beyond_the_limit_are_refused_for_a_while() {
    let edge = edge().with_limit("pushes_max", 1).start().await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
    let body = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let request = edge.api(Method::POST, DEPLOYS).header("content-type", "application/zip");
    let first = tokio::spawn(got(request.body(reqwest::Body::wrap_stream(body))));
    let archive = stored_zip(&[("index.html", &[b'x'; 10_000])]);
    sender.send(Ok(archive[..5_000].to_vec())).await.unwrap();
    eventually("the first one is coming in", async || !edge.leftovers().is_empty()).await;
    let second = send(&edge, "", "application/zip", zip(SITE)).await;
    assert_eq!((second.code(), second.header("retry-after")), (Code::Busy, "5"));
    sender.send(Ok(archive[5_000..].to_vec())).await.unwrap();
    drop(sender);
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    edge.stop().await;
}
