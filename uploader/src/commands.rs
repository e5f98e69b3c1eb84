//! The commands that are one question to the edge, and those that need none.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use devanture_config::AppName;
use devanture_config::api::{PromoteRequest, RollbackRequest, SwitchReport, SwitchRequest};
use devanture_config::problem::Code;
use devanture_config::site_toml::{self, SiteFile};

use crate::args::{Command, InitArgs, PromoteArgs, RollbackArgs, SwitchArgs};
use crate::context::Context;
use crate::exit::{Failure, INTERRUPTED};
use crate::foresee::{self, Foreseen};
use crate::moving;
use crate::project::WWW;
use crate::push::LAST_QUESTION_TIME_MAX;
use crate::report::{self, Again};
use crate::settings::Source;
use crate::telling::StepTeller;

/// Folders that builds write, in the order in which they are looked for.
const BUILD_FOLDERS: [&str; 7] = [WWW, "dist", "build", "out", "_site", "public", "site"];

/// `switch`.
///
/// # Errors
/// As the edge says.
pub(crate) async fn switch(context: &Context, args: &SwitchArgs) -> Result<(), Failure> {
    if args.dry_run {
        let edge = context.edge()?;
        tell_foreseen(context, &foresee::switch(&edge, &context.place()?, &args.id, args.if_live.as_ref()).await?);
        return Ok(());
    }
    let request = SwitchRequest {
        version: args.id.to_string(),
        if_live: args.if_live.as_ref().map(ToString::to_string),
        allow_refingerprint: args.allow_refingerprint,
        force: args.force,
        no_smoke: args.gate.no_smoke,
        watch_s: args.gate.watch_s(),
    };
    let mut teller = StepTeller::of_gate(&context.progress);
    let report = context.edge()?.switch(&context.place()?, &request, &mut |step| teller.tell(step)).await?;
    drop(teller);
    tell_switch(context, &report, &context.again());
    Ok(())
}

/// `rollback`.
///
/// # Errors
/// As the edge says.
pub(crate) async fn rollback(context: &Context, args: &RollbackArgs) -> Result<(), Failure> {
    if args.dry_run {
        let edge = context.edge()?;
        tell_foreseen(context, &foresee::rollback(&edge, &context.place()?, args.id.as_ref()).await?);
        return Ok(());
    }
    let request = RollbackRequest {
        version: args.id.as_ref().map(ToString::to_string),
        force: args.force,
        with_settings: args.with_settings,
        no_smoke: args.gate.no_smoke,
        watch_s: args.gate.watch_s(),
    };
    let mut teller = StepTeller::of_gate(&context.progress);
    let report = context.edge()?.rollback(&context.place()?, &request, &mut |step| teller.tell(step)).await?;
    drop(teller);
    tell_switch(context, &report, &context.again());
    Ok(())
}

/// `promote`.
///
/// # Errors
/// As the edge says, or `usage` where both environments are one.
pub(crate) async fn promote(context: &Context, args: &PromoteArgs) -> Result<(), Failure> {
    let environment = context.settings.environment()?;
    if environment.source == Source::Flag && environment.value != args.to {
        return Err(Failure::new(Code::Usage, "`promote` takes --from and --to, and no other --env."));
    }
    if args.from == args.to {
        return Err(Failure::new(Code::Usage, format!("--from and --to are both {}.", args.to)));
    }
    if args.dry_run {
        tell_foreseen(context, &foresee::promote(&context.edge()?, &args.from, &args.to).await?);
        return Ok(());
    }
    let wanted = PromoteRequest {
        from: args.from.clone(),
        allow_refingerprint: args.allow_refingerprint,
        force: args.force,
        no_smoke: args.gate.no_smoke,
        watch_s: args.gate.watch_s(),
    };
    let mut teller = StepTeller::of_gate(&context.progress);
    let report = context.edge()?.promote(&args.to, &wanted, &mut |step| teller.tell(step)).await?;
    drop(teller);
    let again = Again(match args.to.is_prod() {
        true => String::new(),
        false => format!(" --env {}", args.to),
    });
    tell_switch(context, &report, &again);
    Ok(())
}

fn tell_foreseen(context: &Context, foreseen: &Foreseen) {
    context.output.write(foreseen, || foreseen.lines(context.output.style));
}

fn tell_switch(context: &Context, report: &SwitchReport, again: &Again) {
    context.output.write(report, || report::switch_lines(context.output.style, report, again));
}

/// What to say last after `failure` of a command that makes a stored version live: which version is live now, where the
/// checks before it or the watch after it were why, or where the edge was not heard to the end.
pub(crate) async fn last_sentence(context: &Context, command: &Command, failure: &Failure) -> Option<String> {
    let place = match command {
        Command::Promote(args) if !args.dry_run => args.to.clone(),
        Command::Rollback(args) if !args.dry_run => context.place().ok()?,
        Command::Switch(args) if !args.dry_run => context.place().ok()?,
        _ => return None,
    };
    let is_decided = failure.is(Code::SmokeFailed) || failure.is(Code::WatchFailed);
    let is_open = failure.is(Code::Unreachable) || failure.exit >= INTERRUPTED;
    if !is_decided && !is_open {
        return None;
    }
    let status = context.edge().ok()?.status_within(&place, LAST_QUESTION_TIME_MAX).await;
    Some(match status.map(|status| status.version) {
        Ok(None) => report::NOTHING_LIVE.to_owned(),
        Ok(Some(version)) if is_open => format!("{} is live in {place}.", version.short()),
        Err(_) if is_open => report::NOT_KNOWN.to_owned(),
        Ok(Some(_)) | Err(_) => report::STILL_RUNNING.to_owned(),
    })
}

