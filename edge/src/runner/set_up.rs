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

/// How long a program may take that makes or empties a folder for the user that is to own it.
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
        let temporary = self.temporary_folder(&self.folders.temporary(&id.app, settings_place), uid).await?;
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
    pub(super) async fn own_folder(&self, path: &Path, uid: Option<u32>) -> Result<std::path::PathBuf, Error> {
        let (make, draft, path, own) = match self.folders.own(path, uid)? {
            Own::There(path) => return Ok(path),
            Own::ToMake { make, draft, path, own } => (make, draft, path, own),
        };
        self.run_for(uid, ["mkdir", "-m", "700", ""], &make).await?;
        folder::finish_own(&draft, &path, uid)?;
        Ok(own)
    }

    /// Runs a program of the system as the user `uid`, in the folder of `path`, which stands for the empty word.
    pub(super) async fn run_for<const N: usize>(
        &self,
        uid: Option<u32>,
        command: [&str; N],
        path: &Path,
    ) -> Result<(), Error> {
        let name = command.first().copied().unwrap_or_default();
        let word = |word: &str| if word.is_empty() { path.display().to_string() } else { word.to_owned() };
        let launch = Launch {
            id: format!("folder#{name}-{:016x}", rand::random::<u64>()),
            command: command.into_iter().map(word).collect(),
            folder: path.parent().unwrap_or(path).to_owned(),
            environment: BTreeMap::from([("PATH".to_owned(), self.settings.path.clone())]),
            uid,
            limits: self.instance_limits(&ServerTable::default().resolved()),
            temporary: None,
            keep: Vec::new(),
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
            Ok(Exit::Code(0)) => Ok(()),
            Ok(exit) => Err(Error::Folder(format!("`{name}` in {} {exit}", path.display()))),
            Err(_elapsed) => Err(Error::Folder(format!("`{name}` in {} took too long", path.display()))),
        }
    }
}
