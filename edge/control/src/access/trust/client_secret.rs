//! Client secret of `[oidc]`: one line of a file with restricted permissions, read at each use.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use devanture_config::api::Secret;

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4_096;
/// Forbidden permissions: only the owner, and the group for reading, may have access.
const FORBIDDEN_MODE: u32 = 0o037;

/// Reason why a file holds no client secret, without any of its text.
#[derive(Debug, thiserror::Error)]
pub enum BadSecretFile {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unread(#[from] io::Error),
    /// The file has other content.
    #[error("{0}")]
    Unusable(String),
}

/// Checks that a file holds a client secret.
///
/// # Errors
/// [`BadSecretFile`].
pub fn check_secret_file(path: &Path) -> Result<(), BadSecretFile> {
    read(path).map(drop)
}

/// Reads the secret of a file.
///
/// # Errors
/// [`BadSecretFile`].
pub(super) fn read(path: &Path) -> Result<Secret, BadSecretFile> {
    let unusable = |why: &str| BadSecretFile::Unusable(why.to_owned());
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(unusable("it is no file"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & FORBIDDEN_MODE != 0 {
        let path = path.display();
        let why =
            format!("others may read or change it (its mode is {mode:o}): `chmod 600 {path}`, and make another one");
        return Err(BadSecretFile::Unusable(why));
    }
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX as u64 + 2).read_to_string(&mut text)?;
    let line = text.trim_end_matches(['\r', '\n']);
    let is_plain = line.len() <= SECRET_BYTES_MAX && line.bytes().all(|byte| byte.is_ascii_graphic());
    if line.is_empty() || !is_plain {
        return Err(unusable("it must hold one line without spaces, the secret of the client"));
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
    fn read_of(text: &str, mode: u32) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oidc.secret");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        read(&path).map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_of_the_edges_user_holds_one_line() {
        assert_eq!(read_of("s3cret\n", 0o600).as_deref(), Ok("s3cret"));
        assert_eq!(read_of("s3cret\r\n", 0o640).as_deref(), Ok("s3cret"));
        for (text, mode, expected) in [
            ("s3cret\n", 0o644, "its mode is 644"),
            ("s3cret\n", 0o660, "its mode is 660"),
            ("\n", 0o600, "one line"),
            ("s3cret\nmore\n", 0o600, "one line"),
            (&"s".repeat(SECRET_BYTES_MAX + 1), 0o600, "one line"),
        ] {
            let found = read_of(text, mode).unwrap_err();
            assert!(found.contains(expected) && !found.contains("s3cret"), "{found}");
        }
        assert!(read(Path::new("/nowhere/oidc.secret")).is_err());
    }
}
