//! `verify`, `repair`, `backup` and `restore`: stored files and their backups.

use std::path::Path;

use clap::Args;
use devanture_config::AppName;
use devanture_config::api::{BackupReport, BackupRequest, CatalogPages, DamagedVersion, RepairRequest, VerifyReport};
use devanture_config::edge_toml::EdgeFile;
use devanture_config::text::counted;
use devanture_control::safekeeping::{BackupCheck, BackupState, Location, VerifyOptions};
use devanture_edge::server::{self, Safekeeping};
use devanture_store::s3::{Variables, own_variables};
use serde::Serialize;

use crate::Failure;
use crate::progress::ProgressLine;
use crate::terminal::{print_line, say};

/// Maximum number of named damaged files of a version.
const FILES_SHOWN_MAX: usize = 5;
/// Maximum number of named damaged objects of a backup.
const OBJECTS_SHOWN_MAX: usize = 50;

/// Advice about a damaged page of the catalog.
const CATALOG_ADVICE: &str = "restore the newest backup that is whole; or write a backup now, stop the edge, and have \
     `devanture-edge repair` write the records that can be read into a fresh catalog. Until then a start may fail: \
     docs/runbooks/catalog-damaged.md says more";
/// Message about the damaged catalog of a backup.
const OF_A_DAMAGED_CATALOG: &str = "damaged: its records were copied from a catalog with a damaged page, and one may \
     have other content than was written";

/// Flags of `verify`.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Only this app
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Read a backup where it lies instead: in a folder of backups, or s3://BUCKET/PREFIX; nothing is written there
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Option<Location>,
    /// Name of that backup, such as 20260131T120000Z; the newest by default
    #[arg(long, value_name = "NAME", requires = "from")]
    at: Option<String>,
    /// Megabytes read per second at most
    #[arg(long, value_name = "MB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Read the objects of a cluster's bucket, too; else their lengths are compared
    #[arg(long, conflicts_with = "from")]
    read_bucket: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `repair`.
