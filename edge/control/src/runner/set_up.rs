//! Sets up a group before its first instance starts: a user, variables, folders of its own, and the code.

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
    /// Everything that instances are started with.
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

    /// The `.user.ini` of a backend in PHP, as the bundle has it: what lies in the folder may be another one.
    async fn user_ini(&self, php: &Php, folder: &ServerFolder) -> Result<UserIni, Error> {
        let path = user_ini::path(php);
        let Some(file) = folder.files.get(path.as_str()) else { return Ok(UserIni::default()) };
        if file.size > user_ini::BYTES_MAX {
            return Ok(UserIni::too_long(&path));
        }
        let text = self.blobs.get(Key::Blob(file.hash)).await?;
        Ok(UserIni::read(&path, &String::from_utf8_lossy(&text)))
    }

    /// The folder of the backend of a version, and the hostname that it names first for a place. Its manifest is in
    /// memory for a turn of the app, and no longer: what comes then, such as the pull of an image, may take minutes.
    pub(super) async fn server_folder(
        &self,
        app: &AppName,
        version: &VersionId,
        place: &str,
    ) -> Result<(Option<ServerFolder>, Option<Hostname>), Error> {
        let place = place.to_owned();
        let folder = move |canonical: &[u8]| {
            let manifest = Manifest::stored(canonical)?;
            // What an earlier release took of it is started if it is sound; routes and pools are no matter of it.
            manifest.check_servers()?;
            let host = listed_host(&manifest, &place);
            Ok::<_, BadManifest>((manifest.server, host))
        };
        let folder = self.manifests.read(&*self.blobs, (Lane::of(app.as_str()), *version), folder).await?;
        folder.map_err(|error| Error::Folder(error.to_string()))
    }

    /// A folder that belongs to the app's user: made by a process of that user where the edge can give nothing away.
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
