//! Blobs named by the manifests of an OCI archive: all are in the archive, and none is unpacked more often than
//! counted.
//!
//! Podman unpacks a layer once for each time a manifest names the layer.

use std::collections::BTreeMap;

use super::archive::{BadArchive, shown};

/// Maximum number of names in all manifests of an archive, with repetitions.
const NAMES_MAX: usize = 10_000;

/// Digests named by each manifest, with repetitions.
#[derive(Debug, Default)]
pub(super) struct Named {
    manifests: Vec<Vec<String>>,
    count: usize,
}

impl Named {
    /// Adds the digests of a manifest.
    ///
    /// # Errors
    /// Fails if there are too many in total.
    pub(super) fn add(&mut self, digests: Vec<String>) -> Result<(), BadArchive> {
        self.count = self.count.saturating_add(digests.len());
        if self.count > NAMES_MAX {
            return Err(BadArchive::Names(NAMES_MAX));
        }
        self.manifests.push(digests);
        Ok(())
    }

    /// Checks the digests against the blobs of the archive and their unpacked sizes.
    ///
    /// # Errors
    /// Fails for a missing blob if `has_all` is set, and if the blobs of one image, the unit that podman takes from an
    /// archive, have more than `bytes_max` bytes.
    pub(super) fn check(
        &self,
        unpacked: &BTreeMap<String, u64>,
        bytes_max: u64,
        has_all: bool,
    ) -> Result<(), BadArchive> {
        for digests in &self.manifests {
            let mut bytes = 0_u64;
            for digest in digests {
                match unpacked.get(digest) {
                    Some(found) => bytes = bytes.saturating_add(*found),
                    None if has_all => return Err(BadArchive::Missing(shown(digest))),
                    None => {}
                }
            }
            if bytes > bytes_max {
                return Err(BadArchive::TooLarge(bytes_max));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_names_than_an_archive_has_entries_are_refused() {
        let mut named = Named::default();
        let half = || vec!["sha256:a".to_owned(); NAMES_MAX / 2];
        assert!(named.add(half()).is_ok() && named.add(half()).is_ok());
        assert!(matches!(named.add(vec!["sha256:a".to_owned()]), Err(BadArchive::Names(NAMES_MAX))));
    }

    #[test]
    fn the_blobs_of_each_image_are_counted_as_often_as_it_names_them() {
        let blobs = BTreeMap::from([("a".to_owned(), 40), ("b".to_owned(), 20)]);
        let checked_of = |manifests: &[&[&str]], has_all| {
            let mut named = Named::default();
            for digests in manifests {
                named.add(digests.iter().map(|digest| (*digest).to_owned()).collect()).unwrap();
            }
            named.check(&blobs, 100, has_all)
        };
        let checked = |manifests: &[&[&str]]| checked_of(manifests, true);
        assert!(checked(&[&["a", "a", "b"], &["a", "b"]]).is_ok(), "of several, the engine takes one");
        assert!(matches!(checked(&[&["a", "a", "b", "b"]]), Err(BadArchive::TooLarge(100))));
        assert!(matches!(checked(&[&["a", "c"]]), Err(BadArchive::Missing(digest)) if digest == "c"));
        // Like another image with this image as its subject, which podman cannot run.
        assert!(checked_of(&[&["a", "c"]], false).is_ok());
    }
}
