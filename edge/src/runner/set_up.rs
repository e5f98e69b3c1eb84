//! What a group needs before its first instance starts: a user, variables, folders of its own, and the code.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use devanture_config::site_toml::{Server, ServerTable};
use devanture_config::{Manifest, VersionId};
use tokio::time::timeout;

use super::Shared;
use super::error::Error;
use super::folder::{self, Layout, Own};
use super::group::SetUp;
use super::spawner::{Exit, Happened, Launch};
use crate::blobs::Key;
use crate::proxy::RunId;

/// How long a folder may take to be made by the user that is to own it.
const OWN_FOLDER_MAX: Duration = Duration::from_secs(10);

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
        let variables = self.variables.of(&id.app, settings_place, id.key.settings).await.map_err(Error::Variables)?;
        let temporary = self.own_folder(&self.folders.temporary(&id.app, settings_place), uid).await?;
        let data = match &server.persist {
            Some(_) => Some(self.own_folder(&self.folders.data(&id.app, settings_place, &id.place), uid).await?),
            None => None,
        };
        let manifest = self.blobs.get(Key::Manifest(*version)).await?;
        let manifest = Manifest::parse(&manifest).map_err(|error| Error::Folder(error.to_string()))?;
        let folder = manifest.server.ok_or_else(|| Error::Folder("the version has no backend".to_owned()))?;
        let persist = server.persist.as_ref().zip(data.as_deref());
        let (app, place, digest) = (&id.app, &id.place, &id.key.digest);
        let layout = Layout { app, place, settings_place, digest, folder, uid, persist };
        let code = self.folders.code(layout).await?;
        Ok(SetUp { code, data, temporary, uid, variables })
    }

    /// A folder that belongs to the app's user: made by a process of that user where the edge can give nothing away.
    async fn own_folder(&self, path: &Path, uid: Option<u32>) -> Result<std::path::PathBuf, Error> {
        let (make, draft, path, own) = match self.folders.own(path, uid)? {
            Own::There(path) => return Ok(path),
            Own::ToMake { make, draft, path, own } => (make, draft, path, own),
        };
        let command = ["mkdir", "-m", "700"].map(str::to_owned).into_iter().chain([make.display().to_string()]);
        let launch = Launch {
            id: format!("folder#{}", draft.display()),
            command: command.collect(),
            folder: draft.clone(),
            environment: BTreeMap::from([("PATH".to_owned(), self.settings.path.clone())]),
            uid,
            limits: self.instance_limits(&ServerTable::default().resolved()),
        };
        let mut running = self.spawner.launch(launch).await.map_err(|error| Error::Spawn(error.to_string()))?;
        let ended = async {
            loop {
                match running.next().await {
                    Some(Happened::Exited(exit)) => return exit,
                    Some(Happened::Output { .. }) => {}
                    None => return Exit::Lost,
                }
            }
        };
        match timeout(OWN_FOLDER_MAX, ended).await {
            Ok(Exit::Code(0)) => {}
            Ok(exit) => return Err(Error::Folder(format!("`mkdir` for a folder of the app's own {exit}"))),
            Err(_elapsed) => {
                return Err(Error::Folder("`mkdir` for a folder of the app's own took too long".to_owned()));
            }
        }
        folder::finish_own(&draft, &path, uid)?;
        Ok(own)
    }
}
