//! Edge in a separate process, with the memory figures of the system.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use devanture_edge::server::Addresses;

/// Interval between two memory readings.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Number of equal readings that count as rest.
const LOOKS: usize = 8;

/// Launch options of the program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    /// User of the process; by default the user of the tests.
    pub(super) user: Option<u32>,
    /// Maximum number of file descriptors.
    pub(super) descriptors_max: Option<u64>,
    /// Program to run; by default the program built with the tests.
    pub(super) program: Option<PathBuf>,
    /// Environment variables in addition to the variables of the tests.
    pub(super) variables: Vec<(String, String)>,
}

/// Running program, killed on drop.
pub(crate) struct Process {
    child: Child,
    launch: Launch,
    /// Kept open: an edge whose output is not read must not get a broken pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Writes the `edge.toml` of a folder.
    pub(super) fn configure(folder: &Path, text: &str) {
        fs::write(folder.join("edge.toml"), text).unwrap();
    }

    /// Starts the program in `folder` and waits until the program is ready.
    pub(super) fn start(folder: &Path, launch: Launch) -> (Self, Addresses) {
        let Launch { user, descriptors_max, .. } = launch;
        let log = folder.join("edge.log");
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_devanture-edge"));
        let mut program = launch.program.clone().unwrap_or_else(built);
        if let Some(user) = user {
            // Another user may be unable to reach the build folder.
            fs::copy(&program, folder.join("devanture-edge")).unwrap();
            program = folder.join("devanture-edge");
            chown(folder, Some(user), Some(user)).unwrap();
        }
        let mut command = match descriptors_max {
            None => Command::new(program),
            Some(max) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {max}; exec \"$0\" \"$@\"")]).arg(program);
                shell
            }
        };
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut child = command
            .args(["--config", "edge.toml"])
            .current_dir(folder)
            .envs(launch.variables.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // An unwritable disk gets no log file.
            .stderr(File::create(&log).map_or_else(|_unwritable| Stdio::inherit(), Stdio::from))
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("the edge does not start: {line}\n{}", fs::read_to_string(log).unwrap_or_default())
        });
        let address = |name: &str| ready[name].as_str().map(|text| text.parse::<SocketAddr>().unwrap());
        let addresses = Addresses {
            admin: address("admin").unwrap(),
            http: address("http"),
            http3: address("http3"),
            https: address("https").unwrap(),
        };
        (Self { child, launch, _stdout: stdout }, addresses)
    }

    /// Launch options of the process.
    pub(super) fn launch(&self) -> Launch {
        self.launch.clone()
    }

    /// Like [`Process::launch`], for another program; for the program built with the tests if `None`.
    pub(super) fn launch_of(&self, program: Option<PathBuf>) -> Launch {
        Launch { program, ..self.launch() }
    }

    /// Waits until the process ended on its own.
    pub(super) fn ended(mut self) {
        assert!(self.child.wait().unwrap().success(), "it failed");
    }

    /// Stops the process like SIGSTOP, until [`Process::resume`].
    pub(crate) fn suspend(&self) {
        self.signal("-STOP");
    }

    /// Resumes the process.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Current threads with their nice values, where 0 is normal and 19 the lowest priority.
    pub(crate) fn threads(&self) -> Vec<(String, i32)> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // A thread may end meanwhile.
        let stats = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        let read = |stat: String| {
            let (name, fields) = stat.split_once(" (").unwrap().1.rsplit_once(") ").unwrap();
            // proc(5): the nineteenth field, of which the first two are cut off.
            (name.to_owned(), fields.split(' ').nth(16).unwrap().parse::<i32>().unwrap())
        };
        stats.map(read).collect()
    }

    /// Process name, as the system reports the name, and environment.
    pub(crate) fn name_and_environment(&self) -> (String, Vec<String>) {
        let read = |what: &str| fs::read_to_string(format!("/proc/{}/{what}", self.child.id())).unwrap();
        (read("comm").trim_end().to_owned(), read("environ").split_terminator('\0').map(str::to_owned).collect())
    }

    /// Value of a memory line in `/proc/PID/status`, in bytes.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    /// Current resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status("VmRSS")
    }

    /// Peak resident memory in bytes since the start.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.status("VmHWM")
    }

    /// Current resident memory in bytes. Resets the peak for [`Self::grown_since`].
    pub(crate) fn mark(&self) -> u64 {
        // proc(5), `clear_refs`: 5 resets the peak.
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        self.resident_bytes()
    }

    /// Difference in bytes between the peak and the marked size.
    pub(crate) fn grown_since(&self, mark: u64) -> u64 {
        self.status("VmHWM").saturating_sub(mark)
    }

    /// Waits until the memory size is stable.
    pub(crate) async fn rests(&self) {
        let (mut before, mut same) = (0, 0);
        while same < LOOKS {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.status("VmHWM");
            same = if now == before { same + 1 } else { 0 };
            before = now;
        }
    }

    /// Reloads `edge.toml` and the certificates.
    pub(crate) fn reload(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Drains the process and waits for the end, which must be a success.
    pub(super) fn terminate(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
