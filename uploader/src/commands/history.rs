//! `history`: previously live versions, as a list or a single deploy in full.

use devanture_config::PlaceName;
use devanture_config::api::{Deploy, DeployKind, History, Outcome};
use devanture_config::manifest::halves::Halves;
use devanture_config::problem::Code;

use crate::args::HistoryArgs;
use crate::context::Context;
use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::{Again, counted, step_text, time_text};
use crate::output::terminal::escaped;

/// Upper bound of deploys in one answer of the edge.
const PAGE_MAX: u16 = 1_000;
/// Characters of a commit in a list.
const COMMIT_CHARACTERS: usize = 8;
/// Characters of a branch, a token's name and a message in a list.
const SHOWN_CHARACTERS_MAX: [usize; 3] = [24, 20, 72];

/// `history`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn history(context: &Context, args: &HistoryArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    let style = context.output.style;
    if let Some(id) = &args.id {
        let deploy = find(&edge, &place, id).await?;
        context.output.write(&deploy, || whole_lines(style, &deploy));
        return Ok(());
    }
    let history = match args.all {
        true => all(&edge, &place).await?,
        false => page(&edge, &place, args.limit, args.before.as_deref()).await?,
    };
    let again = context.again();
    context.output.write(&history, || list_lines(style, &history, &again));
    Ok(())
}

async fn page(edge: &Edge, place: &PlaceName, limit: u16, before: Option<&str>) -> Result<History, Failure> {
    let limit = limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(before.map(|before| ("before", before)));
    edge.history(place, &query).await
}

async fn all(edge: &Edge, place: &PlaceName) -> Result<History, Failure> {
    let mut history = page(edge, place, PAGE_MAX, None).await?;
    while let Some(next) = history.next.take() {
        let mut more = page(edge, place, PAGE_MAX, Some(&next)).await?;
        history.deploys.append(&mut more.deploys);
        history.collected.append(&mut more.collected);
        history.deleted.append(&mut more.deleted);
        history.unreadable = history.unreadable.saturating_add(more.unreadable);
        history.next = more.next;
    }
    history.collected.sort_unstable();
    history.collected.dedup();
    history.deleted.sort_unstable();
    history.deleted.dedup();
    Ok(history)
}

/// Returns the newest deploy of an environment with an id, or version id, beginning with `id`.
async fn find(edge: &Edge, place: &PlaceName, id: &str) -> Result<Deploy, Failure> {
    let id = id.to_ascii_lowercase();
    let is_it = |deploy: &Deploy| deploy.id.starts_with(&id) || deploy.version.to_string().starts_with(&id);
    let mut before = None;
    loop {
        let history = page(edge, place, PAGE_MAX, before.as_deref()).await?;
        let mut found = history.deploys.into_iter().filter(is_it).peekable();
        if let Some(deploy) = found.next() {
            // Of several deploys of one version the newest is meant; the beginning of an id must be unique.
            let other = found.find(|other| other.version != deploy.version);
            return match other {
                Some(other) => Err(Failure::new(
                    Code::AmbiguousId,
                    format!("{id} begins the ids of more than one deploy, such as {} and {}.", deploy.id, other.id),
                )
                .hint("write more of it")),
                None => Ok(deploy),
            };
        }
        before = history.next;
        if before.is_none() {
            let message = format!("The history of {place} of the app {} holds no deploy {id}.", edge.app());
            return Err(Failure::new(Code::NotFound, message)
                .hint("`devanture history` lists them; pushes to aliases are in `--env preview`"));
        }
    }
}

const fn kind_text(kind: DeployKind) -> &'static str {
    match kind {
        DeployKind::Push => "push",
        DeployKind::Switch => "switch",
        DeployKind::Rollback => "rollback",
        DeployKind::Promote => "promote",
        DeployKind::Pause => "pause",
        DeployKind::Resume => "resume",
        DeployKind::Settings => "settings",
        DeployKind::Lock => "lock",
        DeployKind::Unlock => "unlock",
        DeployKind::Delete => "delete",
        DeployKind::Undelete => "undelete",
        DeployKind::Run => "run",
        DeployKind::Change => "change",
    }
}

/// Returns the kind of a deploy, with the pushed halves.
fn pushed_text(deploy: &Deploy) -> String {
    let kind = kind_text(deploy.kind);
    match deploy.halves {
        Some(Halves::Backend) => format!("{kind} backend"),
        Some(Halves::Both) => format!("{kind} both"),
        Some(Halves::Front) => format!("{kind} front"),
        None => kind.to_owned(),
    }
}

const fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Live => "live",
        Outcome::Stored => "stored",
        Outcome::Superseded => "superseded",
        Outcome::Failed => "failed",
        Outcome::Done => "done",
    }
}

fn marked(style: Style, outcome: Outcome, text: &str) -> String {
    match outcome {
        Outcome::Live => style.good(text),
        Outcome::Failed => style.bad(text),
        Outcome::Stored | Outcome::Superseded | Outcome::Done => text.to_owned(),
    }
}

/// Pads the texts of a column to the widest of them.
fn padded(column: &[String], width_min: usize) -> Vec<String> {
    let width = column.iter().map(|text| text.chars().count()).fold(width_min, usize::max);
    column.iter().map(|text| format!("{text:<width$}")).collect()
}

/// Shortens a foreign text to a cell of the list.
fn shortened(text: &str, characters_max: usize) -> String {
    let text = &escaped(text.lines().next().unwrap_or_default());
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    let begin: String = text.chars().take(characters_max.saturating_sub(1)).collect();
    format!("{begin}…")
}

/// A line per deploy, in columns.
fn list_lines(style: Style, history: &History, again: &Again) -> Vec<String> {
    let deploys = &history.deploys;
    if deploys.is_empty() {
        return vec![format!("Nothing was ever live in {} of {}.", history.environment, history.app)];
    }
    let [branch_max, who_max, message_max] = SHOWN_CHARACTERS_MAX;
    let column =
        |text: &dyn Fn(&Deploy) -> String, width_min| padded(&deploys.iter().map(text).collect::<Vec<_>>(), width_min);
    let columns = [
        column(&pushed_text, 8),
        column(&|deploy| outcome_text(deploy.outcome).to_owned(), 10),
        column(&|deploy| shortened(&deploy.who, who_max), 0),
        column(&commit_text, 0),
        column(&|deploy| shortened(&place_text(deploy), branch_max), 0),
    ];
    let mut lines = Vec::new();
    for (index, deploy) in deploys.iter().enumerate() {
        let cell = |number: usize| columns.get(number).and_then(|column| column.get(index)).map_or("", String::as_str);
        let outcome = marked(style, deploy.outcome, cell(1));
        let gone = match deploy.version {
            version if history.deleted.contains(&version) => "  (deleted)",
            version if history.collected.contains(&version) => "  (collected)",
            _ => "",
        };
        let reason = deploy.problem.as_ref().map(|problem| format!("[{}] ", problem.code.as_str())).unwrap_or_default();
        let why = deploy.reason.as_deref().or(deploy.source.message.as_deref());
        let message = shortened(why.unwrap_or_default(), message_max);
        let line = format!(
            "{}  {}  {}  {outcome}  {}  {}  {}  {reason}{message}",
            time_text(deploy.at_ms),
            deploy.version.short(),
            cell(0),
            cell(2),
            cell(3),
            cell(4),
        );
        lines.push(format!("{}{gone}", line.trim_end()));
    }
    if history.unreadable > 0 {
        let entries = counted(history.unreadable, "entry");
        lines.push(format!("left out: {entries} of this history, whose records in the edge's catalog are damaged"));
    }
    if let Some(next) = &history.next {
        lines.push(style.dim(&format!("more: devanture history --before {next}{}", again.0)));
    }
    lines
}

/// Returns the commit, with `*` for uncommitted changes.
fn commit_text(deploy: &Deploy) -> String {
    let commit: String =
        deploy.source.commit.iter().flat_map(|commit| commit.chars()).take(COMMIT_CHARACTERS).collect();
    if deploy.source.dirty { format!("{commit}*") } else { commit }
}

/// Returns the alias of a push to one, else the branch.
fn place_text(deploy: &Deploy) -> String {
    match (&deploy.alias, &deploy.source.branch) {
        (Some(alias), _) => alias.to_string(),
        (None, branch) => branch.clone().unwrap_or_default(),
    }
}

