//! Container image of a bundle's backend, in a registry or as the single file of its server folder.

use super::{BadManifest, Manifest};
use crate::site_toml::{Image, Serving};

impl Manifest {
    /// Returns true if the bundle has a backend: a folder or an image.
    #[must_use]
    pub fn has_backend(&self) -> bool {
        self.server.is_some() || matches!(self.image(), Some(Image::Registry(_)))
    }

    /// Returns the container image of the backend.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        image_of(&self.base)
    }

    /// Checks that an image is the same in every environment, and that the folder beside an image holds its archive
    /// alone. The edge ensures a fixed digest, by a request to the registry.
    pub(super) fn check_image(&self, serving: &Serving) -> Result<(), BadManifest> {
        let wrong = |message: &str| Err(BadManifest::ServerTable { key: "image", message: message.to_owned() });
        let (Some(image), folder) = (image_of(serving), &self.server) else { return Ok(()) };
        if self.image() != Some(image) {
            return wrong("is the same in every environment");
        }
        let files = folder.iter().flat_map(|folder| &folder.files).map(|(path, file)| (path.as_str(), file.run));
        let has_links = folder.as_ref().is_some_and(|folder| !folder.links.is_empty());
        match image.archive_file() {
            Some(name) if has_links || !files.eq([(name, false)]) => wrong("is the one file of the server folder"),
            None if folder.is_some() => wrong("is in a registry, and the bundle holds a server folder"),
            Some(_) | None => Ok(()),
        }
    }
}

fn image_of(serving: &Serving) -> Option<&Image> {
    serving.server.as_ref()?.image.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;
    use crate::manifest::{ServerFile, ServerFolder};
    use crate::site_toml::SiteFile;

    fn manifest(table: &str, files: &[&str]) -> Manifest {
        let site = SiteFile::parse("devanture.toml", table).unwrap();
        let file = |path: &&str| (path.parse().unwrap(), ServerFile { hash: Digest::of(b""), run: false, size: 0 });
        let mut manifest = Manifest::of_files(Default::default());
        (manifest.base, manifest.env) = (site.base, site.env);
        manifest.server = (!files.is_empty())
            .then(|| ServerFolder { files: files.iter().map(file).collect(), ..ServerFolder::default() });
        manifest
    }

    #[test]
    fn an_image_is_a_backend_of_its_own_or_the_one_file_of_the_folder() {
        let of_registry = "[server]\nimage = \"localhost/a:1\"\n";
        let of_archive = "[server]\nimage = \"oci-archive:dist/a.tar\"\n";
        assert_eq!(manifest(of_registry, &[]).check(), Ok(()));
        assert_eq!(manifest(of_archive, &["a.tar"]).check(), Ok(()));
        for (table, files) in [
            (of_registry, vec!["a.tar"]),
            (of_archive, vec![]),
            (of_archive, vec!["b.tar"]),
            (of_archive, vec!["a.tar", "b"]),
        ] {
            assert!(manifest(table, &files).check().is_err(), "{table} {files:?}");
        }
        let serving = manifest(of_registry, &[]);
        let managed = serving.managed_in(&serving.serving_for("")).unwrap();
        assert_eq!(managed.server.processes.len(), 1);
        assert!(managed.server.processes[0].command.is_empty() && managed.server.image.is_some());
        let other = manifest("[server]\nimage = \"localhost/a:2\"\n", &[]);
        assert_ne!(other.id(), serving.id());
        assert_ne!(other.managed_in(&other.serving_for("")).unwrap().digest, managed.digest);
    }

    #[test]
    fn an_image_of_one_environment_alone_is_refused() {
        let mut one = manifest("[server]\nimage = \"localhost/a:1\"\n[env.staging.server]\ninstances = 2\n", &[]);
        assert_eq!(one.check(), Ok(()));
        for table in one.env.values_mut() {
            table.server.as_mut().unwrap().image = Some("localhost/b:1".parse().unwrap());
        }
        assert!(one.check().unwrap_err().to_string().contains("the same in every environment"));
    }
}
