//! Secrets shared by all nodes: random bytes in a record, created at first use.

use rand::RngCore as _;

use super::Error;
use super::system_write::{SystemWrite, commit_system};
use devanture_store::catalog::{self, Catalog, Change, Check, Commit};
use devanture_store::records::{self, ProofSecret};

/// Returns the secret at `key`, created if absent; equal on all nodes of a cluster.
///
/// # Errors
/// Errors of the catalog.
pub(crate) async fn shared_secret(catalog: &dyn Catalog, key: &str) -> Result<[u8; 32], Error> {
    loop {
        if let Some(record) = catalog.get(key).await? {
            let kept: ProofSecret = records::read(key, &record)?;
            let mut secret = [0; 32];
            hex::decode_to_slice(&kept.key, &mut secret)
                .map_err(|error| catalog::Error::Store(format!("the record {key} cannot be read: {error}")))?;
            return Ok(secret);
        }
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        let made = records::write(&ProofSecret { key: hex::encode(secret) })?;
        let commit =
            Commit { checks: vec![Check::Absent(key.to_owned())], changes: vec![Change::Put(key.to_owned(), made)] };
        match commit_system(catalog, SystemWrite::ProofSecret, commit).await {
            // Read back above, also after a lost race.
            Ok(_) | Err(catalog::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use devanture_store::catalog::overtaken::Overtaken;

    #[tokio::test]
    async fn the_one_that_is_made_first_is_that_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let stored = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let catalog = Overtaken::new(Arc::clone(&stored));
        let first = ProofSecret { key: hex::encode([7; 32]) };
        catalog.before_commit_of("secret", vec![Change::Put("secret".to_owned(), records::write(&first).unwrap())]);
        assert_eq!(shared_secret(&*catalog, "secret").await.unwrap(), [7; 32]);
        catalog.assert_overtaken();
        assert_eq!(shared_secret(&*stored, "secret").await.unwrap(), [7; 32]);
        let (one, other) = (shared_secret(&*stored, "one").await.unwrap(), shared_secret(&*stored, "other").await);
        assert!(one != [0; 32] && one != other.unwrap(), "each is random");
    }
}
