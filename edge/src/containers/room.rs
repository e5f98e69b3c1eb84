//! Room on the disk of the engine's store: nothing new comes into it below a floor.
//!
//! What the engine has unpacked of an image stays there where it was not all: no image needs it, and nobody counts it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::error::Error;
use super::podman::{Ask, Podman};

/// Time between two looks at the disk while the engine unpacks an image.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No more than this part of a disk stays free.
const SHARE_MAX: u64 = 16;

impl Podman {
    /// Has an image come into the store, for as long as the disk has more than `bytes_min` bytes free, or than a sixteenth
    /// of a smaller one. A store that cannot be seen from here, as of another machine, is not looked at.
    ///
    /// # Errors
    /// [`Error::NoRoom`], and those of `coming`.
    pub(super) async fn with_room<T>(
        &self,
        bytes_min: u64,
        coming: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let folder = self.store_folder().await?;
        look(&folder, bytes_min).await?;
        let watched = async {
            loop {
                sleep(LOOK_EVERY).await;
                look(&folder, bytes_min).await?;
            }
        };
        tokio::select! {
            came = Box::pin(coming) => came,
            no_room = watched => no_room,
        }
    }

    /// The folder of the store; empty where the engine does not say.
    async fn store_folder(&self) -> Result<PathBuf, Error> {
        let answered = self.ask(Ask::get("/info")).await?.done("describe itself")?.value();
        Ok(answered.pointer("/store/graphRoot").and_then(|folder| folder.as_str()).unwrap_or_default().into())
    }
}

async fn look(folder: &Path, bytes_min: u64) -> Result<(), Error> {
    let of = folder.to_owned();
    let free = spawn_blocking(move || free_bytes(&of)).await.map_err(io::Error::other);
    let Ok(Ok((free, all))) = free else { return Ok(()) };
    let bytes_min = bytes_min.min(all / SHARE_MAX);
    match free >= bytes_min {
        true => Ok(()),
        false => Err(Error::NoRoom { folder: folder.display().to_string(), bytes: free, bytes_min }),
    }
}

/// The bytes of a disk that an ordinary user may still fill, and all of them.
fn free_bytes(folder: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(folder)?;
    Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_has_room_down_to_a_floor_which_is_no_more_than_a_sixteenth_of_it() {
        let folder = Path::new("/");
        let (_, all) = free_bytes(folder).unwrap();
        assert_eq!(look(folder, 0).await, Ok(()));
        assert_eq!(look(Path::new(""), u64::MAX).await, Ok(()), "nowhere");
        if let Err(Error::NoRoom { bytes, bytes_min, .. }) = look(folder, u64::MAX).await {
            assert!(bytes < bytes_min && bytes_min == all / SHARE_MAX, "{bytes} of {bytes_min}");
        }
    }
}
