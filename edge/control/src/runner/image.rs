//! Backends as container images: admission, containers, and removal of unused images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::edge_toml::Network;
use devanture_config::manifest::ServerFolder;
use devanture_config::site_toml::{Image, RegistryImage, Server};
use devanture_config::{AppName, VersionId};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::error::Error;
use super::group::{Group, Programs, SetUp};
use super::handle::Runner;
use super::handover::handed::Contained;
use super::own_images::needs_root;
use super::program::Program;
use super::shared::Shared;
use super::users::Users;
use devanture_base::clock;
use devanture_host::containers::{self, Attachment, Bind, Description, Images, Podman, PublishedPort, Unneeded};
use devanture_host::spawner::{InstanceLimits, Launch, TERMINALS_MAX};
use devanture_serve::proxy::address::Endpoint;
use devanture_store::blobs::Key;
use devanture_store::records;

/// Limits of the process that stands in for a container; the instance's limits apply to the container.
const STAND_IN_LIMITS: InstanceLimits = InstanceLimits {
    memory_bytes: 256 * 1024 * 1024,
    processes: 8,
    app_tasks: u64::MAX,
    open_files: 256,
    cpu_percent: 0,
    file_bytes: 0,
    temporary_bytes: 0,
    temporary_files: 0,
};
/// Interval of checks for unused images; deletions of versions also trigger a check.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// First pause before another check, doubled each time, while running instances need the image of a deleted version.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longest pause between two attempts to remove a container, and their number.
const REMOVE_AGAIN_MAX: Duration = Duration::from_secs(60);
const REMOVALS_MAX: u32 = 100;
/// Folder for temporary files in a container.
const TEMPORARY: &str = "/tmp";
/// Longest descriptive part of a container's name, in bytes.
const NAME_BYTES_MAX: usize = 120;

/// Removes a container once the engine succeeds; otherwise the next start of the edge does.
async fn remove_later(podman: Podman, name: String, stop: CancellationToken) {
    let mut again = Backoff::new(LOOK_AGAIN, REMOVE_AGAIN_MAX);
    for _ in 0..REMOVALS_MAX {
        tokio::select! {
            () = sleep(again.ended(None)) => {}
            () = stop.cancelled() => return,
        }
        if podman.remove_container(&name).await.is_ok() {
            tracing::info!(container = name, "a container that stayed was removed");
            return;
        }
    }
}

impl Shared {
    fn images(&self) -> Result<&Images, Error> {
        let Some(own) = &self.images else {
            return Err(Error::image(
                "this edge runs no container images: its edge.toml has no [runner.images]",
                "write [runner.images] with `registries` in edge.toml, where podman is installed",
            ));
        };
        match &self.users {
            Users::Given(_) if own.are_run => Ok(&own.images),
            Users::Given(_) | Users::Lent(_) | Users::Same => Err(needs_root()),
        }
    }

    /// Pulls the image of a version, if missing; returns its id.
    pub(super) async fn image(
        &self,
        of: (&AppName, &VersionId),
        image: &Image,
        folder: Option<&ServerFolder>,
    ) -> Result<String, Error> {
        let images = self.images()?;
        let archive = match (image, folder.and_then(|folder| folder.files.values().next())) {
            (Image::Archive(_), Some(file)) => Some(self.blobs.open(Key::Blob(file.hash)).await?),
            (Image::Archive(_) | Image::Registry(_), _) => None,
        };
        // Boxed: the future is large, and nested in the future of each deploy.
        Ok(Box::pin(images.ready(of, image, archive)).await?)
    }

