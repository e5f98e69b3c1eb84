//! Conformance tests of backup locations, run for a folder and for a bucket of a real S3 store.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::Digest;

use super::{BackupStore, Finished, description, finished, open_to_write};
use crate::ledger::Error;
use crate::safekeeping::Location;
use crate::safekeeping::location::{BackupDescription, in_snapshot};
use devanture_base::durable;
use devanture_store::blobs::{self, Blobs, Key};
use devanture_store::s3::Variables;
use seaweed::{BUCKET, Seaweed, is_installed};

#[path = "../../../../tests/support/seaweed.rs"]
mod seaweed;

/// Location, and the data folder of its backups.
struct Place {
    location: Location,
    variables: Variables,
}

impl Place {
    async fn open(&self, data_dir: &Path) -> Arc<dyn BackupStore> {
        open_to_write(&self.location, &self.variables, data_dir).await.unwrap()
    }
}

/// Returns the names of readable backups.
async fn complete(store: &dyn BackupStore) -> Result<Vec<String>, Error> {
    let all = finished(store).await?.into_iter();
    Ok(all.filter(|one| one.description.is_ok()).map(|one| one.name).collect())
}

fn blobs_in(folder: &Path) -> Arc<dyn Blobs> {
    blobs::open(folder.to_owned()).unwrap()
}

async fn put(blobs: &dyn Blobs, bytes: &[u8]) -> Key {
    let key = Key::Blob(Digest::of(bytes));
    blobs.put(key, Bytes::copy_from_slice(bytes)).await.unwrap();
    key
}

