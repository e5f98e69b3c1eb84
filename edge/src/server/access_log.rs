//! The access log, as configured in `edge.toml`.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::Path;

use devanture_config::edge_toml::{EdgeFile, LogFormat, LogTarget};

use super::StartError;
use devanture_base::durable;
use devanture_base::telemetry::{AccessLog, LineForm, LogOutput, LogSettings};

/// The mode of the log file: readable for owner and group.
const MODE: u32 = 0o640;

/// Opens the log; the file must be writable before any request is served.
pub(super) fn open(file: &EdgeFile, base: &Path) -> Result<AccessLog, StartError> {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let (wanted, limits) = (&file.access_log, &file.limits);
    let settings = LogSettings {
        addresses: wanted.addresses,
        queries: wanted.queries,
        lines_max: size(limits.log_lines_max),
        readers_max: size(limits.log_readers_max),
        readers_per_app_max: size(limits.log_readers_per_app_max),
        reader_lines_max: size(limits.log_reader_lines_max),
        kept_bytes_max: size(limits.log_kept_bytes_max),
        kept_apps_max: size(limits.log_kept_apps_max),
    };
    let form = match wanted.format {
        LogFormat::Combined => LineForm::Combined,
        LogFormat::Json => LineForm::Json,
        LogFormat::Off => return Ok(AccessLog::new(settings, None)),
    };
    let output = match &wanted.to {
        LogTarget::Stderr => LogOutput { form, writer: stderr(), open: Box::new(|| Ok(stderr())) },
        LogTarget::File(path) => {
            let path = base.join(path);
            let cannot = |error: durable::Error| unusable(&path, &error);
            let writer = Box::new(durable::open_append(&path, MODE).map_err(cannot)?);
            let open = move || -> std::io::Result<Box<dyn Write + Send>> {
                let opened = durable::open_append(&path, MODE).map_err(std::io::Error::other)?;
                Ok(Box::new(opened))
            };
            LogOutput { form, writer, open: Box::new(open) }
        }
    };
    Ok(AccessLog::new(settings, Some(output)))
}

/// Checks that the log file can be created, without creating the file.
///
/// # Errors
/// [`StartError::AccessLog`].
pub(super) fn check(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    let (LogTarget::File(path), LogFormat::Combined | LogFormat::Json) = (&file.access_log.to, file.access_log.format)
    else {
        return Ok(());
    };
    let path = base.join(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() && !path.is_dir() => Ok(()),
        Ok(found) if found.is_dir() => Err(unusable(&path, &"it is a folder")),
        Ok(_) => Err(unusable(&path, &"its folder is a file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(unusable(&path, &"its folder is missing")),
        // A folder that only the edge's own user may read is no mistake.
        Err(_) => Ok(()),
    }
}

fn unusable(path: &Path, reason: &dyn Display) -> StartError {
    StartError::AccessLog { path: path.display().to_string(), reason: reason.to_string() }
}

fn stderr() -> Box<dyn Write + Send> {
    Box::new(std::io::stderr())
}
