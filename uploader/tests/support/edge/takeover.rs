//! Takeover of an edge by the next process.

use std::io::BufRead as _;
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::{Edge, Running, send};

/// A draining edge, replaced by a successor.
pub(crate) struct Draining(Running);

impl Draining {
    /// Waits for the end of the process.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.0.child.wait().unwrap()
    }

    /// Returns true if the process has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal to end.
    pub(crate) fn terminate(&self) {
        assert!(send("-TERM", self.0.child.id()).success());
    }
}

impl Edge {
    /// Starts a process that takes over from the running process, and waits for the end of the drain.
    pub(crate) fn take_over(&mut self) {
        let mut old = std::mem::replace(&mut self.process, Running::start(self.folder.path(), self.user));
        assert_eq!((old.https, old.admin), (self.process.https, self.process.admin), "they have the same sockets");
        assert!(old.child.wait().unwrap().success());
    }

    /// Starts a process that takes over from the running process, which drains meanwhile.
    pub(crate) fn take_over_and_leave_draining(&mut self) -> Draining {
        Draining(std::mem::replace(&mut self.process, Running::start(self.folder.path(), self.user)))
    }

    /// Starts a process that takes over, and kills the running process after `pause`. The new process serves in any
    /// case.
    pub(crate) fn kill_predecessor(&mut self, pause: Duration) {
        let (folder, pid, user) = (self.folder.path().to_owned(), self.process.child.id(), self.user);
        let killer = std::thread::spawn(move || {
            sleep(pause);
            assert!(send("-KILL", pid).success());
        });
        let new = Running::start(&folder, user);
        killer.join().unwrap();
        // Earlier processes are reaped, and killed if draining.
        self.process = new;
    }

    /// Starts a process that would take over, and kills the process after `pause`. If already serving by then, the edge
    /// is started again.
    pub(crate) fn kill_successor(&mut self, pause: Duration) {
        let count = |edge: &Self, text: &str| edge.log().matches(text).count();
        let texts = ["a new edge takes over", "a new edge did not come up", "\"draining\""];
        let before = texts.map(|text| count(self, text));
        let mut new = self.beside(&["--config", "edge.toml"]);
        sleep(pause);
        new.kill().unwrap();
        new.wait().unwrap();
        if count(self, texts[0]) == before[0] {
            return;
        }
        while count(self, texts[1]) == before[1] && count(self, texts[2]) == before[2] {
            sleep(Duration::from_millis(5));
        }
        if count(self, texts[2]) > before[2] {
            assert!(self.process.child.wait().unwrap().success());
            self.restart();
        }
    }

    /// Has the process start its own successor, which takes over. Returns the successor's id.
    pub(crate) fn upgrade(&mut self) -> u32 {
        assert!(send("-USR2", self.process.child.id()).success());
        let mut line = String::new();
        self.process._stdout.read_line(&mut line).unwrap();
        assert!(line.contains("\"ready\":true"), "{line}\n{}", self.log());
        assert!(self.process.child.wait().unwrap().success());
        let log = self.log();
        let line = log.lines().find(|line| line.contains("a new edge was started")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        line["pid"].as_u64().unwrap().try_into().unwrap()
    }
}