/// A blob is returned unchanged, whatever its length; a blob that does not match its name is neither accepted nor
/// returned.
async fn keeps_files(place: &Place) {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = place.open(from.path()).await;
    assert!(store.keys().await.unwrap().is_empty());
    let (source, target) = (blobs_in(&from.path().join("blobs")), blobs_in(to.path()));
    // Empty, small, exactly a part, and more than two parts.
    let large: Vec<u8> =
        (0..5_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for bytes in [&b""[..], b"small", &large[..8 * 1_024 * 1_024], &large] {
        let key = put(&*source, bytes).await;
        let file = source.open(key).await.unwrap();
        let other = Key::Blob(Digest::of(b"other"));
        assert_eq!(store.put(other, Arc::clone(&file)).await.unwrap(), None);
        assert!(!store.keys().await.unwrap().contains(&other), "{} bytes", bytes.len());
        let length = u64::try_from(bytes.len()).unwrap();
        for _ in 0..2 {
            assert_eq!(store.put(key, Arc::clone(&file)).await.unwrap(), Some(length));
            assert_eq!(store.copy_to(key, &*target).await.unwrap(), Some(length));
        }
        assert_eq!(store.check(key).await.unwrap(), Some(length));
        let read = store.read_all(&[other, key], length).await.unwrap();
        assert!(read == [None, Some(Bytes::copy_from_slice(bytes))]);
        if let Some(less) = length.checked_sub(1) {
            assert!(store.read_all(&[key], less).await.unwrap() == [None]);
        }
        assert_eq!(store.sizes().await.unwrap().get(&key), Some(&length));
        assert!(target.get(key).await.unwrap() == bytes);
        assert!(store.keys().await.unwrap().contains(&key));
    }
    let manifest = Key::Manifest(Digest::of(b"{}"));
    store.write(&manifest.path().unwrap(), Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(store.copy_to(manifest, &*target).await.unwrap(), Some(2));
    let damaged = Key::Blob(Digest::of(b"as it was"));
    assert_eq!(store.copy_to(damaged, &*target).await.unwrap(), None, "it is missing");
    store.write(&damaged.path().unwrap(), Bytes::from_static(b"as it is")).await.unwrap();
    assert_eq!(store.check(damaged).await.unwrap(), None);
    assert!(store.read_all(&[damaged], 100).await.unwrap() == [None]);
    assert!(store.keys().await.unwrap().contains(&damaged), "only looked at, it stays");
    assert_eq!(store.copy_to(damaged, &*target).await.unwrap(), None, "it is damaged");
    assert_eq!(target.size(damaged).await.unwrap(), None);
    let keys = store.keys().await.unwrap();
    assert!(keys.contains(&manifest), "{keys:?}");
    store.remove(keys.into_iter().chain([damaged]).collect()).await.unwrap();
    assert!(store.keys().await.unwrap().is_empty());
}

/// A backup exists from the write to the deletion of its description, with exactly the written files.
async fn keeps_backups(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let store = place.open(folder.path()).await;
    assert_eq!(store.snapshots().await.unwrap(), [""; 0]);
    assert_eq!(store.read("snapshots/one/snapshot.json").await.unwrap(), None);
    let records = folder.path().join("records");
    durable::write_file(&records, &[7; 9_000_000], 0o600).unwrap();
    for name in ["two", "one"] {
        store.store(&in_snapshot(name, "catalog.redb"), &records).await.unwrap();
        store.write(&in_snapshot(name, "tls/acme/a.pem"), Bytes::from_static(b"a")).await.unwrap();
    }
    assert_eq!(store.snapshots().await.unwrap(), ["one", "two"]);
    assert_eq!(complete(&*store).await.unwrap(), [""; 0]);
    let written = BackupDescription::new(1, 2, 3, 4, std::iter::once(("x".to_owned(), Digest::of(b"x"))).collect());
    store.write(&in_snapshot("two", "snapshot.json"), written.to_bytes()).await.unwrap();
    assert_eq!(complete(&*store).await.unwrap(), ["two"]);
    assert_eq!(description(&*store, "two").await.unwrap(), Some(written));
    // A damaged backup counts as a backup, rather than as interrupted.
    store.write(&in_snapshot("one", "snapshot.json"), Bytes::from_static(b"{")).await.unwrap();
    let all = finished(&*store).await.unwrap();
    let [Finished { name: damaged, description: Err(why) }, Finished { description: Ok(_), .. }] = &all[..] else {
        panic!("there are {}", all.len())
    };
    assert!(damaged == "one" && why.to_string().contains("The backup one cannot be read"), "{why}");
    assert_eq!(complete(&*store).await.unwrap(), ["two"]);
    let mut files = store.files("two").await.unwrap();
    files.sort();
    assert_eq!(files, ["catalog.redb", "snapshot.json", "tls/acme/a.pem"]);
    let copy = folder.path().join("new/folder/records");
    store.fetch(&in_snapshot("two", "catalog.redb"), &copy).await.unwrap();
    assert!(std::fs::read(&copy).unwrap() == [7; 9_000_000]);
    assert!(store.fetch(&in_snapshot("two", "secrets.key"), &copy).await.is_err());
    for _ in 0..2 {
        store.remove_snapshot("two").await.unwrap();
    }
    assert_eq!(store.snapshots().await.unwrap(), ["one"]);
    store.remove_snapshot("one").await.unwrap();
}

/// Two data folders cannot write concurrently; a killed process does not lock itself out.
async fn is_locked_by_one(place: &Place) {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = place.open(one.path()).await;
    let held = store.lock().await.unwrap();
    let refused = place.open(other.path()).await.lock().await.err().unwrap().to_string();
    assert!(refused.contains(&place.location.to_string()), "{refused}");
    drop(held);
    let again = store.lock().await.unwrap();
    again.release().await;
    let free = place.open(other.path()).await;
    free.lock().await.unwrap().release().await;
}

async fn conforms(place: Place) {
    keeps_files(&place).await;
    keeps_backups(&place).await;
    is_locked_by_one(&place).await;
}

#[tokio::test]
async fn a_folder_keeps_backups() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::Folder(folder.path().join("backups"));
    conforms(Place { location, variables: Variables::new() }).await;
}

#[tokio::test]
async fn a_bucket_keeps_backups() {
    if !is_installed() {
        return;
    }
    let store = Seaweed::start();
    for prefix in ["", "/edges/one"] {
        let location = Location::of(&format!("s3://{BUCKET}{prefix}"));
        conforms(Place { location, variables: store.variables() }).await;
    }
    let location = Location::of(&format!("s3://{BUCKET}/over/tls"));
    conforms(Place { location, variables: store.secure_variables() }).await;
}