/// Returns the lines of a single deploy in full.
fn whole_lines(style: Style, deploy: &Deploy) -> Vec<String> {
    let line = |name: &str, text: &str| format!("  {}  {text}", style.dim(&format!("{name:<8}")));
    let outcome = marked(style, deploy.outcome, outcome_text(deploy.outcome));
    let mut lines = vec![format!("{} in {}: {outcome}", pushed_text(deploy), deploy.environment)];
    lines.push(line("deploy", &deploy.id));
    lines.push(line("version", &deploy.version.short()));
    lines.extend(deploy.with.map(|with| line("with", &with.short())));
    lines.extend(deploy.previous.map(|previous| line("before", &previous.short())));
    lines.extend(deploy.alias.as_ref().map(|alias| line("alias", alias.as_str())));
    lines.push(line("when", &time_text(deploy.at_ms)));
    lines.push(line("who", &escaped(&deploy.who)));
    let source = &deploy.source;
    let dirty = if source.dirty { "  (with changes that no commit has)" } else { "" };
    lines.extend(source.commit.as_ref().map(|commit| line("commit", &format!("{}{dirty}", escaped(commit)))));
    lines.extend(source.branch.as_ref().map(|branch| line("branch", &escaped(branch))));
    lines.extend(source.message.as_ref().map(|message| line("message", &escaped(message))));
    lines.extend(deploy.reason.as_ref().map(|reason| line("reason", &escaped(reason))));
    lines.extend(source.url.as_ref().map(|url| line(&escaped(source.ci.as_deref().unwrap_or("run")), &escaped(url))));
    if !deploy.steps.is_empty() {
        lines.push("steps".to_owned());
        let width = deploy.steps.iter().map(|step| step.ms.to_string().len()).max().unwrap_or(0);
        lines.extend(deploy.steps.iter().map(|step| {
            let text = step_text(style, step);
            line(&step.name, &format!("{:>width$} ms  {text}", step.ms))
        }));
    }
    if let Some(problem) = &deploy.problem {
        lines.push(style.bad(&format!("error: {}  [{}]", problem.detail, problem.code.as_str())));
    }
    if !deploy.log.is_empty() {
        lines.push("log".to_owned());
        lines.extend(deploy.log.iter().map(|text| format!("  {text}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::Digest;
    use devanture_config::api::{DeployProblem, Source, Step, StepState};

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    fn deploy(who: &str, outcome: Outcome, source: Source) -> Deploy {
        Deploy {
            settings: 0,
            id: "641a2b".to_owned(),
            kind: DeployKind::Push,
            environment: PlaceName::prod(),
            version: Digest::of(who.as_bytes()),
            previous: None,
            who: who.to_owned(),
            at_ms: 0,
            source,
            steps: vec![Step { name: "verify".to_owned(), state: StepState::Done, detail: "ok".to_owned(), ms: 7 }],
            outcome,
            alias: None,
            problem: None,
            went_back: None,
            reason: None,
            halves: None,
            with: None,
            log: Vec::new(),
        }
    }

    fn source(commit: &str, branch: &str, message: &str, dirty: bool) -> Source {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Source { commit: some(commit), branch: some(branch), message: some(message), dirty, ..Source::default() }
    }

    #[test]
    fn the_columns_of_a_list_stand_below_each_other() {
        let failed = Deploy {
            problem: Some(DeployProblem { code: Code::BadRules, detail: "Bad.".to_owned() }),
            ..deploy("ci", Outcome::Failed, source("0123456789abcdef", "feature/long-name", "New checkout", false))
        };
        let live = Deploy {
            reason: Some("Prices".to_owned()),
            ..deploy("somebody", Outcome::Live, source("4f2a91bc03de", "main", "Of the commit", true))
        };
        let (one, two) = (failed.version.short(), live.version.short());
        let history = History {
            app: "shop".parse().unwrap(),
            environment: PlaceName::prod(),
            deleted: vec![live.version],
            collected: Vec::new(),
            unreadable: 0,
            deploys: vec![failed, live],
            next: Some("12".to_owned()),
        };
        let at = "1970-01-01 00:00:00 UTC";
        assert_eq!(
            list_lines(plain(), &history, &Again(" --env staging".to_owned())),
            [
                format!(
                    "{at}  {one}  push      failed      ci        01234567   feature/long-name  [bad_rules] New checkout"
                ),
                format!("{at}  {two}  push      live        somebody  4f2a91bc*  main               Prices  (deleted)"),
                "more: devanture history --before 12 --env staging".to_owned(),
            ]
        );
    }

    #[test]
    fn one_deploy_is_reported_whole() {
        let source = Source {
            ci: Some("github".to_owned()),
            url: Some("https://run".to_owned()),
            ..source("abc", "main", "Prices", true)
        };
        let deploy = Deploy {
            reason: Some("Prices\u{1b} were wrong".to_owned()),
            log: vec!["let pass: x".to_owned()],
            ..deploy("ci", Outcome::Live, source)
        };
        let lines = whole_lines(plain(), &deploy);
        for expected in [
            "push in prod: live",
            "  deploy    641a2b",
            "  commit    abc  (with changes that no commit has)",
            "  reason    Prices\\u{1b} were wrong",
            "  github    https://run",
            "  verify    7 ms  ok",
            "  let pass: x",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
    }

    #[test]
    fn what_is_long_is_shortened_by_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüx", 3), "äö…");
    }
}
