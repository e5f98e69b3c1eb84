//! Tests of concurrent pushes of many apps, and of their waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use devanture_config::manifest::FileEntry;
use devanture_config::{AppName, Digest, Manifest};
use futures_util::future::{Either, join_all};

use super::background::fill;
use super::{Made, Pool, TINY_FILES_MAX, Work, quick};
use crate::encode::Priority;
use devanture_base::fair::Lane;
use devanture_store::blobs::{self, Blobs, Key};

/// Unique text of the given length.
fn text(length: usize, seed: usize) -> Bytes {
    let lines = (0..).map(|line| format!("const value{line} = {};\n", line * 7919 + seed));
    let mut text = String::new();
    for line in lines {
        if text.len() >= length {
            break;
        }
        text.push_str(&line);
    }
    text.truncate(length);
    text.into()
}

/// Stores a site of `files` files, and returns its manifest.
async fn stored(blobs: &dyn Blobs, files: usize, length: usize, seed: usize) -> Manifest {
    let mut entries = std::collections::BTreeMap::new();
    for number in 0..files {
        let bytes = text(length, seed * 1_000 + number);
        let (hash, size) = (Digest::of(&bytes), bytes.len() as u64);
        blobs.put(Key::Blob(hash), bytes).await.unwrap();
        entries.insert(format!("file-{number}.js").parse().unwrap(), FileEntry { hash, size, media_type: None });
    }
    Manifest::of_files(entries)
}

/// Runs the quick pass of a push in which every file is compressed.
async fn push(blobs: &Arc<dyn Blobs>, pool: &Pool, app: &AppName, manifest: &Manifest) {
    assert_eq!(quick_pass(blobs, pool, app, manifest).await.files, manifest.files.len());
}

async fn quick_pass(blobs: &Arc<dyn Blobs>, pool: &Pool, app: &AppName, manifest: &Manifest) -> Made {
    let (blobs, pool) = (blobs.of(Lane::of(app.as_str())), pool.of(app));
    let fresh = manifest.blobs().map(|(digest, _)| digest).collect();
    let work = Work {
        blobs: &*blobs,
        manifest,
        fresh: &fresh,
        pool: &pool,
        file_bytes_max: u64::MAX,
        decoded_file_bytes_max: 0,
        decoded_bytes_max: 0,
        decoded_ratio_max: 0,
    };
    quick(&work).await.unwrap().1
}

#[tokio::test]
async fn a_push_does_not_wait_for_very_many_files_of_one_packet_and_the_pass_behind_it_compresses_them() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = blobs::open(folder.path().to_owned()).unwrap();
    let pool = Pool::new("test", 2, Priority::Low);
    let tiny = (0..=TINY_FILES_MAX).map(|number| (format!("tiny-{number}.js"), text(300, number)));
    let files: Vec<_> = tiny.chain([("large.js".to_owned(), text(3_000, 0))]).collect();
    blobs.put_all(files.iter().map(|(_, bytes)| (Digest::of(bytes), bytes.clone())).collect()).await.unwrap();
    let entry = |bytes: &Bytes| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
    let manifest =
        Manifest::of_files(files.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes))).collect());
    let digests: Vec<Digest> = manifest.blobs().map(|(digest, _)| digest).collect();
    let made = quick_pass(&blobs, &pool, &"shop".parse().unwrap(), &manifest).await;
    assert_eq!((made.files, made.later), (1, TINY_FILES_MAX + 1));
    assert_eq!(blobs.lacking_variants(digests.clone()).await.unwrap().len(), made.later);
    let filled = fill(&*blobs, &pool, manifest, &std::collections::BTreeMap::new(), u64::MAX).await.unwrap();
    assert!(filled >= made.later && blobs.lacking_variants(digests).await.unwrap().is_empty());
}

#[tokio::test]
async fn law_11_nine_pushes_end_before_those_of_an_app_that_pushed_twenty_times_as_much_before_them() {
    const PUSHES: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let blobs = blobs::open(folder.path().to_owned()).unwrap();
    let pool = Pool::new("test", 1, Priority::Low);
    let mut sites = Vec::new();
    for number in 0..PUSHES {
        sites.push(("greedy".to_owned(), stored(&*blobs, 8, 70_000, number).await));
    }
    for number in 0..9 {
        sites.push((format!("modest-{number}"), stored(&*blobs, 1, 70_000, 100 + number).await));
    }
    let ended = AtomicUsize::new(0);
    let pushes = sites.iter().map(|(app, manifest)| {
        let app: AppName = app.parse().unwrap();
        let (blobs, pool, ended) = (&blobs, &pool, &ended);
        match app.as_str() {
            "greedy" => Either::Left(async move {
                push(blobs, pool, &app, manifest).await;
                ended.fetch_add(1, Ordering::Relaxed);
                None
            }),
            _ => Either::Right(async move {
                push(blobs, pool, &app, manifest).await;
                Some(ended.load(Ordering::Relaxed))
            }),
        }
    });
    let before: Vec<usize> = join_all(pushes).await.into_iter().flatten().collect();
    assert_eq!((before.len(), ended.load(Ordering::Relaxed)), (9, PUSHES));
    // Without fairness, all pushes of the greedy app would have ended first.
    assert!(before.iter().all(|pushes| *pushes <= PUSHES / 4), "so many of the greedy app's ended first: {before:?}");
}
