//! Refused images, each with a reason, while the live version stays.

use devanture_config::problem::{Code, Problem};
use serde_json::{Value, json};

use super::engine::{Engine, bundle, is_installed, push};
use super::image::{Archive, Image};
use crate::support::{RunningEdge, edge};

fn server(image: &str) -> Value {
    json!({ "image": image, "routes": ["/api/*"], "instances": 1, "start_ms": 5_000 })
}

async fn refused(edge: &RunningEdge, server: &Value, archive: Option<&Archive>) -> Problem {
    *push(edge, "prod", bundle(server, archive), archive).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_podman_or_its_settings_a_push_is_refused_with_that_reason() {
    if !is_installed() {
        return;
    }
    let image = format!("registry.example.org/team/api@sha256:{}", "0a".repeat(32));
    let none = edge().with_runner().start().await;
    let problem = refused(&none, &server(&image), None).await;
    assert_eq!(problem.code, Code::ImageRefused);
    assert!(problem.detail.contains("[runner.images]"), "{problem:?}");
    assert!(problem.hint.is_some_and(|hint| hint.contains("`registries`")));
    none.stop().await;
    let lost = "[runner.images]\nsocket = \"/nowhere/podman.sock\"\nregistries = [\"registry.example.org\"]\n";
    let lost = edge().with_runner().with_toml(lost).start().await;
    let problem = refused(&lost, &server(&image), None).await;
    assert_eq!(problem.code, Code::ImageRefused);
    assert!(problem.detail.contains("podman does not answer at /nowhere/podman.sock"), "{problem:?}");
    assert!(problem.hint.is_some_and(|hint| hint.contains("podman.socket")));
    lost.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_may_not_be_run_is_refused_and_what_is_live_stays() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let bytes_max = 4_000_000;
    let setup = engine.edge("").with_limit("image_bytes_max", bytes_max).with_limit("images_per_app_max", 2);
    let edge = setup.with_limit("instance_crashes_max", 2).start().await;
    let one = Image::new("one", &json!({}));
    engine.put("api", "1", &one).await;
    let tag = format!("{}:1", engine.name("api"));
    push(&edge, "prod", bundle(&server(&tag), None), None).await.unwrap();
    let digest = one.digest();
    let of = |name: &str| format!("{}/{name}@{digest}", engine.address);
    engine.put("mainframe", "1", &Image::of_architecture("s390x", "mainframe", &json!({}))).await;
    for (image, expected, hint) in [
        // Another part of the registry, and a part with a similar prefix.
        (of("other/api"), "is in no registry", "have its operator add this one"),
        (of("teams/api"), "is in no registry", "have its operator add this one"),
        (format!("{}:none", engine.name("api")), "cannot get the image", "push the image first"),
        (format!("{}@sha256:{}", engine.name("api"), "0a".repeat(32)), "cannot get the image", "push the image first"),
        (format!("{}:1", engine.name("mainframe")), "is for linux/s390x, and this edge runs linux/", "podman build"),
    ] {
        let problem = refused(&edge, &server(&image), None).await;
        assert_eq!(problem.code, Code::ImageRefused, "{problem:?}");
        assert!(problem.detail.contains(expected), "{image}: {}", problem.detail);
        assert!(problem.hint.as_ref().is_some_and(|text| text.contains(hint)), "{image}: {problem:?}");
    }
    let stored = engine.podman(&["images", "--format", "{{.Repository}}"]);
    assert!(!stored.contains(&engine.name("mainframe")), "{stored:?}");
    // A program that ends repeatedly, and a program that is missing.
    let fails = Image::new("fails", &json!({}));
    engine.put("fails", "1", &fails).await;
    let problem = refused(&edge, &server(&format!("{}:1", engine.name("fails"))), None).await;
    assert_eq!(problem.code, Code::CrashLoop, "{problem:?}");
    assert!(problem.lines.iter().any(|line| line.contains("begins fails")), "{problem:?}");
    // The app has two images by now.
    engine.put("more", "1", &Image::new("more", &json!({}))).await;
    let problem = refused(&edge, &server(&format!("{}:1", engine.name("more"))), None).await;
    assert!(problem.detail.contains("images_per_app_max"), "{problem:?}");
    // Images pulled by an operator stay, also where an app must not use them.
    let theirs = format!("{}:1", engine.name("theirs"));
    engine.put("theirs", "1", &Image::new("theirs", &json!({}))).await;
    engine.podman(&["pull", "--quiet", "--tls-verify=false", &theirs]);
    let problem = refused(&edge, &server(&theirs), None).await;
    assert!(problem.detail.contains("images_per_app_max"), "{problem:?}");
    let stored = engine.podman(&["images", "--format", "{{.Repository}}"]);
    assert!(stored.contains(&engine.name("theirs")) && !stored.contains(&engine.name("more")), "{stored:?}");
    assert!(edge.get("shop.localhost", "/api/").await.text().starts_with("one "));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_with_more_than_an_image_is_refused() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = engine.edge("").with_limit("image_bytes_max", 2_000_000).start().await;
    let image = Image::new("one", &json!({})).archive("one");
    let entries = |change: &dyn Fn(&mut tar::Builder<Vec<u8>>)| {
        let mut tar = tar::Builder::new(Vec::new());
        change(&mut tar);
        let mut bytes = tar.into_inner().unwrap();
        // Without the two end blocks of a tar.
        bytes.truncate(bytes.len().saturating_sub(1_024));
        bytes.extend(&image.bytes);
        Archive { bytes }
    };
    let link = entries(&|tar| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("blobs/sha256/{}", "0b".repeat(32)), "/etc/shadow").unwrap();
    });
    let bomb = entries(&|tar| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut packed, &vec![0; 4_000_000]).unwrap();
        let packed = packed.finish().unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(packed.len() as u64);
        tar.append_data(&mut header, format!("blobs/sha256/{}", "0c".repeat(32)), packed.as_slice()).unwrap();
    });
    let elsewhere = entries(&|tar| {
        let text = br#"{"layers":[{"digest":"sha256:a","size":1,"urls":["http://127.0.0.1/"]}]}"#;
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, format!("blobs/sha256/{}", "0d".repeat(32)), text.as_slice()).unwrap();
    });
    let sparse = entries(&|tar| {
        let mut layer = tar::Builder::new(Vec::new());
        let hole = 1_u64 << 40;
        let map = format!("{hole},1");
        let records = [("GNU.sparse.size", (hole + 1).to_string()), ("GNU.sparse.numblocks", "1".to_owned())];
        let records = records.iter().map(|(key, value)| (*key, value.as_bytes()));
        layer.append_pax_extensions(records.chain([("GNU.sparse.map", map.as_bytes())])).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        layer.append_data(&mut header, "file", &b"x"[..]).unwrap();
        let layer = layer.into_inner().unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(layer.len() as u64);
        tar.append_data(&mut header, format!("blobs/sha256/{}", "0e".repeat(32)), layer.as_slice()).unwrap();
    });
    let server = server("oci-archive:api.tar");
    for (archive, expected) in [
        (link, "belongs to no OCI image"),
        (bomb, "image_bytes_max"),
        (elsewhere, "has `urls`"),
        (sparse, "a sparse file"),
        (Archive { bytes: b"no tar".to_vec() }, "cannot take the archive"),
    ] {
        let problem = refused(&edge, &server, Some(&archive)).await;
        assert_eq!(problem.code, Code::ImageRefused, "{problem:?}");
        assert!(problem.detail.contains(expected), "{expected}: {}", problem.detail);
    }
    assert_eq!(engine.podman(&["images", "--quiet"]), Vec::<String>::new());
    edge.stop().await;
}

