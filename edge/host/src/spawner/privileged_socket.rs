//! `devanture-edge spawner --listen`: spawner with more privileges than the edge, behind a socket for a single user.
//! Each connection is an edge and gets a separate spawner process, with the connection as standard input.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use devanture_config::edge_toml::ControlGroups;
use rustix::fs::Mode;
use rustix::process::{getpid, set_child_subreaper, umask};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::children::{own_children, reap};
use super::host::close_inherited;
use super::own_program::{OWN_NAME, OWN_PROGRAM};
use super::process_users::users_of;
use super::processes::{BETWEEN_PASSES, Table};
use super::user::end_users;
use devanture_base::durable;

/// Value in place of a range of users: each edge gets a free range.
pub const AUTO: &str = "auto";
/// Maximum concurrent edges.
const CONNECTIONS_MAX: usize = 16;
/// Pause after a failed accept.
const AFTER_REFUSAL: Duration = Duration::from_millis(200);

/// Settings of a listening spawner.
#[derive(Debug, Clone)]
pub struct SocketSettings {
    /// Path of the socket.
    pub listen: PathBuf,
    /// User of the edge: name or number.
    pub user: String,
    /// Users permitted for instances; `None` gives each edge a free range.
    pub uids: Option<RangeInclusive<u32>>,
    /// Location of instances' control groups.
    pub cgroup: ControlGroups,
}

/// Serves edges until the process is ended.
///
/// # Errors
/// Fails if the user is unknown, the range of users contains root, or the socket cannot be created.
pub fn open_door(settings: &SocketSettings) -> io::Result<()> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user =
        uid_of(&settings.user, &passwd).ok_or_else(|| invalid(format!("no user is called {}", settings.user)))?;
    if settings.uids.as_ref().is_some_and(|uids| uids.contains(&0) || uids.contains(&user) || uids.is_empty()) {
        return Err(invalid("the range of users is empty, or holds root or the edge's own".to_owned()));
    }
    close_inherited()?;
    set_child_subreaper(Some(getpid()))?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        durable::remove_file(&settings.listen).map_err(io::Error::other)?;
        // Restricted from the beginning: no other user can connect.
        umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&settings.listen)?;
        chown(&settings.listen, Some(user), None)?;
        match serve(settings, user, &listener).await {}
    })
}

async fn serve(settings: &SocketSettings, user: u32, listener: &UnixListener) -> Infallible {
    let mut connections = JoinSet::new();
    let mut spawners = HashSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let socket = match accepted {
                    Ok((socket, _)) => socket,
                    // A failed accept, for example of a closed connection or for lack of descriptors, does not affect
                    // other edges.
                    Err(error) => {
                        writeln!(io::stderr(), "devanture-edge spawner: an edge could not be let in: {error}").ok();
                        tokio::time::sleep(AFTER_REFUSAL).await;
                        continue;
                    }
                };
                // Any user who can write to the socket's folder could have placed another socket, but cannot forge the
                // credentials.
                if socket.peer_cred().is_ok_and(|peer| peer.uid() == user)
                    && let Ok(mut spawner) = spawner_for(settings, socket)
                {
                    let pid = spawner.id();
                    spawners.extend(pid);
                    connections.spawn(async move {
                        spawner.wait().await.ok();
                        pid
                    });
                }
            }
            Some(ended) = connections.join_next() => {
                if let Ok(Some(pid)) = ended {
                    spawners.remove(&pid);
                }
                kill_orphans(&spawners).await;
            }
        }
    }
}

/// Starts a spawner for one connection.
fn spawner_for(settings: &SocketSettings, socket: UnixStream) -> io::Result<Child> {
    let mut command = Command::new(OWN_PROGRAM);
    let uids =
        settings.uids.as_ref().map_or_else(|| AUTO.to_owned(), |uids| format!("{}-{}", uids.start(), uids.end()));
    command.arg0(OWN_NAME).args(["spawner", "--uids", &uids]).env_clear().process_group(0);
    command.arg("--cgroup").arg(settings.cgroup.to_string());
    command.stdin(OwnedFd::from(socket.into_std()?)).stdout(Stdio::null()).spawn()
}

/// Kills the leftovers of a killed spawner: all children of this process except spawners, and all processes of the
/// spawner's users, which no other edge uses.
async fn kill_orphans(spawners: &HashSet<u32>) {
    let mut tasks: HashSet<i32> = HashSet::new();
    loop {
        let is_own = |pid: &i32| u32::try_from(*pid).is_ok_and(|pid| spawners.contains(&pid)) || tasks.contains(pid);
        let orphans: Vec<i32> = own_children().into_iter().filter(|pid| !is_own(pid)).collect();
        if orphans.is_empty() {
            return;
        }
        let users: BTreeSet<u32> = orphans.iter().filter_map(|pid| users_of(*pid)).map(|([uid, ..], _)| uid).collect();
        let table = Table::read();
        for orphan in orphans.iter().filter_map(|pid| table.get(*pid)) {
            table.descendants(orphan.pid).into_iter().chain([orphan]).for_each(|process| process.kill());
            reap(orphan.pid);
        }
        if let Err(error) = end_users(&|uid| users.contains(&uid), |pid| tasks.extend([pid])).await {
            writeln!(io::stderr(), "devanture-edge spawner: {error}").ok();
        }
        tokio::time::sleep(BETWEEN_PASSES).await;
    }
}

/// Returns the number of a user given by name or number.
fn uid_of(user: &str, passwd: &str) -> Option<u32> {
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    named.or_else(|| user.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_name_or_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ndevanture:x:990:990::/:/bin/false\nbroken\n";
        assert_eq!(uid_of("devanture", passwd), Some(990));
        assert_eq!(uid_of("root", passwd), Some(0));
        assert_eq!(uid_of("1234", passwd), Some(1_234));
        assert_eq!(uid_of("nobody-knows", passwd), None);
        assert_eq!(uid_of("", ""), None);
    }
}
