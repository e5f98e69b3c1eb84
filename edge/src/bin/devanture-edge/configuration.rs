//! The configuration of a command.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use devanture_config::edge_toml::{EdgeFile, NodeIdentity};
use devanture_edge::server::StartError;

/// The default path.
pub(crate) const FILE: &str = "edge.toml";

/// Parses the path of a flag or an environment variable. Service managers set a variable without a value to an empty
/// string, which is not a path.
pub(crate) fn path(text: OsString) -> PathBuf {
    if text.is_empty() { FILE.into() } else { text.into() }
}

/// A parsed configuration; its paths are relative to `base`.
pub(crate) struct Configuration {
    pub(crate) file: EdgeFile,
    pub(crate) base: PathBuf,
    pub(crate) text: String,
}

/// Reads the configuration for the node named by the environment; its paths are relative to the configuration's folder.
pub(crate) fn read(path: &Path) -> Result<Configuration, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| StartError::ConfigFile { path: path.display().to_string(), source })?;
    let identity = NodeIdentity::from_variables(|name| std::env::var(name).ok());
    let file = EdgeFile::parse_for(&identity, &path.display().to_string(), &text)?;
    Ok(Configuration { file, base: base_of(path).to_owned(), text })
}

/// Returns the folder of the configuration, the base of relative paths.
pub(crate) fn base_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
