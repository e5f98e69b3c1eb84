//! Free space on the disk of podman's store: no image is added below a minimum.
//!
//! Unpacked parts of an incomplete image stay in the store: no image needs them, and they are not counted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::error::Error;
use super::podman::{Ask, Podman};
use devanture_store::blobs::{Room, SHARE_MAX};

/// Interval of disk checks while podman unpacks an image.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Podman {
    /// Runs `coming`, which adds an image to the store, as long as the disk has more than `bytes_min` bytes free, or
    /// more than a sixteenth of a smaller disk. A store outside of view, as on another machine, is not checked.
    ///
    /// # Errors
    /// [`Error::NoRoom`], and errors of `coming`.
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

    /// Returns the folder of the store; empty if podman does not report the folder.
    async fn store_folder(&self) -> Result<PathBuf, Error> {
        let answered = self.ask(Ask::get("/info")).await?.done("describe itself")?.value();
        Ok(answered.pointer("/store/graphRoot").and_then(|folder| folder.as_str()).unwrap_or_default().into())
    }
}

async fn look(folder: &Path, bytes_min: u64) -> Result<(), Error> {
    let of = folder.to_owned();
    let looked = spawn_blocking(move || Room::of(&of, bytes_min, SHARE_MAX)).await;
    let Ok(Ok(room)) = looked else { return Ok(()) };
    match room.free_bytes >= room.bytes_min {
        true => Ok(()),
        false => Err(Error::NoRoom {
            folder: folder.display().to_string(),
            bytes: room.free_bytes,
            bytes_min: room.bytes_min,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_has_room_down_to_a_floor_which_is_no_more_than_a_sixteenth_of_it() {
        let folder = Path::new("/");
        let room = Room::of(folder, u64::MAX, SHARE_MAX).unwrap();
        assert_eq!(look(folder, 0).await, Ok(()));
        assert_eq!(look(Path::new(""), u64::MAX).await, Ok(()), "nowhere");
        assert_eq!(look(folder, u64::MAX).await.is_ok(), room.free_bytes >= room.bytes_min);
    }
}