    /// Pulls the image of a group again after its loss from podman's store, for example by manual deletion.
    ///
    /// # Errors
    /// [`Error::Image`] with the reason and a remedy.
    pub(super) async fn regain_image(&self, group: &Group, set_up: &SetUp) -> Result<(), Error> {
        let (Programs::Image(id), Some(image)) = (&set_up.programs, &group.managed.server.image) else {
            return Ok(());
        };
        if self.images()?.has(id).await? {
            return Ok(());
        }
        let (app, version) = (&group.id.app, &group.version);
        tracing::warn!(%app, %version, image = id, "podman's store has lost an image, which is got again");
        let regained = async {
            let (folder, _) = self.server_folder(app, version, &group.settings_place).await?;
            self.image((app, version), image, folder.as_ref()).await
        };
        let (why, remedy) = match (regained.await, image) {
            (Ok(regained), _) if regained == *id => return Ok(()),
            (Ok(_), _) => ("another image has its name by now".to_owned(), "push the app again"),
            (Err(error), Image::Registry(_)) => {
                (error.to_string(), "put it into its registry again, or push the app with another one")
            }
            (Err(error), Image::Archive(_)) => (error.to_string(), "see to podman, or push the app again"),
        };
        // `devanture instances` shows only this sentence.
        let why = format!("podman's store has lost its image {image}, and it is not available: {why}; {remedy}");
        Err(Error::Image { why, hint: None })
    }

    /// Returns the stand-in process and the container.
    pub(super) fn container_of(
        &self,
        image: &str,
        set_up: &SetUp,
        server: &Server,
        program: &Program<'_>,
    ) -> Result<(Launch, Contained), Error> {
        let description = self.description(image, set_up, server, program)?;
        let own = Contained { name: description.name.clone(), is_published: description.published_port().is_some() };
        let environment = containers::variables(self.images()?.podman().socket(), &description).ok_or_else(|| {
            let why = "the command and the variables are too long for a container";
            Error::image(why, "shorten `command`, or the settings and secrets of the environment")
        })?;
        let launch = Launch {
            id: program.id(),
            command: containers::command(),
            folder: PathBuf::from("/"),
            environment,
            // The edge's own user: no other user may control the engine.
            uid: None,
            limits: InstanceLimits { app_tasks: self.limits.app_tasks_max, ..STAND_IN_LIMITS },
            temporary: None,
            keep: Vec::new(),
        };
        Ok((launch, own))
    }

    /// Returns the parameters of a new container.
    fn description(
        &self,
        image: &str,
        set_up: &SetUp,
        server: &Server,
        program: &Program<'_>,
    ) -> Result<Description, Error> {
        let images = self.images()?;
        let network = &images.settings().network;
        // Root in a container is root.
        let uid = set_up.user.uid().filter(|uid| *uid > 0).ok_or_else(needs_root)?;
        if matches!((network, program.endpoint), (Network::None, Some(Endpoint::Tcp(_)))) {
            let why = "containers of this edge have no network, by [runner.images] network: write listen = \"socket\" below [server] in devanture.toml";
            return Err(Error::Image { why: why.to_owned(), hint: None });
        }
        let data = server.persist.as_ref().map(|persist| Path::new("/").join(persist.as_str()));
        let mut binds: Vec<Bind> = Vec::new();
        if let (Some(source), Some(destination)) = (&set_up.data, &data) {
            binds.push(Bind { source: source.clone(), destination: destination.clone() });
        }
        binds.extend(program.folder.map(|folder| Bind { source: folder.clone(), destination: folder.clone() }));
        let limits = self.instance_limits(server);
        Ok(Description {
            name: container_name(images.edge_id(), program),
            edge_id: images.edge_id().to_owned(),
            image: image.to_owned(),
            command: program.command.clone(),
            environment: self.container_variables(set_up, program, data.as_deref()),
            uid,
            binds,
            port: match program.endpoint {
                Some(Endpoint::Tcp(address)) => Some(PublishedPort(address.port())),
                Some(Endpoint::Socket(_) | Endpoint::Node(_)) | None => None,
            },
            network: network.clone(),
            memory_bytes: limits.memory_bytes,
            tasks: limits.tasks_max().min(limits.app_tasks),
            cpu_percent: limits.cpu_percent,
            open_files: limits.open_files,
            temporary_bytes: limits.temporary_bytes,
            terminals: TERMINALS_MAX,
            attachment: program.client.map(|request| Attachment { terminal: request.terminal.is_some() }),
        })
    }

