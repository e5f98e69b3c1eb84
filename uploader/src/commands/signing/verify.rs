//! `verify`: checks that each byte of a live site belongs to a signed version, and that the log is complete.

use std::collections::BTreeSet;

use devanture_config::api::LiveLogEntry;
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::signing::{Signature, SignerKey, signed_by};
use devanture_config::site_toml::Integrity;
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use devanture_site::rules::{HEADERS_FILE, REDIRECTS_FILE};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::live_log::{broken, continues, read_all};
use super::site::{Found, PROTECTED, Site};
use crate::args::VerifyArgs;
use crate::context::Context;
use crate::edge::client::Edge;
use crate::edge::signing::public_keys;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::terminal::escaped;

/// Number of concurrent requests for files.
const AT_ONCE: usize = 8;
/// Upper bound of printed paths that could not be checked.
const SHOWN_MAX: usize = 10;

/// A file with a wrong or unknown content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct FileMismatch {
    path: BundlePath,
    why: String,
}

/// The result of the verification.
#[derive(Debug, Serialize)]
struct Verified {
    app: AppName,
    environment: PlaceName,
    version: VersionId,
    site: String,
    signed_by: Vec<String>,
    /// Number of files with matching bytes.
    same: usize,
    /// Files with an answer that was a different file of the version.
    other_files: Vec<FileMismatch>,
    foreign: Vec<FileMismatch>,
    /// Files without an answer from the version.
    missing: Vec<FileMismatch>,
    /// Files of rules and of routes, and excepted files.
    unchecked: Vec<FileMismatch>,
    /// Number of entries of the log; the last one names the version.
    log_entries: usize,
    /// The hash of the last entry: stored elsewhere, the hash reveals a later rewrite of the log.
    log_head: Option<Digest>,
    /// Number of entries that match the given file.
    log_kept: Option<usize>,
}

/// `verify`.
///
/// # Errors
/// `not_signed`, `foreign_bytes`, `live_log_broken`, `live_moved`; the error of the edge; `usage`.
pub(crate) async fn verify(context: &Context, args: &VerifyArgs) -> Result<(), Failure> {
    let signers = public_keys(&args.signer).await?;
    let (edge, place) = (context.edge()?, context.place()?);
    let Some(version) = edge.status(&place).await?.version else {
        return Err(Failure::new(Code::NothingLive, format!("Nothing is live in {place}.")));
    };
    let manifest = manifest(&edge, &version).await?;
    let by = signed(&edge, &version, &signers, args.min).await?;
    let log = log(&edge, &place, &version).await?;
    let log_kept = args.log.as_deref().map(|file| continues((&edge, &place), &log, file)).transpose()?;
    let integrity = manifest.serving_for(place.as_str()).integrity;
    let has_hashes = !matches!(integrity, None | Some(Integrity::Off));
    let site = Site::new(&args.site, &context.settings.edge_access()?, version, has_hashes)?;
    let mut verified = Verified {
        app: edge.app().clone(),
        environment: place.clone(),
        version,
        site: args.site.to_string(),
        signed_by: by,
        same: 0,
        other_files: Vec::new(),
        foreign: Vec::new(),
        missing: Vec::new(),
        unchecked: Vec::new(),
        log_entries: log.len(),
        log_head: log.last().map(|entry| entry.hash),
        log_kept,
    };
    visit(context, &site, &manifest, &args.except, &mut verified).await?;
    if edge.status(&place).await?.version != Some(version) {
        return Err(moved(&place));
    }
    let style = context.output.style;
    if let Some(failure) = failure(&verified) {
        if !context.output.is_json {
            context.output.lines(&lines(style, &verified));
        }
        return Err(failure);
    }
    context.output.write(&verified, || lines(style, &verified));
    Ok(())
}

/// Returns the reason why a site is not the signed version.
fn failure(verified: &Verified) -> Option<Failure> {
    let (odd, what) = [
        (&verified.foreign, "not of the signed version"),
        (&verified.missing, "not there"),
        (&verified.other_files, "not at their own path"),
    ]
    .into_iter()
    .find(|(odd, _)| !odd.is_empty())?;
    let first = odd.first()?;
    let (count, path, why) = (counted(odd.len(), "file"), escaped(first.path.as_str()), escaped(&first.why));
    let message = format!("{count} of the site {} {what}, such as /{path}: {why}.", is_are(odd.len()));
    let hint = if !verified.foreign.is_empty() {
        "look at what answers there: another server, a proxy, a backend, or a changed edge"
    } else if first.why == PROTECTED {
        "`devanture protect` says who may see it, and visitors alone are answered: verify it while it is public"
    } else {
        "where a rule of the site says so, leave the path out with `--except PATH`"
    };
    Some(Failure::new(Code::ForeignBytes, message).hint(hint))
}

fn is_are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// Returns the manifest, which belongs to the version since its hash is the id.
async fn manifest(edge: &Edge, version: &VersionId) -> Result<Manifest, Failure> {
    let bytes = edge.manifest(version).await?;
    if VersionId::of(&bytes) != *version {
        let message = format!("The manifest that the edge gives is not that of {}.", version.short());
        return Err(Failure::new(Code::ForeignBytes, message));
    }
    Manifest::stored(&bytes)
        .map_err(|error| Failure::new(Code::BadManifest, format!("The manifest cannot be read: {error}.")))
}