#[derive(Args)]
pub(crate) struct RepairArgs {
    /// Only this app
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Folder of backups, or s3://BUCKET/PREFIX, to take damaged files from
    #[arg(long, value_name = "PLACE")]
    from: Option<Location>,
    /// Read the objects of a cluster's bucket, too; else their lengths are compared
    #[arg(long)]
    read_bucket: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `backup`.
#[derive(Args)]
pub(crate) struct BackupArgs {
    /// Folder of backups, or s3://BUCKET/PREFIX; files that are there already are not copied again
    #[arg(long, value_name = "PLACE")]
    to: Location,
    /// Number of backups to keep there; all by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Copy the keys that seal secrets, too
    #[arg(long)]
    with_key: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `restore`.
#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// Folder of backups, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE")]
    from: Location,
    /// Name of the backup, such as 20260131T120000Z; the newest by default
    #[arg(long, value_name = "NAME")]
    at: Option<String>,
}

/// Verifies a backup, which requires neither an edge nor a configuration.
pub(crate) async fn verify_backup(from: &Location, args: VerifyArgs) -> Result<(), Failure> {
    let VerifyArgs { app, at, rate, json, .. } = args;
    let check = BackupCheck { name: at, app, bytes_per_second_max: rate.saturating_mul(1_000_000) };
    let line = ProgressLine::new(json);
    let state = server::verify_backup(from, &Variables::new(), &check, &|files| line.files("read", files)).await;
    line.end();
    let state = state?;
    print(json, &state, || backup_state_lines(&state));
    if !json && !state.is_whole() {
        backup_advice(&state).for_each(say);
    }
    whole(state.is_whole())
}

pub(crate) async fn verify(file: &EdgeFile, base: &Path, args: VerifyArgs) -> Result<(), Failure> {
    let options = VerifyOptions {
        app: args.app,
        bytes_per_second_max: args.rate.saturating_mul(1_000_000),
        read_bucket: args.read_bucket,
    };
    let report = Safekeeping::open(file, base).await?.verify(&options).await?;
    print(args.json, &report, || checked_lines(&report));
    advise(args.json, &report);
    whole(report.is_whole())
}

pub(crate) async fn repair(file: &EdgeFile, base: &Path, args: RepairArgs) -> Result<(), Failure> {
    let variables = args.from.as_ref().map(variables).unwrap_or_default();
    let from = args.from.as_ref().map(full).transpose()?;
    let request = RepairRequest { app: args.app, read_bucket: args.read_bucket, from, variables };
    let stores = Safekeeping::open(file, base).await?;
    let mut report = stores.repair(&request).await?;
    let mut kept = None;
    if report.catalog.is_damaged() {
        kept = stores.rewrite_catalog().await?;
    }
    if kept.is_some() {
        report.catalog = CatalogPages::Whole;
    }
    print(args.json, &report, || {
        let mut lines = checked_lines(&report);
        if report.repaired > 0 {
            lines.push(format!("repaired: {}", counted(report.repaired, "file")));
        }
        lines.extend(kept.as_deref().map(rewritten_line));
        lines
    });
    advise(args.json, &report);
    whole(report.is_whole())
}

pub(crate) async fn backup(file: &EdgeFile, base: &Path, args: BackupArgs) -> Result<(), Failure> {
    let BackupArgs { to, keep, with_key, json } = args;
    let request = BackupRequest { to: full(&to)?, keep, with_key, variables: variables(&to) };
    let report = Safekeeping::open(file, base).await?.back_up(&request).await?;
    print(json, &report, || backup_lines(&report));
    if !json && report.catalog.is_damaged() {
        say(CATALOG_ADVICE);
    }
    whole(report.damaged.is_empty() && !report.catalog.is_damaged())
}

pub(crate) async fn restore(file: &EdgeFile, base: &Path, args: RestoreArgs) -> Result<(), Failure> {
    let line = ProgressLine::new(false);
    let report = |files| line.files("restored", files);
    let variables = variables(&args.from);
    let restored = server::restore(file, base, &args.from, &variables, args.at.as_deref(), &report).await;
    line.end();
    let restored = restored?;
    print_line(&format!(
        "restored {} into {}: {}, {} written ({} bytes)",
        restored.name,
        server::data_dir(file, base).display(),
        counted(restored.versions, "version"),
        counted(restored.files, "file"),
        restored.bytes,
    ));
    if restored.keys {
        print_line("the keys that seal secrets were restored, too");
    }
    restored.damaged.iter().flat_map(damage_lines).for_each(|line| print_line(&line));
    if restored.catalog_damaged {
        print_line(OF_A_DAMAGED_CATALOG);
    }
    whole(restored.damaged.is_empty() && !restored.catalog_damaged)
}

/// Returns the absolute location: a running edge has another working folder.
fn full(place: &Location) -> Result<String, Failure> {
    let Location::Folder(folder) = place else { return Ok(place.to_string()) };
    let full = std::path::absolute(folder).map_err(|error| Failure::refused(&error))?;
    full.into_os_string().into_string().map_err(|path| Failure::refused(&format!("{} is not UTF-8", path.display())))
}

/// Returns the variables for access to the location: the edge has another environment than the operator's shell.
fn variables(place: &Location) -> Variables {
    match place {
        Location::Folder(_) => Variables::new(),
        Location::S3(_) => own_variables(),
    }
}

fn print(is_json: bool, value: &impl Serialize, lines: impl FnOnce() -> Vec<String>) {
    match is_json {
        true => print_line(&serde_json::to_string(value).unwrap_or_default()),
        false => lines().iter().for_each(|line| print_line(line)),
    }
}

/// Fails with code 1 if damage was found, which was printed already.
fn whole(is_whole: bool) -> Result<(), Failure> {
    if is_whole { Ok(()) } else { Err(Failure { message: String::new(), code: 1 }) }
}

fn checked_lines(report: &VerifyReport) -> Vec<String> {
    let mut lines = vec![format!(
        "checked {}: {} ({} bytes)",
        counted(report.versions, "version"),
        counted(report.files, "file"),
        report.bytes
    )];
    match report.catalog {
        CatalogPages::Damaged => lines.push("damaged: a page of the catalog".to_owned()),
        CatalogPages::Unchecked => {}
        CatalogPages::Whole => lines.push("every page of the catalog is whole".to_owned()),
    }
    lines.extend(report.damaged.iter().flat_map(damage_lines));
    let in_bucket = report.bucket.iter().flat_map(damage_lines);
    lines.extend(in_bucket.map(|line| format!("{line}; in the bucket, and whole on this node")));
    let shown = report.damaged_in_backup.iter().take(OBJECTS_SHOWN_MAX);
    lines.extend(shown.map(|path| format!("damaged in the backup, too: {path}")));
    let more = report.damaged_in_backup.len().saturating_sub(OBJECTS_SHOWN_MAX);
    if more > 0 {
        lines.push(format!("damaged in the backup, too: {more} more, which --json lists"));
    }
    if report.derived > 0 {
        let derived = counted(report.derived, "damaged file");
        lines.push(format!(
            "set aside: {derived} of variants and deltas, which are made again; until then files are sent without them"
        ));
    }
    if report.quarantined > 0 {
        lines.push(format!("quarantine: {}", counted(report.quarantined, "file")));
    }
    if report.damaged.is_empty() && report.bucket.is_empty() {
        lines.push("all files of all versions are whole".to_owned());
    }
    lines
}

fn rewritten_line(kept: &Path) -> String {
    format!(
        "the catalog was written again from the records that can be read; the damaged one is {}. Look through what is live: \
         a record of the damaged page may have other content than was written",
        kept.display()
    )
}

fn backup_state_lines(state: &BackupState) -> Vec<String> {
    let BackupState { name, versions, files, bytes, damaged, count, objects, catalog_damaged } = state;
    let mut lines = vec![format!(
        "checked the backup {name}: {}, {} ({bytes} bytes)",
        counted(*versions, "version"),
        counted(*files, "file")
    )];
    lines.extend(damaged.iter().flat_map(damage_lines));
    lines.extend(objects.iter().take(OBJECTS_SHOWN_MAX).map(|path| format!("damaged or missing: {path}")));
    let more = count.saturating_sub(OBJECTS_SHOWN_MAX as u64);
    if more > 0 {
        lines.push(format!("damaged or missing: {more} more, which --json lists"));
    }
    if *catalog_damaged {
        lines.push(OF_A_DAMAGED_CATALOG.to_owned());
    }
    if state.is_whole() {
        lines.push("all files of all versions are whole".to_owned());
    }
    lines
}

/// Returns advice about damage of a backup: records and certificates belong to one backup, while all backups share
/// blobs.
fn backup_advice(state: &BackupState) -> impl Iterator<Item = &'static str> {
    let is_own = |path: &String| path.starts_with("snapshots/");
    let shared = state.objects.iter().any(|path| !is_own(path)).then_some(
        "remove what is damaged there, and the next `devanture-edge backup` copies it again from an edge that has it whole",
    );
    let own = state.objects.iter().any(is_own).then_some(
        "what lies in `snapshots` is of this backup alone, and no later one repairs it: `devanture-edge backup` writes a new \
         one, and `--at` names an earlier one",
    );
    shared.into_iter().chain(own)
}

