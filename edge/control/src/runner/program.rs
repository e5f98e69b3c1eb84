//! What a process of a backend is launched with: a program of its folder, or what stands for a container of its image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use devanture_config::api::RunRequest;
use devanture_config::site_toml::Server;
use devanture_config::{AppName, VersionId};

use super::environment::{self, EdgeVariables};
use super::error::Error;
use super::group::{Programs, SetUp};
use super::handover::handed::{Contained, Place};
use super::life::Life;
use super::php;
use super::shared::Shared;
use devanture_host::spawner::{Launch, Running, Temporary};
use devanture_serve::proxy::address::Endpoint;

/// A process that is to begin.
pub(super) struct Program<'p> {
    pub(super) app: &'p AppName,
    pub(super) place: &'p str,
    pub(super) version: &'p VersionId,
    /// Such as `web.2`.
    pub(super) name: &'p str,
    /// Tells it from others of the same name.
    pub(super) serial: String,
    pub(super) command: Vec<String>,
    /// Where it listens, where it does, …
    pub(super) endpoint: Option<&'p Endpoint>,
    /// … and the folder of its socket.
    pub(super) folder: Option<&'p PathBuf>,
    pub(super) temporary: &'p Temporary,
    /// The client that watches it, where it is a command that runs once for one.
    pub(super) client: Option<&'p RunRequest>,
}

/// The variable that names the kind of a terminal, and its value where a client names none.
const TERM: (&str, &str) = ("TERM", "xterm-256color");

impl Shared {
    /// What the spawner starts, and the container that comes of it, where it is one.
    pub(super) fn launch_of(
        &self,
        set_up: &SetUp,
        server: &Server,
        program: Program<'_>,
    ) -> Result<(Launch, Option<Contained>), Error> {
        let folder = match &set_up.programs {
            Programs::Folder(code) => code.path.clone(),
            Programs::Image(image) => {
                let (launch, container) = self.container_of(image, set_up, server, &program)?;
                return Ok((launch, Some(container)));
            }
        };
        let launch = Launch {
            id: program.id(),
            folder,
            environment: self.variables(set_up, &program, set_up.data.as_deref(), &set_up.temporary),
            uid: set_up.user.uid(),
            limits: self.instance_limits(server),
            temporary: Some(program.temporary.clone()),
            keep: set_up.data.iter().chain(program.folder).cloned().collect(),
            command: program.command,
        };
        Ok((launch, None))
    }

    /// The variables of a process that has the folder that stays at `data`, and its temporary files at `temporary`.
    pub(super) fn variables(
        &self,
        set_up: &SetUp,
        program: &Program<'_>,
        data: Option<&Path>,
        temporary: &Path,
    ) -> BTreeMap<String, String> {
        let edge = EdgeVariables {
            app: program.app.as_str(),
            place: program.place,
            version: program.version,
            instance: program.name,
            node: &self.node,
            data,
            listen: program.endpoint,
            path: &self.settings.path,
            temporary,
        };
        let mut all = environment::variables(&set_up.variables, &edge);
        if let Some(request) = program.client {
            // Where nothing listens, a port would only mislead.
            for name in ["PORT", "SOCKET"] {
                all.remove(name);
            }
            if request.terminal.is_some() {
                let term = request.term.clone().unwrap_or_else(|| TERM.1.to_owned());
                all.insert(TERM.0.to_owned(), term);
            }
        }
        all
    }
}

impl Program<'_> {
    /// Its id for the spawner.
    pub(super) fn id(&self) -> String {
        format!("{}/{}/{}#{}", self.app, self.place, self.name, self.serial)
    }
}

impl Life<'_> {
    /// Launches the process; where it is a container, `place` says so from then on.
    pub(super) async fn launch(&self, set_up: &SetUp, place: &mut Place) -> Result<Running, String> {
        let program = Program {
            app: &self.group.id.app,
            place: &self.group.id.place,
            version: &self.group.version,
            name: &self.slot.name,
            serial: self.slot.serial.to_string(),
            command: environment::command(&self.slot.process.command, place.endpoint.as_ref()),
            endpoint: place.endpoint.as_ref(),
            folder: place.folder.as_ref(),
            temporary: &place.temporary,
            client: None,
        };
        let launch = self.shared.launch_of(set_up, self.server, program);
        let (mut launch, container) = launch.map_err(|error| error.to_string())?;
        place.container = container;
        self.with_php(set_up, place, &mut launch)?;
        self.shared.spawner.launch(launch).await.map_err(|error| error.to_string())
    }

    /// Has PHP-FPM started in the place of a command, where the backend is of that kind.
    fn with_php(&self, set_up: &SetUp, place: &Place, launch: &mut Launch) -> Result<(), String> {
        let socket = place.endpoint.as_ref().and_then(Endpoint::socket).filter(|_| place.scripts.is_some());
        let (Some(php), Some(socket), Some(data), Some(code)) =
            (&self.server.php, socket, &set_up.data, set_up.folder())
        else {
            return Ok(());
        };
        let program = php::program(&self.shared.settings)?;
        let start = php::Start { php, code, data, socket, user_ini: &set_up.user_ini };
        launch.command = start.command(&program);
        launch.environment.insert(php::CONFIGURATION_VARIABLE.to_owned(), start.configuration());
        // The spawner writes the instance's own folder in its place.
        launch.environment.insert(php::FOLDER_VARIABLE.to_owned(), set_up.temporary.display().to_string());
        Ok(())
    }
}
