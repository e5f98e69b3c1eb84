//! Warnings that do not stop a push: a possible typo in a name, and secrets.

use std::collections::BTreeMap;

use devanture_check::{is_settings_of_a_backend, secrets_among};
use devanture_config::api::DeployBegun;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::check::SECRET;
use devanture_config::{Digest, PlaceName};
use devanture_project::beneath::FilePath;
use devanture_project::bundle::{Blob, Bundle};

use super::Push;
use crate::commands::suggest;
use crate::edge::client::Edge;

impl Push<'_> {
    /// Warns that the environment is new, if its name may be a typo of an existing one.
    pub(super) async fn print_new_place(&self, edge: &Edge, place: &PlaceName, begun: &DeployBegun) {
        if begun.live.is_some() || place.is_prod() {
            return;
        }
        if let Some(meant) = suggest::place(edge, place).await {
            self.context.progress.warning(&format!("{place} is a new environment; did you mean {meant}?"));
        }
    }

    /// Warns of secrets in the files to be sent: the push goes on, since its author may know better.
    pub(super) async fn print_secrets(&self, bundle: &Bundle, missing: &[(Digest, &Blob)]) {
        let blobs: BTreeMap<Digest, (FilePath, u64)> =
            missing.iter().map(|(digest, blob)| (*digest, (blob.path.clone(), blob.bytes))).collect();
        let files: Vec<(BundlePath, Digest)> =
            bundle.manifest.files.iter().map(|(path, entry)| (path.clone(), entry.hash)).collect();
        let table = self.context.project.site.check.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let sent = files.iter().filter_map(|(path, hash)| {
                let (real, bytes) = blobs.get(hash)?;
                Some((path, real, *bytes))
            });
            secrets_among(sent, &table)
        });
        if let Ok(Some(line)) = looked.await {
            self.context.progress.warning(&line);
        }
        let server = bundle.manifest.server.iter().flat_map(|folder| folder.files.iter());
        let table = &self.context.project.site.check;
        let mut settings = server.filter(|(path, file)| {
            let is_new = missing.iter().any(|(digest, _)| *digest == file.hash);
            is_new && is_settings_of_a_backend(path) && !table.ignores(SECRET, path.as_str(), None)
        });
        if let Some((path, _)) = settings.next() {
            self.context.progress.warning(&format!(
                "the backend holds {path}, a file of settings, which stays in this version: `devanture env set` gives \
                 settings and secrets to the instances of an environment, and `exclude` below [server] leaves it out"
            ));
        }
    }
}
