//! Admission of bundles: all checks on the manifest alone, shared by manifests and archives.

use devanture_config::api::{DeployOptions, Source};
use devanture_config::limits::Limits;
use devanture_config::manifest::BadManifest;
use devanture_config::manifest::parts::{self, Parts};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Manifest, PlaceName};

use super::publisher::Publisher;
use crate::ledger::{Actor, Error};
use crate::places::check_may_be_live;
use crate::runner::folder_count;
use crate::switch::{check_reason, check_typed};

/// Longest message, commit and branch of a push, in characters; the history keeps the texts forever.
pub const SOURCE_CHARACTERS_MAX: usize = 4_096;

impl Publisher {
    /// Checks the right of `actor` to push the bundle to the environment, before any blob is sent. `own` is the part
    /// vouched for by the actor: the whole bundle or the pushed half.
    ///
    /// # Errors
    /// The first failed check; nothing is stored.
    pub(crate) async fn check_bundle(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        (manifest, own): (&Manifest, &Manifest),
        options: &DeployOptions,
    ) -> Result<(), Error> {
        self.check_smoke(manifest)?;
        self.check_upstreams(manifest)?;
        self.switcher.check_reach(actor, app, own).await?;
        self.check_backend(actor, own)?;
        self.check_image(own).await?;
        match &options.alias {
            Some(alias) => self.environments.aliases.check_alias(actor, app, alias, options.alias_expires).await?,
            None => self.ledger.check_place(app, environment).await?,
        }
        let is_switching = !options.no_switch && options.alias.is_none();
        self.environments.places.check_may_make(app, environment, !is_switching).await?;
        if is_switching {
            check_may_be_live(environment)?;
            self.check_parts_stay(app, environment, manifest, options.allow_warnings)?;
        }
        self.environments.hostnames.check_hostnames(actor, app, environment, manifest, is_switching).await
    }

    /// Checks a manifest against the format and the limits of bundles.
    ///
    /// # Errors
    /// `empty_bundle`, `bad_manifest`, `bundle_too_large`, `path_too_long`.
    pub(crate) fn check_manifest(&self, app: &AppName, manifest: &Manifest) -> Result<(), Error> {
        manifest.check().map_err(|error| {
            let code = if error == BadManifest::Empty { Code::EmptyBundle } else { Code::BadManifest };
            Problem::new(code, format!("{error}."))
        })?;
        let limits = self.ledger.limits();
        let limits = limits.for_app(app);
        let beyond = |code, what: String, limit: &str| -> Result<(), Error> {
            let problem = Problem::new(code, what);
            Err(problem.hint(format!("`{limit}` in edge.toml is the limit")).into())
        };
        let too_large = |what, limit: &str| beyond(Code::BundleTooLarge, what, limit);
        let count = u64::try_from(manifest.files_count()).unwrap_or(u64::MAX);
        if count > limits.bundle_files_max {
            let detail = format!("The bundle has {}; {} are allowed.", counted(count, "file"), limits.bundle_files_max);
            let problem = Problem::new(Code::BundleTooLarge, detail);
            return Err(problem.limit("bundle_files_max", limits.bundle_files_max, count).into());
        }
        let folders = manifest.server.as_ref().map_or(0, folder_count);
        if folders > limits.bundle_files_max {
            let most = limits.bundle_files_max;
            let detail = format!("The backend of the bundle has {}; {most} are allowed.", counted(folders, "folder"));
            return too_large(detail, "bundle_files_max");
        }
        let bytes = manifest.total_bytes();
        if bytes > limits.bundle_bytes_max {
            return too_large(
                format!("The bundle has {bytes} bytes; {} are allowed.", limits.bundle_bytes_max),
                "bundle_bytes_max",
            );
        }
        let pages = manifest.files.iter().map(|(path, file)| (path, file.size));
        let server = manifest.server.iter().flat_map(|folder| {
            let links = folder.links.keys().map(|path| (path, 0));
            folder.files.iter().map(|(path, file)| (path, file.size)).chain(links)
        });
        for (path, size) in pages.chain(server) {
            let path = path.as_str();
            let longest = path.split('/').map(str::len).max().unwrap_or(0);
            if exceeds(path.len(), limits.path_bytes_max) {
                return beyond(
                    Code::PathTooLong,
                    format!("A path of the bundle has {} bytes; {} are allowed.", path.len(), limits.path_bytes_max),
                    "path_bytes_max",
                );
            }
            if exceeds(longest, limits.segment_bytes_max) {
                return beyond(
                    Code::PathTooLong,
                    format!("A segment of `{path}` has {longest} bytes; {} are allowed.", limits.segment_bytes_max),
                    "segment_bytes_max",
                );
            }
            if size > limits.file_bytes_max {
                return too_large(
                    format!("`{path}` has {size} bytes; {} are allowed.", limits.file_bytes_max),
                    "file_bytes_max",
                );
            }
        }
        Ok(())
    }

