//! Tests of the store of a cluster: the conformance list against real S3 stores, and differences between the bucket and
//! the local disk.

mod batches;
mod bucket_away;
mod collection;
mod conformance_lists;
mod counters;
mod disk;
mod eviction;
mod faulty_stores;
mod figures;
mod moto;
mod objects;
mod probes;
mod reads_and_uploads;
mod two_nodes;
mod unreachable;
mod variant_objects;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;

use super::remote::Origin;
use super::*;
use crate::blobs::conformance::sample;
use crate::blobs::{FreeSpace, OPEN_FILES_MAX};
use crate::s3::seaweed::{self, BUCKET, Gate, Seaweed, is_installed, variables};
use crate::s3::{BucketSettings, Variables, Waits};

/// Returns a bucket, with an unused prefix.
fn bucket(variables: &Variables) -> Bucket {
    let prefix = format!("case-{}", hex::encode(rand::random::<[u8; 8]>()));
    bucket_at(variables, &prefix)
}

fn bucket_at(variables: &Variables, prefix: &str) -> Bucket {
    let settings = BucketSettings { bucket: BUCKET.to_owned(), prefix: prefix.to_owned(), ..BucketSettings::default() };
    settings.open(variables, tls(variables), Waits::CLUSTER).unwrap()
}

/// Returns a configuration that trusts only the authority in the variables; without one the connection is plain HTTP on
/// this machine.
fn tls(variables: &Variables) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = variables.get("AWS_CA_BUNDLE") {
        for certificate in CertificateDer::pem_file_iter(file.expose()).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A node with its own disk.
struct Node {
    data: TempDir,
    store: Arc<TieredBlobs>,
}

impl Node {
    fn new(bucket: &Bucket) -> Self {
        Self::with_data(tempfile::tempdir().unwrap(), bucket)
    }

    fn with_data(data: TempDir, bucket: &Bucket) -> Self {
        let free_space = FreeSpace::new(data.path().to_owned(), 0);
        let bounds = Bounds { free_space, open_files_max: OPEN_FILES_MAX };
        let store = open_tiered(data.path().to_owned(), &bounds, bucket.clone()).unwrap();
        Self { data, store }
    }

    /// The local file of a key.
    fn path(&self, key: Key) -> PathBuf {
        path_of(self.data.path(), key)
    }

    fn has(&self, key: Key) -> bool {
        self.path(key).exists()
    }
}

fn path_of(data: &Path, key: Key) -> PathBuf {
    match key {
        Key::Blob(_) | Key::Manifest(_) => data.join(key.path().unwrap()),
        Key::Variant(blob, form) => {
            let name = blob.to_string();
            data.join("variants").join(&name[..2]).join(format!("{name}.{}", form.suffix()))
        }
        Key::Delta(blob, dictionary, form) => {
            let name = blob.to_string();
            data.join("deltas").join(&name[..2]).join(format!("{name}.{dictionary}.{}", form.suffix()))
        }
    }
}

/// Changes a file in place, as a disk or a stranger would.
fn overwrite(path: &Path, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
}

fn key_of(bytes: &Bytes) -> Key {
    Key::Blob(Digest::of(bytes))
}

async fn put(store: &dyn Blobs, bytes: &Bytes) -> Digest {
    store.put(key_of(bytes), bytes.clone()).await.unwrap();
    Digest::of(bytes)
}

/// Bytes of a version: a manifest, small files, and a large one.
struct Site {
    version: VersionId,
    files: Vec<Bytes>,
}

impl Site {
    /// Puts the version, with variants of the small files: quick ones, one from the bundle, and none if not worth
    /// storing.
    async fn put(store: &dyn Blobs, seed: u64, count: u64) -> Self {
        let mut files: Vec<Bytes> =
            (0..count).map(|number| sample(seed + number, 100 + 13 * usize::try_from(number).unwrap())).collect();
        store.put_all(files.iter().map(|bytes| (Digest::of(bytes), bytes.clone())).collect()).await.unwrap();
        let mut variants = BTreeMap::new();
        for (number, bytes) in files.iter().enumerate() {
            let quality = if number % 10 == 3 { Quality::Given } else { Quality::Quick };
            let variant = |form, length| (form, quality, sample(seed + 500 + number as u64, length));
            // Small and large variants are stored differently.
            let both =
                vec![variant(Form::Br, 60 + number), variant(Form::Gz, if number % 7 == 0 { 9_000 } else { 70 })];
            variants.insert(Digest::of(bytes), if number % 5 == 0 { Vec::new() } else { both });
        }
        store.put_variants_all(variants).await.unwrap();
        for (seed, length) in [(seed + 900, 0), (seed + 901, 300_000), (seed + 902, 9 * 1_024 * 1_024)] {
            let bytes = sample(seed, length);
            let mut upload = store.upload(key_of(&bytes)).await.unwrap();
            for piece in bytes.chunks(1_000_000) {
                upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            assert_eq!(upload.finish().await.unwrap(), length as u64);
            files.push(bytes);
        }
        let manifest = sample(seed + 903, 2_000);
        let version = Digest::of(&manifest);
        store.put(Key::Manifest(version), manifest).await.unwrap();
        Self { version, files }
    }

    fn blobs(&self) -> Vec<Digest> {
        self.files.iter().map(|bytes| Digest::of(bytes)).collect()
    }

    /// Checks that a store has the whole version, bit for bit, with the variants of the origin.
    async fn is_in(&self, store: &dyn Blobs, origin: &dyn Blobs) {
        assert_eq!(Digest::of(&store.get(Key::Manifest(self.version)).await.unwrap()), self.version);
        for bytes in &self.files {
            let blob = Digest::of(bytes);
            assert!(store.get(Key::Blob(blob)).await.unwrap() == bytes, "{blob}");
            let variants = origin.variants(blob).await.unwrap();
            assert_eq!(store.variants(blob).await.unwrap(), variants);
            assert_eq!(store.lacks_variants(blob).await.unwrap(), origin.lacks_variants(blob).await.unwrap());
            for info in variants {
                let key = Key::Variant(blob, info.form);
                assert_eq!(store.get(key).await.unwrap(), origin.get(key).await.unwrap());
            }
        }
    }
}

/// Returns a bucket without a listening server.
pub(super) fn nowhere() -> Bucket {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    bucket(&variables(address, seaweed::OWNER))
}

/// Returns the variants of a blob, which is brought to the disk with them.
async fn variants_of(store: &dyn Blobs, blob: Digest) -> Vec<VariantInfo> {
    store.variants_all(vec![blob]).await.unwrap().remove(0).into_iter().map(|variant| variant.info).collect()
}

/// Returns every object of a bucket, by its path.
async fn objects(bucket: &Bucket) -> Vec<String> {
    let mut paths: Vec<String> = bucket.list("").map_ok(|entry| entry.path).try_collect().await.unwrap();
    paths.sort();
    paths
}

fn is_corrupt<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Corrupt { .. }))
}

fn is_remote<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Remote(_)))
}

fn is_missing<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Missing(_)))
}
