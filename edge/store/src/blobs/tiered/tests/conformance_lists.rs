//! The conformance list on SeaweedFS, over TLS, and on moto: one server for all cases, a prefix and a disk for each.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::moto::{Moto, is_moto_installed};
use super::*;
use crate::blobs::conformance::{Harness, conformance_in_one};

/// A single node with its bucket. Damage is damage of the last copy: on the disk, and removed from the bucket.
struct OnABucket<const KIND: usize> {
    node: Node,
    bucket: Bucket,
}

/// The variables of the server of each kind, at most one for a process.
static SERVERS: [OnceLock<Variables>; 2] = [const { OnceLock::new() }; 2];
const SEAWEED: usize = 0;
const MOTO: usize = 1;

#[async_trait]
impl<const KIND: usize> Harness for OnABucket<KIND> {
    async fn start() -> Self {
        let bucket = bucket(SERVERS[KIND].get().unwrap());
        Self { node: Node::new(&bucket), bucket }
    }

    fn store(&self) -> Arc<dyn Blobs> {
        Arc::clone(&self.node.store) as Arc<dyn Blobs>
    }

    async fn restart(self) -> Self {
        let Node { data, store } = self.node;
        drop(Arc::into_inner(store).unwrap());
        Self { node: Node::with_data(data, &self.bucket), bucket: self.bucket }
    }

    async fn damage(&self, key: Key, bytes: &[u8]) {
        overwrite(&self.node.path(key), bytes);
        let paths = match key {
            Key::Variant(blob, _) => Origin::ALL.map(|origin| origin.path(blob)).to_vec(),
            Key::Blob(_) | Key::Manifest(_) | Key::Delta(..) => key.path().into_iter().collect(),
        };
        self.bucket.remove(paths).await.unwrap();
    }

    async fn is_tidy(&self) -> bool {
        // The last part of a dropped upload ends with its blocking thread.
        let end = Instant::now() + Duration::from_secs(5);
        while std::fs::read_dir(self.node.data.path().join("tmp")).unwrap().count() > 0 {
            if Instant::now() > end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_of_seaweedfs_keeps_what_every_store_promises() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    SERVERS[SEAWEED].set(seaweed.secure_variables()).unwrap();
    conformance_in_one!(OnABucket<SEAWEED>);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_of_moto_keeps_what_every_store_promises() {
    if !is_moto_installed() {
        return;
    }
    let moto = Moto::start();
    SERVERS[MOTO].set(moto.variables()).unwrap();
    conformance_in_one!(OnABucket<MOTO>);
}
