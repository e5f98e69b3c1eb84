//! Ends the backend if `dev` itself is killed: a shell holds the other end of a pipe, and sees it close.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::Pid;

/// Reads the number of the group, waits for the end of the pipe, and ends the group like `dev`.
const SCRIPT: &str = r#"read -r group || exit
read -r _
kill -s TERM -- "-$group"
sleep 2
kill -s KILL -- "-$group""#;

/// A process that ends a process group if this process is killed.
pub(super) struct Guard {
    shell: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts the guard, before the guarded process: the process is then unguarded only for the time of
    /// [`Self::watch`].
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT])
            .current_dir("/")
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C in the terminal is for `dev`, which ends the backend by itself.
        let mut shell = command.process_group(0).spawn()?;
        let pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { shell, pipe })
    }

    /// Names the group.
    pub(super) fn watch(&mut self, group: Pid) -> io::Result<()> {
        writeln!(self.pipe, "{}", group.as_raw_nonzero())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Before the pipe ends: the number of an ended group may have been reused by now.
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}