/// Returns the keys among `signers` that have signed the version.
async fn signed(edge: &Edge, version: &VersionId, signers: &[SignerKey], min: u64) -> Result<Vec<String>, Failure> {
    let signatures = edge.signatures(&version.to_string()).await?.signatures;
    let signatures: Vec<Signature> = signatures.into_iter().map(|one| one.signature.0).collect();
    let by = signed_by(signers, &signatures, edge.app(), version);
    let names: Vec<String> = by.iter().map(|key| escaped(&key.named())).collect();
    if u64::try_from(by.len()).unwrap_or(u64::MAX) >= min {
        return Ok(names);
    }
    let has = if names.is_empty() { "none of them".to_owned() } else { format!("only {}", names.join(", ")) };
    let message = format!("{} is live, and of the signers that you trust {has} signed it.", version.short());
    Err(Failure::new(Code::NotSigned, message)
        .hint(format!("`devanture sign {}` lists its signatures", version.short())))
}

/// Returns the failure of a live version that changed meanwhile.
fn moved(place: &PlaceName) -> Failure {
    let message = format!("Another version went live in {place} while the site was verified.");
    Failure::new(Code::LiveMoved, message).hint("verify it again")
}

/// Reads the log; the last entry has to match the live version.
///
/// The two are read one after the other: after a difference, the log is broken only if no version went live between,
/// which is the case if the log has the same length after a second read of the live version.
async fn log(edge: &Edge, place: &PlaceName, version: &VersionId) -> Result<Vec<LiveLogEntry>, Failure> {
    let entries = read_all(edge, place).await?;
    match entries.last() {
        Some(last) if last.version == *version => Ok(entries),
        Some(last) => {
            let is_live = edge.status(place).await?.version == Some(*version);
            let again = read_all(edge, place).await?;
            if !is_live || again.last().map(|entry| entry.number) != Some(last.number) {
                return Err(moved(place));
            }
            Err(broken(&format!("its last entry is of {}, and {} is live", last.version.short(), version.short())))
        }
        // Versions that went live before the log existed have no entry.
        None => Ok(entries),
    }
}

async fn visit(
    context: &Context,
    site: &Site,
    manifest: &Manifest,
    except: &[String],
    verified: &mut Verified,
) -> Result<(), Failure> {
    let of_version: BTreeSet<Digest> = manifest.files.values().map(|entry| entry.hash).collect();
    let is_of_version = |digest: Digest| of_version.contains(&digest);
    let serving = manifest.serving_for(verified.environment.as_str());
    let routes = serving.routes.unwrap_or_default();
    let is_routed = |path: &BundlePath| {
        let path = format!("/{path}");
        routes.iter().any(|route| route.path.takes(&path) && !route.files_first)
    };
    let is_excepted = |path: &BundlePath| except.iter().any(|pattern| takes(pattern, path.as_str()));
    let working = context.progress.working("verify", &verified.site);
    let found: Vec<(&BundlePath, Found)> = stream::iter(&manifest.files)
        .map(|(path, entry)| {
            let (is_of_version, is_routed, is_excepted) = (&is_of_version, is_routed(path), is_excepted(path));
            async move {
                let name = path.as_str();
                let found = match name {
                    HEADERS_FILE | REDIRECTS_FILE => Found::Unchecked("it is a file of rules".to_owned()),
                    _ if is_excepted => Found::Unchecked("it was excepted".to_owned()),
                    _ if is_routed => Found::Unchecked("a backend answers there".to_owned()),
                    _ => site.check(path, entry, is_of_version).await?,
                };
                Ok::<_, Failure>((path, found))
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    drop(working);
    for (path, found) in found {
        let path = path.clone();
        match found {
            Found::Same => verified.same += 1,
            Found::OtherFile => {
                verified.other_files.push(FileMismatch { path, why: "another file of the version came".to_owned() });
            }
            Found::Missing(why) => verified.missing.push(FileMismatch { path, why }),
            Found::Foreign(why) => verified.foreign.push(FileMismatch { path, why }),
            Found::Unchecked(why) => verified.unchecked.push(FileMismatch { path, why }),
        }
    }
    Ok(())
}

/// Returns true if an `--except` matches a file: the path, the address without `.html` or `index.html`, or the
/// beginning of either.
fn takes(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_start_matches('/');
    if let Some(beginning) = pattern.strip_suffix('*') {
        return path.starts_with(beginning);
    }
    let address = path.strip_suffix(".html").unwrap_or(path);
    let folder = address.strip_suffix("index").filter(|folder| folder.is_empty() || folder.ends_with('/'));
    path == pattern
        || address == pattern
        || folder.is_some_and(|folder| folder.trim_end_matches('/') == pattern.trim_end_matches('/'))
}

fn lines(style: Style, verified: &Verified) -> Vec<String> {
    let Verified { version, site, environment, .. } = verified;
    let mut lines = vec![style.line("version", &format!("{version} in {environment}"))];
    lines.extend(verified.signed_by.iter().map(|name| style.line("signed", &format!("by {name}"))));
    lines.push(style.line("files", &format!("{} as signed at {site}", verified.same)));
    let odd = |name: &str, odd: &FileMismatch| {
        style.line(name, &format!("/{}: {}", escaped(odd.path.as_str()), escaped(&odd.why)))
    };
    lines.extend(verified.foreign.iter().map(|one| style.bad(&odd("foreign", one))));
    for (name, odds) in [("missing", &verified.missing), ("other", &verified.other_files)] {
        lines.extend(odds.iter().take(SHOWN_MAX).map(|one| style.bad(&odd(name, one))));
        if let Some(more) = odds.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            lines.push(style.line("", &format!("and {more} more")));
        }
    }
    lines.extend(verified.unchecked.iter().take(SHOWN_MAX).map(|one| odd("unchecked", one)));
    if let Some(more) = verified.unchecked.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        lines.push(style.line("", &format!("and {more} more that could not be checked")));
    }
    let head = verified.log_head.map_or_else(String::new, |head| format!(", its head is {head}"));
    lines.push(style.line("log", &format!("{} of what was live{head}", counted(verified.log_entries, "entry"))));
    lines
}
