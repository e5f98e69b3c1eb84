//! `protect`: the allowed visitors of previews and environments. `share`: links that open one of them.

use devanture_config::PlaceName;
use devanture_config::api::{
    Protection, ProtectionList, ProtectionRequest, ProtectionStatus, Share, ShareMade, ShareRequest, ShareTarget,
};
use devanture_config::problem::Code;

use super::accounts::password;
use super::dry_run;
use crate::args::{ProtectArgs, ShareArgs, ShareCommand};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::time_text;
use crate::output::terminal::escaped;

/// The argument for the environment that holds the protection of previews.
const PREVIEWS: &str = "previews";
const PREVIEW: &str = "preview";
/// The argument for the default of the edge.
const DEFAULT: &str = "default";

/// `protect`.
///
/// # Errors
/// The error of the edge; `usage` for an invalid mode, and without a password.
pub(crate) async fn protect(context: &Context, args: &ProtectArgs) -> Result<(), Failure> {
    let (edge, style) = (context.edge()?, context.output.style);
    let (Some(what), Some(mode)) = (&args.what, &args.mode) else {
        let list = edge.protections().await?;
        context.output.write(&list, || list_lines(style, &list));
        return Ok(());
    };
    let usage = |message: String| Failure::new(Code::Usage, message);
    let name = if what == PREVIEWS { PREVIEW } else { what.as_str() };
    let place = name.parse::<PlaceName>().map_err(|error| usage(format!("{error}.")))?;
    let mode = match mode.as_str() {
        DEFAULT => None,
        text => Some(text.parse::<Protection>().map_err(|error| usage(format!("{error}, nor default.")))?),
    };
    let password = match mode {
        Some(Protection::Password) => Some(password().await?),
        _ => None,
    };
    let set = edge.protect(&place, &ProtectionRequest { mode, password }, args.dry_run).await?;
    context.output.of_change(args.dry_run).report(&set, || {
        let text = status_text(&set.protection);
        match set.dry_run {
            true => vec![style.line("would", &format!("protect {text}")), dry_run::nothing_changed(style)],
            false => vec![style.line("protected", &text)],
        }
    });
    if !place.is_preview() && set.protection.mode != Protection::Public && previews_are_open(context).await {
        let again = context.again().0;
        context.progress.note(&format!(
            "previews stay open to everybody, that of what is live in {place} too: `devanture protect previews MODE{again}` \
             protects them"
        ));
    }
    // The protection may precede the first push, and the name may be a typo.
    if !place.is_preview() && !edge.status(&place).await.is_ok_and(|status| status.version.is_some()) {
        context.progress.note(&format!("nothing is live in {place} yet; it is protected once something is"));
    }
    Ok(())
}

/// Returns true if every visitor may see the previews of the app, as far as this credential may read that.
async fn previews_are_open(context: &Context) -> bool {
    let Ok(edge) = context.edge() else { return false };
    let is_open = |status: &ProtectionStatus| status.environment.is_preview() && status.mode == Protection::Public;
    edge.protections().await.is_ok_and(|list| list.protections.iter().any(is_open))
}

/// `share`.
///
/// # Errors
/// The error of the edge; `nothing_live` without a target and a live version.
pub(crate) async fn share(context: &Context, args: &ShareArgs) -> Result<(), Failure> {
    let (edge, style) = (context.edge()?, context.output.style);
    match &args.command {
        Some(ShareCommand::List) => {
            let list = edge.shares().await?;
            context.output.write(&list, || match list.shares.as_slice() {
                [] => vec!["no share links".to_owned()],
                shares => shares.iter().map(|share| share_line(style, share)).collect(),
            });
        }
        Some(ShareCommand::Revoke { id, dry_run }) => {
            let revoked = edge.revoke_share(id, *dry_run).await?;
            context.output.of_change(*dry_run).report(&revoked, || match revoked.dry_run {
                true => vec![
                    style.line("would", &format!("revoke {}", escaped(&revoked.revoked))),
                    dry_run::nothing_changed(style),
                ],
                false => vec![style.line("revoked", &escaped(&revoked.revoked))],
            });
        }
        None => {
            let target = match &args.target {
                Some(target) => target.clone(),
                None => live_version(context).await?,
            };
            let password = if args.password { Some(password().await?) } else { None };
            let made = edge.share(&ShareRequest { target, expires_s: args.expires, password }).await?;
            print_made(context, &made);
            let is_preview = !matches!(made.share.target, ShareTarget::Environment(_));
            if is_preview && are_previews_off(context).await {
                let note = "previews are off, so that nobody sees it; `devanture protect previews token` ends that";
                context.progress.note(note);
            }
        }
    }
    Ok(())
}

/// Returns true if links to previews are disabled. Without the right to read that, no note is printed.
async fn are_previews_off(context: &Context) -> bool {
    let Ok(edge) = context.edge() else { return false };
    let is_off = |status: &ProtectionStatus| status.environment.is_preview() && status.mode == Protection::Off;
    edge.protections().await.is_ok_and(|list| list.protections.iter().any(is_off))
}

/// The live version of the environment.
async fn live_version(context: &Context) -> Result<String, Failure> {
    let place = context.place()?;
    let status = context.edge()?.status(&place).await?;
    status.version.map(|version| version.to_string()).ok_or_else(|| {
        let message = format!("Nothing is live in {place}.");
        Failure::new(Code::NothingLive, message).hint("name what to share: `devanture share VERSION`, or an alias")
    })
}

fn print_made(context: &Context, made: &ShareMade) {
    let until = time_text(made.share.expires_ms);
    let with = if made.share.has_password { ", with its password" } else { "" };
    context.progress.note(&format!("opens {} to everybody who has it{with}, until {until}", target_text(&made.share)));
    context.progress.note(&format!("shown this once; `devanture share revoke {}` ends it", made.share.id));
    context.output.write(made, || vec![made.url.expose().to_owned()]);
}

fn target_text(share: &Share) -> String {
    let kind = match share.target {
        ShareTarget::Alias(_) => "the alias",
        ShareTarget::Environment(_) => "the environment",
        ShareTarget::Version(_) => "the version",
    };
    format!("{kind} {}", share.target)
}

fn share_line(style: Style, share: &Share) -> String {
    let password = if share.has_password { ", with a password" } else { "" };
    let rest = format!("until {}{password}; made by {}", time_text(share.expires_ms), escaped(&share.who));
    format!("  {}  {}  {}", escaped(&share.id), target_text(share), style.dim(&rest))
}

fn list_lines(style: Style, list: &ProtectionList) -> Vec<String> {
    list.protections.iter().map(|status| format!("  {}", set_text(style, status))).collect()
}

fn set_text(style: Style, status: &ProtectionStatus) -> String {
    let by = match (&status.who, status.at_ms) {
        (Some(who), Some(at_ms)) => format!("set by {}, {}", escaped(who), time_text(at_ms)),
        _ => "the edge's default".to_owned(),
    };
    format!("{}  {}", status_text(status), style.dim(&by))
}

fn status_text(status: &ProtectionStatus) -> String {
    let place = if status.environment.is_preview() { PREVIEWS } else { status.environment.as_str() };
    format!("{place}: {}", status.mode)
}