/// Prints advice about damage, after the list of damage.
fn advise(is_json: bool, report: &VerifyReport) {
    if is_json {
        return;
    }
    if !report.damaged.is_empty() {
        say(match report.damaged_in_backup.is_empty() {
            true => {
                "a push of the same files brings them back, and so does `devanture-edge repair --from PLACE` with a backup, \
                 or `devanture-edge repair` on another node that has them"
            }
            false => {
                "the backup has them damaged, too: a push of the same files brings them back, and so does `devanture-edge \
                 repair --from` with another place of backups, or `devanture-edge repair` on another node that has them; \
                 the next backup copies them again once what is damaged there is removed"
            }
        });
    }
    if report.catalog.is_damaged() {
        say(CATALOG_ADVICE);
    }
    if !report.bucket.is_empty() {
        say("`devanture-edge repair` on this node stores in the bucket again what is damaged or missing there");
    }
}

pub(crate) fn damage_lines(damaged: &DamagedVersion) -> Vec<String> {
    let DamagedVersion { app, version, live_in, deleted, manifest, count, files } = damaged;
    let mut state = match live_in.as_slice() {
        [] => String::new(),
        live_in => format!(", live in {}", live_in.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    if *deleted {
        state.push_str(", deleted");
    }
    let what = match manifest {
        true => "its manifest is damaged or missing".to_owned(),
        false => {
            let shown = files.iter().take(FILES_SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if files.len() > FILES_SHOWN_MAX { ", …" } else { "" };
            format!("{} damaged or missing: {shown}{more}", counted(*count, "file"))
        }
    };
    vec![format!("damaged: version {} of {app}{state}: {what}", version.short())]
}

fn backup_lines(report: &BackupReport) -> Vec<String> {
    let mut lines = vec![format!(
        "backup {}: {}, {}, of which {} copied ({} bytes)",
        report.name,
        counted(report.versions, "version"),
        counted(report.files, "file"),
        report.copied_files,
        report.copied_bytes
    )];
    if !report.removed.is_empty() {
        lines.push(format!("removed: {}", report.removed.join(", ")));
    }
    lines.extend(report.unreadable.iter().map(|name| {
        format!(
            "cannot be read: the earlier backup {name}, which stays, and may keep older ones from being removed; \
             `devanture-edge verify --from PLACE --at {name}` names what is damaged"
        )
    }));
    if !report.with_key {
        lines.push("the keys that seal secrets are not in it: keep a copy of them elsewhere".to_owned());
    }
    if report.catalog.is_damaged() {
        lines.push(OF_A_DAMAGED_CATALOG.to_owned());
    }
    lines.extend(report.damaged.iter().flat_map(damage_lines));
    lines
}
