//! The configuration that a command was called with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use devanture_config::edge_toml::{EdgeFile, NodeIdentity};
use devanture_edge::server::StartError;

/// Where it is, if nothing else is said.
pub(crate) const FILE: &str = "edge.toml";

/// The path of a flag or a variable. Service managers set a variable that has no value to an empty text, which is no
/// path.
pub(crate) fn path(text: OsString) -> PathBuf {
    if text.is_empty() { FILE.into() } else { text.into() }
}

/// A configuration that was read; paths in it are relative to `base`.
pub(crate) struct Configuration {
    pub(crate) file: EdgeFile,
    pub(crate) base: PathBuf,
    pub(crate) text: String,
}

/// Reads the configuration, for the node that the environment names; paths in it are relative to its folder.
pub(crate) fn read(path: &Path) -> Result<Configuration, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| StartError::ConfigFile { path: path.display().to_string(), source })?;
    let identity = NodeIdentity::from_variables(|name| std::env::var(name).ok());
    let file = EdgeFile::parse_for(&identity, &path.display().to_string(), &text)?;
    Ok(Configuration { file, base: base_of(path).to_owned(), text })
}

/// The folder of the configuration, to which paths in it are relative.
pub(crate) fn base_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
