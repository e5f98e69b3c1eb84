//! `devanture-edge support-bundle`: packs information for remote support into one archive, without secrets.
//!
//! No file is copied unchanged: the configuration is shown by kinds of keys, texts are searched for tokens and for the
//! values of every secret of the configuration, and names of apps and hostnames are replaced by numbers, unless
//! requested.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use devanture_config::edge_toml::{CatalogStore, EdgeFile, Tls, redacted};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tar::{Builder, Header};

use super::examine_with;
use super::finding::{Finding, Names};
use super::hidden::{Secrets, without_names};
use super::machine::Versions;
use super::running::{Edge, Running};
use crate::server::data_dir;
use devanture_base::clock::now_ms;

/// The folder in the archive.
const FOLDER: &str = "devanture-support";
/// Maximum number of bytes read from the end of a log.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Maximum number of lines taken from the end of a log.
const LOG_LINES_MAX: usize = 2_000;
/// Environment variables with secret values.
const SECRET_VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
const READ_ME: &str = "\
A bundle for support, made by `devanture-edge support-bundle`. Look through it before you send it.

  edge.json      the configuration; texts that may be or lead to secrets are hidden
  doctor.txt     what `devanture-edge doctor` found, and doctor.json the same
  versions.json  versions of the programs and of the data folder
  health.txt     whether the edge is ready
  metrics.txt    its metrics; names are numbers unless they were wanted
  apps.json      how many apps there are, and which with --with-names
  nodes.json     the nodes of the edge, with --with-names
  log.txt        the end of the file of --log, without tokens and queries
";

/// Optional parts of a bundle.
#[derive(Debug, Clone, Copy)]
pub struct SupportOptions<'a> {
    /// A file with the log of the edge, whose end is included.
    pub log: Option<&'a Path>,
    /// Treatment of names of apps and hostnames.
    pub names: Names,
}

/// Packs the bundle of the edge of `file`, whose text is `text` and whose paths are relative to `base`: an archive
/// (tar.gz) without secrets.
///
/// # Errors
/// Fails if the log cannot be read, or the archive cannot be written.
pub async fn support_bundle(
    (file, text): (&EdgeFile, &str),
    base: &Path,
    options: SupportOptions<'_>,
) -> std::io::Result<Vec<u8>> {
    let data_dir = data_dir(file, base);
    let secrets = secrets_of(file, base);
    let shows_names = options.names == Names::Shown;
    let (edge, finding) = Edge::find(&data_dir).await;
    let diagnosis = Box::pin(examine_with(file, base, options.names, (&edge, finding))).await;
    let lines: Vec<String> = diagnosis.findings.iter().map(Finding::line).collect();
    let versions = Versions::of(&data_dir);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut bundle = Bundle::new(secrets);
    bundle.add("README.txt", READ_ME)?;
    bundle.add("edge.json", &format!("{:#}", redacted(text, shows_names).unwrap_or_default()))?;
    bundle.add("doctor.txt", &lines.join("\n"))?;
    bundle.add("doctor.json", &format!("{:#}", json!(diagnosis)))?;
    let running_version = edge.running().and_then(Running::version);
    let versions = json!({
        "program": versions.program, "running": running_version, "kernel": versions.kernel,
        "data": versions.layout.unwrap_or_else(Some), "cores": cores,
    });
    bundle.add("versions.json", &format!("{versions:#}"))?;
    if let Some(running) = edge.running() {
        add_running(&mut bundle, running, shows_names).await?;
    }
    if let Some(path) = options.log {
        bundle.add("log.txt", &end_of(path)?)?;
    }
    bundle.finish()
}

async fn add_running(bundle: &mut Bundle, running: &Running, shows_names: bool) -> std::io::Result<()> {
    let health: Vec<&str> = running.health.lines().filter(|line| shows_names || !line.contains(": ")).collect();
    bundle.add("health.txt", &health.join("\n"))?;
    let metrics = if shows_names { running.metrics.clone() } else { without_names(&running.metrics) };
    bundle.add("metrics.txt", &metrics)?;
    if let Ok(apps) = running.apps().await {
        let names: Option<Vec<String>> = shows_names.then(|| apps.apps.iter().map(|app| app.app.to_string()).collect());
        bundle.add("apps.json", &format!("{:#}", json!({ "totals": apps.totals, "names": names })))?;
    }
    if shows_names && let Ok(nodes) = running.body("/v1/nodes").await {
        bundle.add("nodes.json", &nodes)?;
    }
    Ok(())
}

/// Collects every secret value of the configuration, from files and from the environment of the process.
fn secrets_of(file: &EdgeFile, base: &Path) -> Secrets {
    let mut paths: Vec<PathBuf> = file.ticket_keys.iter().cloned().chain(file.secrets_key_file()).collect();
    if let Tls::Acme { files, .. } | Tls::Files(files) = &file.tls {
        paths.extend(files.iter().map(|pair| pair.key.clone()));
    }
    if let Tls::Acme { authority, .. } = &file.tls {
        paths.extend(authority.external_account.iter().map(|account| account.key_file.clone()));
    }
    if let CatalogStore::Etcd(etcd) = &file.storage.catalog {
        paths.extend(etcd.user.iter().map(|(_, password)| password.clone()));
        paths.extend(etcd.identity.iter().map(|(_, key)| key.clone()));
    }
    paths.extend(file.oidc.as_ref().and_then(|oidc| oidc.client_secret_file.clone()));
    paths.extend(file.runner.images.as_ref().and_then(|images| images.auth_file.clone()));
    let mut secrets = Secrets::default();
    for path in paths {
        if let Ok(text) = std::fs::read_to_string(base.join(path)) {
            secrets.add(&text);
        }
    }
    for value in SECRET_VARIABLES.iter().filter_map(|name| std::env::var(name).ok()) {
        secrets.add(&value);
    }
    secrets
}

/// Returns the last lines of a file.
fn end_of(path: &Path) -> std::io::Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let named = |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut file = std::fs::File::open(path).map_err(named)?;
    let length = file.metadata().map_err(named)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX))).map_err(named)?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes).map_err(named)?;
    let text = String::from_utf8_lossy(&bytes);
    let count = text.lines().count();
    let lines: Vec<&str> = text.lines().skip(count.saturating_sub(LOG_LINES_MAX)).collect();
    Ok(lines.join("\n"))
}

/// An archive under construction; all content is stripped of secrets.
struct Bundle {
    secrets: Secrets,
    tar: Builder<GzEncoder<Vec<u8>>>,
}

impl Bundle {
    fn new(secrets: Secrets) -> Self {
        Self { secrets, tar: Builder::new(GzEncoder::new(Vec::new(), Compression::default())) }
    }

    fn add(&mut self, name: &str, text: &str) -> std::io::Result<()> {
        let mut text = self.secrets.hide(text);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now_ms() / 1_000);
        self.tar.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        let mut packed = self.tar.into_inner()?;
        packed.flush()?;
        packed.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
    fn only_the_end_of_a_log_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.log");
        let lines: Vec<String> = (0..LOG_LINES_MAX + 5).map(|number| format!("line {number}")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        let end = end_of(&path).unwrap();
        assert_eq!((end.lines().count(), end.lines().next()), (LOG_LINES_MAX, Some("line 5")));
        assert!(end_of(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