    /// Returns the variables of a container: those of any process, except those defined by the image.
    fn container_variables(
        &self,
        set_up: &SetUp,
        program: &Program<'_>,
        data: Option<&Path>,
    ) -> BTreeMap<String, String> {
        let mut all = self.variables(set_up, program, data, Path::new(TEMPORARY));
        // 127.0.0.1 in a container is unreachable from outside; the engine publishes the port on the machine.
        for name in ["HOST", "LANG", "PATH"] {
            if !set_up.variables.contains_key(name) {
                all.remove(name);
            }
        }
        all
    }

    /// Removes the container of an ended instance, whatever the end.
    pub(super) async fn remove_container(&self, name: &str) {
        let Some(own) = &self.images else { return };
        let podman = own.images.podman();
        if let Err(error) = podman.remove_container(name).await {
            tracing::warn!(container = name, %error, "a container cannot be removed; it is tried again");
            tokio::spawn(remove_later(podman.clone(), name.to_owned(), self.stop.clone()));
        }
    }

    /// Removes images without a stored version, until the edge ends.
    pub(super) async fn watch_images(self: Arc<Self>) {
        let Some(own) = self.images.as_ref().filter(|own| own.are_run) else { return };
        let mut again = Backoff::new(LOOK_AGAIN, LOOK_EVERY);
        loop {
            let pause = match self.remove_images(&own.images).await {
                Ok(0) => {
                    again.reset();
                    LOOK_EVERY
                }
                Ok(_in_use) => again.ended(None),
                Err(error) => {
                    tracing::warn!(%error, "images that nothing needs stay for now");
                    again.ended(None)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = own.changed.notified() => again.reset(),
                () = self.stop.cancelled() => return,
                () = self.standstill.left() => return,
            }
        }
    }

    /// Removes unused images; returns the number of images kept for running instances of deleted versions.
    async fn remove_images(&self, images: &Images) -> Result<usize, Error> {
        // A group keeps the image of its first version, also for later versions with an equal image, and may start
        // instances at any time: in a cluster, possibly its first.
        let set_up: BTreeSet<_> = self.all_groups().iter().map(|group| (group.id.app.clone(), group.version)).collect();
        let (mut gone, mut in_use) = (BTreeSet::new(), 0);
        for of in images.versions().await? {
            if self.catalog.get(&records::version_key(&of.0, &of.1)).await?.is_some() {
                continue;
            }
            match set_up.contains(&of) {
                true => in_use += 1,
                false => drop(gone.insert(of)),
            }
        }
        let Unneeded { removed, left } = images.remove_unneeded(&gone, clock::now_ms()).await?;
        if removed > 0 {
            tracing::info!(count = removed, "images of versions that are gone were removed");
        }
        Ok(left + in_use)
    }

    /// Triggers a check for unused images after the deletion of a version.
    pub(super) fn versions_changed(&self) {
        if let Some(own) = &self.images {
            own.changed.notify_one();
        }
    }
}

impl Runner {
    /// Checks that the edge may run a backend's image, before any upload or pull.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub async fn check_image(&self, image: &Image) -> Result<(), Error> {
        Ok(self.0.images()?.check(image).await?)
    }

    /// Pulls a tagged image, and returns the image by its present digest.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub async fn resolve_image(&self, app: &AppName, image: &RegistryImage) -> Result<RegistryImage, Error> {
        Ok(self.0.images()?.resolve(app, image, clock::now_ms()).await?)
    }
}

/// Returns a descriptive and unique container name.
fn container_name(edge_id: &str, program: &Program<'_>) -> String {
    let said = format!("devanture-{edge_id}-{}-{}-{}", program.app, program.place, program.name);
    let mut name: String = said.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    name.truncate(NAME_BYTES_MAX);
    format!("{name}-{:016x}", rand::random::<u64>())
}
