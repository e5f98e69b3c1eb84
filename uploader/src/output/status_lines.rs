//! The lines of `status`, and of the listed environments and aliases.

use devanture_config::VersionId;
use devanture_config::api::{Damage, PlaceStatus, SettingName, Status};
use devanture_config::site_toml::RoutePath;

use super::progress::Style;
use super::report::{counted, lock_text, time_text};

/// Upper bound of damaged files named by `status`.
const DAMAGED_FILES_SHOWN: usize = 3;

/// Returns the damage of a live version, and the remedy.
fn damage_text(damage: &Damage) -> String {
    let version = damage.version.map_or_else(|| "what should be live".to_owned(), |version| version.short());
    match &damage.error {
        Some(error) if damage.in_memory => {
            return format!("{version} is served from memory, and cannot be loaded again ({error}); push it again");
        }
        Some(error) => return format!("{version} cannot be loaded ({error}); push it again, or roll back"),
        None => {}
    }
    let mut files = damage.files.iter().take(DAMAGED_FILES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if damage.count > DAMAGED_FILES_SHOWN as u64 {
        files.push_str(", …");
    }
    let (count, are) = (counted(damage.count, "file"), if damage.count == 1 { "is" } else { "are" });
    let what = match damage.count {
        _ if damage.in_memory => "on the disk, and served from memory until the edge starts again",
        1 => "and answers 503",
        _ => "and answer 503",
    };
    format!("{count} of {version} {are} damaged or missing {what} ({files}); push it again")
}

/// The lines of `status`.
pub(crate) fn status_lines(style: Style, status: &Status) -> Vec<String> {
    let line = |name: &str, text: String| style.line(name, &text);
    let mut lines = vec![format!("{} in {}", style.good(status.app.as_str()), status.environment)];
    match &status.version {
        Some(version) => {
            let since = status.since_ms.map_or_else(String::new, |ms| format!("  since {}", time_text(ms)));
            lines.push(line("version", format!("{}{since}", version.short())));
        }
        None => lines.push(line("version", "nothing is live yet".to_owned())),
    }
    if let Some(why) = &status.went_back {
        lines.push(line("note", format!("the edge went back to it by itself: {why}")));
    }
    if let Some(canary) = &status.canary {
        let text = format!("{} of the visitors get {} (devanture canary)", canary.share, canary.version.short());
        lines.push(line("canary", text));
    }
    if !status.pinned.is_empty() {
        let shorts: Vec<String> = status.pinned.iter().map(VersionId::short).collect();
        lines.push(line("held", format!("visitors who came before, on {} (devanture unpin)", shorts.join(", "))));
    }
    if let Some(urls) = &status.urls {
        lines.push(line("live", urls.live.clone()));
        lines.push(line("preview", urls.preview.clone()));
    }
    if let Some(damage) = &status.damaged {
        lines.push(line("damaged", style.bad(&damage_text(damage))));
    }
    if let Some(files) = status.quarantined {
        let files = counted(files, "file");
        lines.push(line("edge", style.bad(&format!("{files} in quarantine; see `devanture-edge verify`"))));
    }
    if status.catalog_damaged {
        lines.push(line("edge", style.bad("a page of its catalog is damaged; see `devanture-edge verify`")));
    }
    if !status.lost_secrets.is_empty() {
        let names: Vec<&str> = status.lost_secrets.iter().map(SettingName::as_str).collect();
        let (lack, them) = if names.len() == 1 { ("lacks its key", "it") } else { ("lack their key", "them") };
        let text = format!(
            "{} {lack}, so that no instance starts: restore the edge's key file, or set {them} again with `devanture env set`",
            names.join(", ")
        );
        lines.push(line("secrets", style.bad(&text)));
    }
    if let Some(pause) = &status.paused {
        let message =
            pause.message.as_deref().map_or_else(String::new, |message| format!("  \u{201c}{message}\u{201d}"));
        lines.push(line("paused", format!("since {} by {}{message}", time_text(pause.since_ms), pause.who)));
        let open: Vec<&str> = pause.allow.iter().map(RoutePath::as_str).collect();
        if !open.is_empty() {
            lines.push(line("open", open.join(", ")));
        }
    }
    if let Some(lock) = &status.locked {
        lines.push(line("locked", lock_text(lock)));
    }
    if !status.hostnames.is_empty() {
        let names: Vec<&str> = status.hostnames.iter().map(String::as_str).collect();
        lines.push(line("names", names.join(", ")));
    }
    lines.extend(place_lines(&status.places));
    if status.more_places {
        lines.push(line("note", "there are more than these; `devanture alias list` tells all aliases".to_owned()));
    }
    lines
}

/// A line per environment or alias.
fn place_lines(places: &[PlaceStatus]) -> Vec<String> {
    let kind = |place: &PlaceStatus| if place.alias { "alias" } else { "env" };
    places
        .iter()
        .map(|p| format!("  {:<8}  {:<20}  {}  {}", kind(p), p.name.as_str(), p.version.short(), p.url))
        .collect()
}