/// podman would block on the pipe, and so would every listing of containers, until the service is killed.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_a_pipe_where_podman_reads_users_is_refused_before_it_stops_podman() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = engine.edge("").start().await;
    let image = Image::with_pipe("pipe", "etc/passwd");
    engine.put("pipe", "1", &image).await;
    let (archive, tag) = (image.archive("pipe"), format!("{}:1", engine.name("pipe")));
    let digest = format!("{}@{}", engine.name("pipe"), image.digest());
    for (name, archive) in [("oci-archive:api.tar", Some(&archive)), (&tag, None), (&digest, None)] {
        let problem = refused(&edge, &server(name), archive).await;
        assert_eq!(problem.code, Code::ImageRefused, "{problem:?}");
        assert!(problem.detail.contains("a device or a pipe"), "{name}: {}", problem.detail);
    }
    assert_eq!(engine.podman(&["ps", "--all", "--quiet"]), Vec::<String>::new());
    assert_eq!(engine.podman(&["images", "--quiet"]), Vec::<String>::new());
    let good = Image::new("good", &json!({}));
    engine.put("good", "1", &good).await;
    push(&edge, "prod", bundle(&server(&format!("{}:1", engine.name("good"))), None), None).await.unwrap();
    edge.stop().await;
}

/// podman's lists contain all labels of all images.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_says_too_much_of_itself_is_refused_and_others_are_found() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = engine.edge("").start().await;
    let long = Image::new("long", &json!({ "Labels": { "long": "<".repeat(750_000) } }));
    engine.put("long", "1", &long).await;
    let (archive, tag) = (long.archive("long"), format!("{}:1", engine.name("long")));
    for (name, archive) in [("oci-archive:api.tar", Some(&archive)), (&tag, None)] {
        let problem = refused(&edge, &server(name), archive).await;
        assert_eq!(problem.code, Code::ImageRefused, "{problem:?}");
        assert!(problem.detail.contains("its labels, variables and history"), "{}", problem.detail);
    }
    assert_eq!(engine.podman(&["images", "--quiet"]), Vec::<String>::new());
    // Labels of an operator's image may be as long.
    engine.podman(&["pull", "--quiet", "--tls-verify=false", &tag]);
    engine.put("good", "1", &Image::new("good", &json!({}))).await;
    push(&edge, "prod", bundle(&server(&format!("{}:1", engine.name("good"))), None), None).await.unwrap();
    edge.stop().await;
}

