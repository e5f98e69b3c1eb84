//! Files shared by the nodes of a cluster: the local authority, and the ticket keys. Both are created once, beside the
//! CA of the cluster, and copied to every node that joins.

use std::path::Path;

use rand::RngCore as _;

use super::Error;
use super::authority::{Authority, CERTIFICATE_FILE, CERTIFICATE_MODE, KEY_FILE, KEY_MODE};
use super::server_tls::provider;
use devanture_base::durable;

/// Length of a new secret for tickets.
const SECRET_BYTES: usize = 32;

/// Creates the local authority in `folder`, if missing.
///
/// # Errors
/// Fails if the authority cannot be written.
pub fn make_authority(folder: &Path) -> Result<(), Error> {
    Authority::open(folder, provider()).map(drop)
}

/// Copies the local authority of the folder `from`, created if missing, to the folder `to`.
///
/// # Errors
/// Fails if `to` has another authority, or if a file cannot be read or written.
pub fn share_authority(from: &Path, to: &Path) -> Result<(), Error> {
    make_authority(from)?;
    let certificate = to.join(CERTIFICATE_FILE);
    if certificate.exists() {
        if std::fs::read(&certificate).ok() == std::fs::read(from.join(CERTIFICATE_FILE)).ok() {
            return Ok(());
        }
        let reason = format!("it is another one than that in {}, which all nodes share", from.display());
        return Err(Error::Authority { path: certificate, reason });
    }
    durable::make_folder(to)?;
    // The key is copied first, as at the creation: without the certificate, no client has trusted the key yet.
    copy(&from.join(KEY_FILE), &to.join(KEY_FILE), KEY_MODE)?;
    copy(&from.join(CERTIFICATE_FILE), &to.join(CERTIFICATE_FILE), CERTIFICATE_MODE)
}

/// Creates the file of the ticket keys, if missing.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn make_ticket_keys(file: &Path) -> Result<(), Error> {
    if !file.exists() {
        let mut secret = [0; SECRET_BYTES];
        rand::rng().fill_bytes(&mut secret);
        durable::write_file(file, format!("{}\n", hex::encode(secret)).as_bytes(), KEY_MODE)?;
    }
    Ok(())
}

/// Copies the ticket keys in the file `from`, created if missing, to the file `to`.
///
/// # Errors
/// Fails if a file cannot be read or written.
pub fn share_ticket_keys(from: &Path, to: &Path) -> Result<(), Error> {
    make_ticket_keys(from)?;
    copy(from, to, KEY_MODE)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), Error> {
    let text = std::fs::read(from).map_err(|source| Error::Read { path: from.to_path_buf(), source })?;
    Ok(durable::write_file(to, &text, mode)?)
}