    /// Checks the number of smoke checks of each table, at the beginning of a push.
    pub(crate) fn check_smoke(&self, manifest: &Manifest) -> Result<(), Error> {
        let max = self.ledger.limits().smoke_checks_max;
        let most = manifest.tables().filter_map(|table| table.smoke.as_ref()).map(Vec::len).max().unwrap_or(0);
        if u64::try_from(most).unwrap_or(u64::MAX) <= max {
            return Ok(());
        }
        let detail = format!("The manifest has {most} smoke checks for one environment; {max} are allowed.");
        Err(Problem::new(Code::BadManifest, detail).hint("`smoke_checks_max` in edge.toml is the limit").into())
    }

    /// Checks the number of upstreams and members of each environment, at the beginning of a push.
    pub(crate) fn check_upstreams(&self, manifest: &Manifest) -> Result<(), Error> {
        let limits = self.ledger.limits();
        let most = most_upstreams(manifest);
        let members_max = limits.upstream_members_per_version_max;
        let (what, max, name) = if exceeds(most.count, limits.upstreams_max) {
            (format!("{} upstreams", most.count), limits.upstreams_max, "upstreams_max")
        } else if exceeds(most.members, members_max) {
            let what = format!("upstreams with {} members together", most.members);
            (what, members_max, "upstream_members_per_version_max")
        } else {
            return Ok(());
        };
        let detail = format!("The manifest has {what} for one environment; {max} are allowed.");
        Err(Problem::new(Code::BadManifest, detail).hint(format!("`{name}` in edge.toml is the limit")).into())
    }

    /// Checks that the edge may run the bundle's backend, before any blob is sent.
    ///
    /// # Errors
    /// `runner_off`, `runner_forbidden`, `too_many`.
    pub(crate) fn check_backend(&self, actor: &Actor, manifest: &Manifest) -> Result<(), Error> {
        if !manifest.has_backend() {
            return Ok(());
        }
        let runner = self.environments.instances.runner()?;
        runner.check(actor.is_admin_of_all())?;
        manifest.server.as_ref().map_or(Ok(()), |folder| runner.check_interpreters(folder))?;
        for place in manifest.env.keys().map(PlaceName::as_str).chain([""]) {
            let Some(managed) = manifest.managed_in(&manifest.serving_for(place)) else { continue };
            let processes = managed.server.processes.iter().map(|process| process.instances.alone());
            self.environments.instances.check_instances(processes.fold(0, u64::saturating_add))?;
        }
        Ok(())
    }

    /// Checks that a push removes no whole part of the live version: pages, routes, backend, or a process.
    ///
    /// # Errors
    /// `warnings`, unless the push accepts warnings.
    pub(crate) fn check_parts_stay(
        &self,
        app: &AppName,
        environment: &PlaceName,
        manifest: &Manifest,
        allow_warnings: bool,
    ) -> Result<(), Error> {
        let Some(live) = self.environments.live_parts(app, environment).filter(|_| !allow_warnings) else {
            return Ok(());
        };
        let lost = live.lost(&Parts::of(manifest, environment.as_str()));
        if lost.is_empty() {
            return Ok(());
        }
        let detail = parts::lost_text(environment.as_str(), &lost);
        Err(Problem::new(Code::Warnings, detail).hint(parts::LOST_HINT).into())
    }
}

