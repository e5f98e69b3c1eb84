//! Unix sockets in the data folder at any depth: `sockaddr_un` holds 107 bytes of a path (unix(7)), so that a longer
//! path is resolved relative to a descriptor of its folder.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Longest path for a bind or a connect.
const PATH_BYTES_MAX: usize = 107;

/// A path to a socket that fits, valid until the drop.
struct SocketPath {
    path: PathBuf,
    /// The folder that a shortened path goes through.
    _folder: Option<OwnedFd>,
}

impl SocketPath {
    fn of(socket: &Path) -> io::Result<Self> {
        let parts = socket.parent().zip(socket.file_name());
        let Some((folder, name)) = parts.filter(|_| socket.as_os_str().len() > PATH_BYTES_MAX) else {
            return Ok(Self { path: socket.to_owned(), _folder: None });
        };
        let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }
}

/// Binds a socket.
///
/// # Errors
/// Errors of the system.
pub(super) fn bind(socket: &Path) -> io::Result<UnixListener> {
    let fitting = SocketPath::of(socket)?;
    UnixListener::bind(&fitting.path)
}

/// Connects to a socket.
///
/// # Errors
/// Errors of the system.
pub(super) fn connect_blocking(socket: &Path) -> io::Result<UnixStream> {
    let fitting = SocketPath::of(socket)?;
    UnixStream::connect(&fitting.path)
}

/// Connects to a socket.
///
/// # Errors
/// Errors of the system.
pub(crate) async fn connect(socket: &Path) -> io::Result<tokio::net::UnixStream> {
    let fitting = SocketPath::of(socket)?;
    tokio::net::UnixStream::connect(&fitting.path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_reached_however_long_its_path_is() {
        let folder = tempfile::tempdir().unwrap();
        let own_bytes = folder.path().as_os_str().len();
        for path_bytes in [PATH_BYTES_MAX - 1, PATH_BYTES_MAX, PATH_BYTES_MAX + 1, 200, 1_000] {
            // Folders with names of about 50 bytes, until the rest is the length of the socket's name.
            let mut left = path_bytes.saturating_sub(own_bytes + "/s".len());
            let mut below = folder.path().to_owned();
            while left > 1 {
                let name_bytes = if left > 52 { 50 } else { left - 1 };
                below.push("d".repeat(name_bytes));
                left -= name_bytes + 1;
            }
            std::fs::create_dir_all(&below).unwrap();
            let socket = below.join("s");
            assert_eq!(connect(&socket).await.unwrap_err().kind(), io::ErrorKind::NotFound);
            let listener = bind(&socket).unwrap();
            assert!(socket.exists(), "{}", socket.display());
            connect(&socket).await.unwrap();
            connect_blocking(&socket).unwrap();
            drop(listener);
            assert_eq!(connect(&socket).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            std::fs::remove_file(&socket).unwrap();
        }
    }
}