/// `status`.
///
/// # Errors
/// As the edge says.
pub(crate) async fn status(context: &Context) -> Result<(), Failure> {
    let status = context.edge()?.status(&context.place()?).await?;
    context.output.write(&status, || report::status_lines(context.output.style, &status));
    Ok(())
}

/// `init`.
///
/// # Errors
/// `usage` where there is a file already, or where it cannot be written.
pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<(), Failure> {
    if let Some(provider) = args.from {
        return moving::init(context, args, provider);
    }
    context.project.check_www(args)?;
    let path = Path::new(&context.project.file_name);
    let app =
        context.settings.app_if_said()?.map(|setting| setting.value).or_else(|| app_of_folder(&context.project.folder));
    let app = app.map_or_else(|| "site".to_owned(), |app| app.to_string());
    let found = build_folder(&context.project.folder);
    let text = site_file_text(&app, args.www.as_deref().unwrap_or(found));
    if args.dry_run {
        context
            .output
            .write(&serde_json::json!({ "file": path, "text": text }), || text.lines().map(str::to_owned).collect());
        return Ok(());
    }
    write_new(path, &text)?;
    let value = serde_json::json!({ "file": path, "app": app });
    context.output.write(&value, || {
        let wrote = format!("Wrote {} for the app {app}.", path.display());
        vec![wrote, "Next: set DEVANTURE_URL and DEVANTURE_TOKEN, then `devanture push`.".to_owned()]
    });
    Ok(())
}

/// The folder that a build has written, or would.
pub(crate) fn build_folder(folder: &Path) -> &'static str {
    BUILD_FOLDERS.iter().find(|name| folder.join(name).is_dir()).copied().unwrap_or(WWW)
}

/// Writes a file that is not there yet.
///
/// # Errors
/// `usage` where there is one, or where it cannot be written.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    // `create_new` neither overwrites a file nor follows a link that stands there.
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Code::Usage, format!("{} is there already, and stays as it is.", path.display()))
        }
        _ => Failure::new(Code::Usage, format!("{} cannot be written: {error}.", path.display())),
    })
}

/// An app's name made of that of a folder.
pub(crate) fn app_of_folder(folder: &Path) -> Option<AppName> {
    let folder = std::fs::canonicalize(folder).ok()?;
    let name = folder.file_name()?.to_str()?.to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(devanture_config::names::APP_CHARACTERS_MAX).collect();
    slug.trim_end_matches('-').parse().ok()
}

/// What `init` writes.
fn site_file_text(app: &str, www: &str) -> String {
    // A folder's name may hold what ends a text of TOML; Rust's escapes of those are TOML's too.
    let www = www.replace('\\', "\\\\").replace('"', "\\\"");
    let text = format!(
        r#"app = "{app}"
www = "{www}"                             # what your build writes, relative to this file

# html_handling = "auto-trailing-slash"   # or "force-trailing-slash", "drop-trailing-slash", "none", "as-is"
# not_found = "404-page"                  # or "single-page-application", "none"
# rules = "netlify"                       # whose meaning _redirects and _headers have; or "cloudflare"

# [[routes]]                              # a path that goes to a backend of yours, on the same origin
# path = "/api/*"
# to = "http://127.0.0.1:3000"

# [server]                                # a backend of yours that goes along, and that the edge runs
# command = ["node", "server.js"]         # in the folder dist/server, or what dir = "…" says

# [env.staging]                           # any of the above again, for one environment
# not_found = "none"
"#
    );
    debug_assert!(SiteFile::parse(site_toml::FILE_NAME, &text).is_ok(), "{text}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_writes_is_read_back() {
        let text = site_file_text("shop", "a \"b\" \\ c");
        let site = SiteFile::parse("devanture.toml", &text).unwrap();
        assert_eq!(site.app.unwrap().as_str(), "shop");
        assert_eq!(site.www.as_deref(), Some("a \"b\" \\ c"));
        assert!(site.base.is_empty() && site.env.is_empty());
        let lines = text.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
        let uncommented: Vec<&str> = lines.collect();
        SiteFile::parse("devanture.toml", &uncommented.join("\n")).unwrap();
    }

    #[test]
    fn a_folder_gives_its_name_to_the_app() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            app_of_folder(&path).map(String::from)
        };
        assert_eq!(name("My Shop_2").as_deref(), Some("my-shop-2"));
        assert_eq!(name("--").as_deref(), None);
        assert_eq!(name(&"a-".repeat(30)).map(|n| n.len()), Some(39));
    }
}
