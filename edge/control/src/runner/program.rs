//! Launch parameters of a backend process: a program of its folder, or the stand-in of a container.

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

/// Process about to start.
pub(super) struct Program<'p> {
    pub(super) app: &'p AppName,
    pub(super) place: &'p str,
    pub(super) version: &'p VersionId,
    /// For example `web.2`.
    pub(super) name: &'p str,
    /// Distinguishes processes of the same name.
    pub(super) serial: String,
    pub(super) command: Vec<String>,
    /// Listening address, if any …
    pub(super) endpoint: Option<&'p Endpoint>,
    /// … and socket folder.
    pub(super) folder: Option<&'p PathBuf>,
    pub(super) temporary: &'p Temporary,
    /// Client of an interactive one-off command.
    pub(super) client: Option<&'p RunRequest>,
}

/// Terminal type variable, with its value unless given by the client.
const TERM: (&str, &str) = ("TERM", "xterm-256color");

impl Shared {
    /// Returns the spawner's launch parameters, and the resulting container, if any.
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

    /// Returns the variables of a process with its persistent folder `data`, and its temporary folder `temporary`.
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
            // Without a listener, a port would mislead.
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
    /// Returns the id for the spawner.
    pub(super) fn id(&self) -> String {
        format!("{}/{}/{}#{}", self.app, self.place, self.name, self.serial)
    }
}

impl Life<'_> {
    /// Launches the process; a container is recorded in `place`.
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

    /// Replaces the command by PHP-FPM, for a PHP backend.
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
        // The spawner substitutes the instance's own folder.
        launch.environment.insert(php::FOLDER_VARIABLE.to_owned(), set_up.temporary.display().to_string());
        Ok(())
    }
}
