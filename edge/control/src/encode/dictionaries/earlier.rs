//! Earlier live versions with their dictionaries, cached between pushes.

use std::collections::VecDeque;
use std::sync::Arc;

use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};

use super::linked_assets::Named;
use devanture_serve::version::KeptFiles;
use devanture_store::records::DictionariesRecord;

/// Cached versions …
const VERSIONS_MAX: usize = 64;
/// … and their total files, of half a kilobyte each; a version with more than half of these is not cached.
const FILES_MAX: usize = 20_000;

/// Earlier live version.
pub(super) struct EarlierVersion {
    pub(super) manifest: Arc<Manifest>,
    pub(super) record: DictionariesRecord,
    pub(super) named: Named,
    /// Files kept by browsers, in the environment of the live version.
    pub(super) kept: KeptFiles,
}

/// All inputs of an [`EarlierVersion`] except the edge's limits. Includes the app, since the duration of a push must
/// not reveal the contents of another app (law 11).
#[derive(PartialEq, Eq)]
pub(super) struct SideKey {
    pub(super) app: AppName,
    pub(super) version: VersionId,
    pub(super) environment: PlaceName,
    /// Digest of the dictionary record.
    pub(super) record: Digest,
    /// Digest of the version record, which names the hashed pages.
    pub(super) record_of_version: Option<Digest>,
}

/// Cached sides, most recently used first.
#[derive(Default)]
pub(super) struct KnownSides(VecDeque<(SideKey, Arc<EarlierVersion>)>);

impl KnownSides {
    pub(super) fn get(&mut self, key: &SideKey) -> Option<Arc<EarlierVersion>> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        let found = self.0.remove(at)?;
        let side = Arc::clone(&found.1);
        self.0.push_front(found);
        Some(side)
    }

    pub(super) fn add(&mut self, key: SideKey, side: &Arc<EarlierVersion>) {
        // An older record of the version is obsolete.
        let SideKey { app, version, environment, .. } = &key;
        self.0.retain(|(known, _)| (&known.app, &known.version, &known.environment) != (app, version, environment));
        if side.manifest.files.len() > FILES_MAX / 2 {
            return;
        }
        self.0.push_front((key, Arc::clone(side)));
        let mut files = 0;
        let fit = self.0.iter().take(VERSIONS_MAX).take_while(|(_, side)| {
            files += side.manifest.files.len();
            files <= FILES_MAX
        });
        let fit = fit.count();
        self.0.truncate(fit);
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::manifest::FileEntry;

    use super::*;

    fn key(version: &str, record: &str) -> SideKey {
        let (version, record) = (VersionId::of(version.as_bytes()), Digest::of(record.as_bytes()));
        let (app, environment) = ("shop".parse().unwrap(), PlaceName::prod());
        SideKey { app, version, environment, record, record_of_version: None }
    }

    fn side(files: usize) -> Arc<EarlierVersion> {
        let entry = FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
        let files = (0..files).map(|number| (format!("{number}.txt").parse().unwrap(), entry.clone())).collect();
        let (record, named, kept) = (DictionariesRecord::default(), Named::default(), KeptFiles::default());
        Arc::new(EarlierVersion { manifest: Arc::new(Manifest::of_files(files)), record, named, kept })
    }

    #[test]
    fn a_version_is_remembered_with_its_record_and_the_ones_that_were_used_least_make_room() {
        let mut known = KnownSides::default();
        known.add(key("1", "a"), &side(9_000));
        known.add(key("2", "a"), &side(9_000));
        assert!(known.get(&key("1", "a")).is_some() && known.get(&key("1", "b")).is_none());
        known.add(key("3", "a"), &side(9_000));
        assert!(known.get(&key("2", "a")).is_none(), "it was used least");
        known.add(key("1", "b"), &side(9_000));
        assert!(known.get(&key("1", "a")).is_none() && known.get(&key("3", "a")).is_some());
        known.add(key("4", "a"), &side(FILES_MAX / 2 + 1));
        assert!(known.get(&key("4", "a")).is_none() && known.get(&key("3", "a")).is_some(), "it has too many files");
        let of_another = SideKey { app: "blog".parse().unwrap(), ..key("3", "a") };
        assert!(known.get(&of_another).is_none(), "another app knows nothing of it");
        for number in 0..=VERSIONS_MAX {
            known.add(key(&number.to_string(), "a"), &side(1));
        }
        assert_eq!(known.0.len(), VERSIONS_MAX);
    }
}