/// Checks the options of a push about its half and its reason.
///
/// # Errors
/// `bad_request`.
pub fn check_options(options: &DeployOptions) -> Result<(), Error> {
    check_reason(options.reason.as_deref())?;
    match (&options.with, options.only) {
        (Some(_), None) => {
            let detail = "`with` names the version that gives the other half, and `only` is missing.";
            Err(Problem::new(Code::BadRequest, detail).hint("say which half is pushed: front or backend").into())
        }
        (Some(with), Some(_)) => check_typed("with", with),
        (None, _) => Ok(()),
    }
}

/// Checks the source of a push: bounds each text, and limits the total to half of a history entry.
///
/// # Errors
/// `bad_request`.
pub fn check_source(source: &Source, limits: &Limits) -> Result<(), Error> {
    let texts = [
        ("message", &source.message),
        ("commit", &source.commit),
        ("branch", &source.branch),
        ("ci", &source.ci),
        ("url", &source.url),
    ];
    for (name, text) in texts {
        if text.as_ref().is_some_and(|text| text.chars().count() > SOURCE_CHARACTERS_MAX) {
            let detail = format!("The {name} of the push has more than {SOURCE_CHARACTERS_MAX} characters.");
            return Err(Problem::new(Code::BadRequest, detail).hint("say it shorter").into());
        }
        // The text is shown in terminals, and on one line of a log.
        let is_printable = |c: char| !c.is_control() || (name == "message" && matches!(c, '\n' | '\t'));
        if text.as_ref().is_some_and(|text| !text.chars().all(is_printable)) {
            let detail = format!("The {name} of the push holds a control character.");
            return Err(Problem::new(Code::BadRequest, detail).hint("leave it out").into());
        }
    }
    let (bytes, bytes_max) =
        (serde_json::to_vec(source).map_or(0, |json| json.len()), limits.history_entry_bytes_max / 2);
    if exceeds(bytes, bytes_max) {
        let detail = format!("What the push says of itself has {bytes} bytes as JSON; {bytes_max} are allowed.");
        let hint = "say it shorter; half of `history_entry_bytes_max` in edge.toml is the limit";
        return Err(Problem::new(Code::BadRequest, detail).hint(hint).into());
    }
    Ok(())
}

/// Upstreams below `[upstreams]`, and their declared members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct UpstreamsCount {
    count: usize,
    members: usize,
}

/// Returns the largest numbers of any environment, including upstreams inherited from the base.
fn most_upstreams(manifest: &Manifest) -> UpstreamsCount {
    let base = || manifest.base.upstreams.iter().flatten();
    let of_base =
        UpstreamsCount { count: base().count(), members: base().map(|(_, declared)| declared.to().len()).sum() };
    let in_base = |name: &str| manifest.base.upstreams.as_ref()?.get(name).map(|declared| declared.to().len());
    let tables = manifest.env.values().map(|table| {
        table.upstreams.iter().flatten().fold(of_base, |sum, (name, declared)| {
            // A declaration of an environment replaces the declaration of the base.
            let members = sum.members.saturating_add(declared.to().len());
            match in_base(name) {
                Some(replaced) => UpstreamsCount { members: members.saturating_sub(replaced), ..sum },
                None => UpstreamsCount { count: sum.count.saturating_add(1), members },
            }
        })
    });
    tables.fold(of_base, |most, one| UpstreamsCount {
        count: most.count.max(one.count),
        members: most.members.max(one.members),
    })
}

fn exceeds(length: usize, max: u64) -> bool {
    u64::try_from(length).is_ok_and(|length| length > max)
}

/// Checks that no two paths differ only in case, for file systems that ignore case.
pub(crate) fn check_cases(manifest: &Manifest, options: &DeployOptions) -> Result<(), Error> {
    let Some((path, other)) = manifest.case_collision().filter(|_| !options.allow_warnings) else { return Ok(()) };
    let detail = format!("`{path}` and `{other}` differ in nothing but their case.");
    Err(Problem::new(Code::CaseCollision, detail)
        .hint("rename one of them: on many systems they are one file; --allow-warnings lets both pass")
        .into())
}
