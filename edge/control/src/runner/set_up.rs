//! Set-up of a group before its first instance: user, variables, folders, code.

use std::path::Path;

use devanture_config::manifest::{BadManifest, ServerFolder};
use devanture_config::site_toml::{Php, Server};
use devanture_config::{AppName, Hostname, Manifest, VersionId};

use super::authority::listed_host;
use super::error::Error;
use super::folder::{self, Layout, Own};
use super::group::{Programs, SetUp};
use super::shared::Shared;
use super::user_ini::{self, UserIni};
use devanture_base::fair::Lane;
use devanture_serve::proxy::RunId;
use devanture_store::blobs::Key;

impl Shared {
    /// Returns the start parameters of instances.
    pub(super) async fn set_up(
        &self,
        id: &RunId,
        version: &VersionId,
        server: &Server,
        settings_place: &str,
    ) -> Result<SetUp, Error> {
        let uid = self.users.of(&*self.catalog, &id.app, settings_place).await?;
        let user = self.holds.hold(uid).await;
        let variables = self.variables.of(&id.app, settings_place, id.key.settings).await.map_err(Error::Variables)?;
        let temporary = self.temporary_folder(&self.folders.temporary(&id.app, settings_place), uid).await?;
        let data = match &server.persist {
            Some(_) => Some(self.own_folder(&self.folders.data(&id.app, settings_place, &id.place), uid).await?),
            None => None,
        };
        let (folder, listed_host) = self.server_folder(&id.app, version, settings_place).await?;
        if let Some(image) = &server.image {
            let image = self.image((&id.app, version), image, folder.as_ref()).await?;
            let (programs, user_ini) = (Programs::Image(image), UserIni::default());
            return Ok(SetUp { programs, data, temporary, user_ini, user, variables, listed_host });
        }
        let folder = folder.ok_or_else(|| Error::Folder("the version has no backend".to_owned()))?;
        let user_ini = match &server.php {
            Some(php) => self.user_ini(php, &folder).await?,
            None => UserIni::default(),
        };
        let persist = server.persist.as_ref().zip(data.as_deref());
        let (app, place, digest) = (&id.app, &id.place, &id.key.digest);
        let layout = Layout { app, place, settings_place, digest, folder, uid, persist };
        let code = self.folders.code(layout).await?;
        let programs = Programs::Folder(code);
        Ok(SetUp { programs, data, temporary, user_ini, user, variables, listed_host })
    }

    /// Reads the `.user.ini` of a PHP backend from the bundle: the file in the folder may differ.
    async fn user_ini(&self, php: &Php, folder: &ServerFolder) -> Result<UserIni, Error> {
        let path = user_ini::path(php);
        let Some(file) = folder.files.get(path.as_str()) else { return Ok(UserIni::default()) };
        if file.size > user_ini::BYTES_MAX {
            return Ok(UserIni::too_long(&path));
        }
        let text = self.blobs.get(Key::Blob(file.hash)).await?;
        Ok(UserIni::read(&path, &String::from_utf8_lossy(&text)))
    }

    /// Returns the backend folder of a version, and its first hostname for an environment. Its manifest is held only
    /// for a permit of the app: later work, for example the pull of an image, may take minutes.
    pub(super) async fn server_folder(
        &self,
        app: &AppName,
        version: &VersionId,
        place: &str,
    ) -> Result<(Option<ServerFolder>, Option<Hostname>), Error> {
        let place = place.to_owned();
        let folder = move |canonical: &[u8]| {
            let manifest = Manifest::stored(canonical)?;
            // Backends admitted by an earlier release start if valid; routes and pools are irrelevant here.
            manifest.check_servers()?;
            let host = listed_host(&manifest, &place);
            Ok::<_, BadManifest>((manifest.server, host))
        };
        let folder = self.manifests.read(&*self.blobs, (Lane::of(app.as_str()), *version), folder).await?;
        folder.map_err(|error| Error::Folder(error.to_string()))
    }

    /// Returns a folder owned by the app's user, created by a process of the user if the edge cannot change owners.
    pub(super) async fn own_folder(&self, path: &Path, uid: Option<u32>) -> Result<std::path::PathBuf, Error> {
        let (make, draft, path, own) = match self.folders.own(path, uid)? {
            Own::There(path) => return Ok(path),
            Own::ToMake { make, draft, path, own } => (make, draft, path, own),
        };
        if let Some(uid) = uid {
            let made = self.spawner.make_folder(uid, make).await;
            made.map_err(|error| Error::Folder(format!("{}: {error}", draft.display())))?;
        }
        folder::finish_own(&draft, &path, uid)?;
        Ok(own)
    }
}
