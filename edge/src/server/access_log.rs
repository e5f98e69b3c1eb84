//! The access log as `edge.toml` wants it.

use std::io::Write;
use std::path::Path;

use devanture_config::edge_toml::{EdgeFile, LogFormat, LogTarget};

use super::StartError;
use crate::blobs::durable;
use crate::telemetry::{AccessLog, LineForm, LogOutput, LogSettings};

/// The mode of the log's file: readable for its owner and group.
const MODE: u32 = 0o640;

/// Opens the log; its file must be there to be written before anything is served.
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
            let writer = Box::new(durable::open_append(&path, MODE)?);
            let open = move || -> std::io::Result<Box<dyn Write + Send>> {
                let opened = durable::open_append(&path, MODE).map_err(std::io::Error::other)?;
                Ok(Box::new(opened))
            };
            LogOutput { form, writer, open: Box::new(open) }
        }
    };
    Ok(AccessLog::new(settings, Some(output)))
}

fn stderr() -> Box<dyn Write + Send> {
    Box::new(std::io::stderr())
}
