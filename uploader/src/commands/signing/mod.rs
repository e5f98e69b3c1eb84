//! `sign`, `signers` and `live-log`; `verify` is a separate module.

mod live_log;
mod site;
mod verify;

use devanture_config::api::{Signers, SignersReport, SignersRequest, VersionSignatures};
use devanture_config::problem::Code;
use devanture_config::signing::{Signature, SignerKey, signed_by};
use devanture_config::text::counted;

use super::dry_run;
use crate::args::{SignArgs, SignersArgs, SignersCommand};
use crate::context::Context;
use crate::edge::signing::{SigningKey, public_keys, sign_all};
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::time_text;
use crate::output::terminal::escaped;

pub(crate) use live_log::live_log;
pub(crate) use verify::verify;

/// `sign`.
///
/// # Errors
/// The error of the edge; `usage` for a key that cannot sign.
pub(crate) async fn sign(context: &Context, args: &SignArgs) -> Result<(), Failure> {
    let (edge, style) = (context.edge()?, context.output.style);
    let keys = SigningKey::read_all(&args.key).await?;
    let mut signatures = edge.signatures(&args.id.to_string()).await?;
    if keys.is_empty() {
        context.output.write(&signatures, || list_lines(style, &signatures));
        return Ok(());
    }
    // The edge only completes the typed id: it cannot have a different version signed.
    let version = signatures.version;
    if !version.to_string().starts_with(&args.id.to_string()) {
        return Err(Failure::new(Code::Internal, "The edge names another version than was typed."));
    }
    for signature in sign_all(keys, edge.app().clone(), version).await? {
        signatures = edge.add_signature(&version, signature).await?;
    }
    context.output.report(&signatures, || list_lines(style, &signatures));
    note_enough(context, &signatures).await;
    Ok(())
}

/// Notes if the signatures are enough for the environment, if signatures are required and the token may read that.
async fn note_enough(context: &Context, list: &VersionSignatures) {
    let (Ok(edge), Ok(place)) = (context.edge(), context.place()) else { return };
    let Ok(wanted) = edge.signers(&place).await else { return };
    if wanted.signers.is_empty() {
        return;
    }
    let signatures: Vec<Signature> = list.signatures.iter().map(|one| one.signature.0.clone()).collect();
    let by = signed_by(&wanted.signers, &signatures, edge.app(), &list.version);
    let (id, again) = (list.version.short(), context.again().0);
    let has = u64::try_from(by.len()).unwrap_or(u64::MAX);
    let count = format!("{has} of the {} that {place} wants", counted_of(wanted.signatures_min));
    context.progress.note(&match has >= wanted.signatures_min {
        true => format!("{count}: `devanture switch {id}{again}` makes it live"),
        false => {
            let missing = wanted.signers.iter().filter(|signer| !by.contains(signer));
            let missing: Vec<String> = missing.map(|signer| escaped(&signer.named())).collect();
            format!("{count}; of its signers these have not signed: {}", missing.join(", "))
        }
    });
}

fn counted_of(signatures: u64) -> String {
    counted(usize::try_from(signatures).unwrap_or(usize::MAX), "signature")
}

fn list_lines(style: Style, list: &VersionSignatures) -> Vec<String> {
    let id = list.version.short();
    if list.signatures.is_empty() {
        return vec![format!("Nobody has signed {id}.")];
    }
    let line =
        |key: &SignerKey, when: String| style.line("signed", &format!("{id} by {}{when}", escaped(&key.named())));
    list.signatures.iter().map(|one| line(&one.key, style.dim(&format!("  {}", time_text(one.at_ms))))).collect()
}

/// `signers`.
///
/// # Errors
/// The error of the edge; `usage` for invalid keys.
pub(crate) async fn signers(context: &Context, args: &SignersArgs) -> Result<(), Failure> {
    let (edge, style, place) = (context.edge()?, context.output.style, context.place()?);
    let (wanted, dry_run) = match &args.command {
        None | Some(SignersCommand::List) => {
            let signers = edge.signers(&place).await?;
            context.output.write(&signers, || signer_lines(style, &signers));
            return Ok(());
        }
        Some(SignersCommand::Set { keys, min, dry_run }) => {
            (SignersRequest { signers: public_keys(keys).await?, signatures_min: Some(*min) }, *dry_run)
        }
        Some(SignersCommand::Off { dry_run }) => (SignersRequest::default(), *dry_run),
    };
    let report = edge.set_signers(&place, &wanted, dry_run).await?;
    context.output.of_change(dry_run).report(&report, || report_lines(style, &report));
    if let Some(live) = report.signers.live.as_ref().filter(|live| !live.is_enough) {
        let count = counted(live.signed_by.len(), "signature");
        context.progress.note(&format!("what is live has {count} of these, and stays live"));
    }
    Ok(())
}

fn report_lines(style: Style, report: &SignersReport) -> Vec<String> {
    let mut lines = signer_lines(style, &report.signers);
    if report.dry_run {
        lines.push(dry_run::nothing_changed(style));
    }
    lines
}

fn signer_lines(style: Style, signers: &Signers) -> Vec<String> {
    let place = &signers.environment;
    if signers.signers.is_empty() {
        return vec![format!("Versions need no signature in {place}.")];
    }
    let needed = counted_of(signers.signatures_min);
    let mut lines = vec![style.line("wanted", &format!("{needed} in {place}"))];
    lines.extend(signers.signers.iter().map(|key| style.line("signer", &escaped(&key.named()))));
    if let Some(live) = &signers.live {
        let text = match live.signed_by.as_slice() {
            [] => "not signed".to_owned(),
            by => format!("signed by {}", by.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(", ")),
        };
        lines.push(style.line("live", &if live.is_enough { text } else { style.bad(&text) }));
    }
    lines
}