/// podman would use an existing layer with the digest, even a layer of another app.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_gets_no_layer_that_podman_has_by_its_digest_alone() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = engine.edge("").start().await;
    let theirs = Image::new("theirs", &json!({}));
    let server = server("oci-archive:api.tar");
    let whole = theirs.archive("theirs");
    push(&edge, "prod", bundle(&server, Some(&whole)), Some(&whole)).await.unwrap();
    for (layer, expected) in [(None, "is not in it"), (Some(&b"mine"[..]), "another digest than its name says")] {
        let archive = theirs.archive_with_layer(layer);
        let problem = refused(&edge, &server, Some(&archive)).await;
        assert_eq!(problem.code, Code::ImageRefused, "{problem:?}");
        assert!(problem.detail.contains(expected), "{problem:?}");
    }
    edge.stop().await;
}

/// Otherwise each refused push would fetch an image.
#[tokio::test(flavor = "multi_thread")]
async fn no_image_is_fetched_for_an_app_that_has_pushed_too_often() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = engine.edge("").with_limit("pushes_per_hour_per_app_max", 1).start().await;
    engine.put("api", "1", &Image::new("one", &json!({}))).await;
    push(&edge, "prod", bundle(&server(&format!("{}:1", engine.name("api"))), None), None).await.unwrap();
    let missing = format!("{}:none", engine.name("api"));
    assert_eq!(refused(&edge, &server(&missing), None).await.code, Code::TooManyPushes);
    edge.stop().await;
}
