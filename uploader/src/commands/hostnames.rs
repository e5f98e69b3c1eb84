//! `hostnames list`, `hostnames add`, `hostnames remove`.

use devanture_config::api::{HostnameList, HostnameRemoved, HostnameRequest, HostnameSet, HostnameStatus};

use devanture_config::text::date_time;

use super::dry_run;
use crate::args::HostnamesCommand;
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;

/// Requests for a `--dry-run`.
const DRY_RUN: &[(&str, &str)] = &[("dry_run", "true")];

/// `hostnames`.
///
/// # Errors
/// The error of the edge; for a name without a DNS proof, with the record to create.
pub(crate) async fn hostnames(context: &Context, command: &HostnamesCommand) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    let style = context.output.style;
    match command {
        HostnamesCommand::List => {
            let list = edge.hostnames(&place).await?;
            context.output.write(&list, || list_lines(style, &list));
        }
        HostnamesCommand::Add { name, canonical, dry_run } => {
            let request = HostnameRequest { canonical: *canonical };
            let query = if *dry_run { DRY_RUN } else { &[] };
            let set = edge.add_hostname(&place, name, &request, query).await?;
            context.output.of_change(*dry_run).report(&set, || set_lines(style, &set));
        }
        HostnamesCommand::Remove { name, dry_run } => {
            let query = if *dry_run { DRY_RUN } else { &[] };
            let removed = edge.remove_hostname(&place, name, query).await?;
            context.output.of_change(*dry_run).report(&removed, || removed_lines(style, &removed));
        }
    }
    Ok(())
}

/// Returns the name in Unicode, with its ASCII form if different.
fn both_forms(host: &HostnameStatus) -> String {
    if host.unicode == host.name.as_str() { host.unicode.clone() } else { format!("{} ({})", host.unicode, host.name) }
}

/// The answer to visitors of a name.
fn effect(host: &HostnameStatus) -> String {
    match &host.redirects_to {
        Some(to) => format!("leads to {to}"),
        None if host.canonical => "canonical".to_owned(),
        None => "serves".to_owned(),
    }
}

fn list_lines(style: Style, list: &HostnameList) -> Vec<String> {
    if list.hostnames.is_empty() {
        return vec![format!("{} has no hostname of its own in {}.", list.app, list.environment)];
    }
    let names: Vec<String> = list.hostnames.iter().map(both_forms).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let rows = list.hostnames.iter().zip(&names).map(|(host, name)| {
        let listed = if host.listed { style.dim("  in devanture.toml") } else { String::new() };
        let ends =
            host.certificate.map(|certificate| format!("  certificate until {}", date_time(certificate.expires_ms)));
        format!("  {name:<width$}  {}{listed}{}", effect(host), style.dim(&ends.unwrap_or_default()))
    });
    let mut lines: Vec<String> = rows.collect();
    let records: Vec<String> = list.hostnames.iter().flat_map(|host| &host.https_records).cloned().collect();
    if !records.is_empty() {
        lines.push(style.dim("  records for your DNS, by which browsers come by HTTP/3 at once:"));
        lines.extend(records.iter().map(|record| format!("  {record}")));
    }
    lines
}

fn set_lines(style: Style, set: &HostnameSet) -> Vec<String> {
    let (name, place) = (both_forms(&set.hostname), &set.environment);
    let text = match (&set.moved_from, set.changed) {
        (Some(from), _) => format!("{name}: {} of {} → {place} of {}", from.environment, from.app, set.app),
        (None, true) => format!("{name} is {place}'s; {}", effect(&set.hostname)),
        (None, false) => format!("{name} is {place}'s already; nothing has changed"),
    };
    if set.dry_run {
        return vec![style.line("would", &text), dry_run::nothing_changed(style)];
    }
    let mut lines = vec![style.line("added", &text)];
    lines.extend(set.hostname.url.as_ref().map(|url| style.line("ready", &style.good(url))));
    lines.extend(set.hostname.https_records.iter().map(|record| style.line("dns", record)));
    lines
}

fn removed_lines(style: Style, removed: &HostnameRemoved) -> Vec<String> {
    let name = removed.removed.unicode();
    let mut lines = match removed.dry_run {
        true => vec![style.line("would", &format!("{name} would lead nowhere"))],
        false => vec![style.line("removed", &format!("{name} leads nowhere now"))],
    };
    lines.extend(removed.hint.as_ref().map(|hint| style.line("note", hint)));
    if removed.dry_run {
        lines.push(dry_run::nothing_changed(style));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::api::{CertificateSource, HostnameCertificate, HostnameOwner, HostnameSource};

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    fn status(name: &str, canonical: bool, to: Option<&str>) -> HostnameStatus {
        let name: devanture_config::HostPattern = name.parse().unwrap();
        HostnameStatus {
            unicode: name.unicode(),
            url: name.exact().map(|name| format!("https://{name}")),
            name,
            canonical,
            redirects_to: to.map(|to| to.parse().unwrap()),
            source: HostnameSource::Api,
            listed: canonical,
            certificate: canonical
                .then_some(HostnameCertificate { source: CertificateSource::File, expires_ms: 1_900_000_000_000 }),
            https_records: Vec::new(),
        }
    }

    #[test]
    fn names_are_reported_in_both_forms_with_what_becomes_of_their_visitors() {
        let list = HostnameList {
            app: "shop".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            canonical: Some("example.org".parse().unwrap()),
            hostnames: vec![
                status("*.example.org", false, None),
                status("example.org", true, None),
                status("bücher.example", false, Some("example.org")),
            ],
            next: None,
        };
        assert_eq!(
            list_lines(plain(), &list),
            [
                "  *.example.org                           serves",
                "  example.org                             canonical  in devanture.toml  certificate until 2030-03-17 17:46:40 UTC",
                "  bücher.example (xn--bcher-kva.example)  leads to example.org",
            ]
        );
        let record = "example.org. 3600 IN HTTPS 1 . alpn=\"h3,h2\"";
        let with_record =
            HostnameStatus { https_records: vec![record.to_owned()], ..status("example.org", true, None) };
        let list = HostnameList { hostnames: vec![with_record], ..list };
        let expected =
            ["  records for your DNS, by which browsers come by HTTP/3 at once:".to_owned(), format!("  {record}")];
        assert_eq!(list_lines(plain(), &list)[1..], expected);
        let none = HostnameList { hostnames: Vec::new(), ..list };
        assert_eq!(list_lines(plain(), &none), ["shop has no hostname of its own in prod."]);
    }

    #[test]
    fn a_change_is_reported_and_a_dry_run_says_that_it_was_one() {
        let set = HostnameSet {
            dry_run: false,
            app: "shop".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            changed: true,
            moved_from: None,
            hostname: status("example.org", true, None),
        };
        let expected = ["  added     example.org is prod's; canonical", "  ready     https://example.org"];
        assert_eq!(set_lines(plain(), &set), expected);
        let record = vec!["example.org. 3600 IN HTTPS 1 . alpn=\"h3,h2\"".to_owned()];
        let with_record = HostnameSet {
            hostname: HostnameStatus { https_records: record.clone(), ..set.hostname.clone() },
            ..set.clone()
        };
        assert_eq!(set_lines(plain(), &with_record)[2..], [format!("  dns       {}", record[0])]);
        let from = HostnameOwner { app: "other".parse().unwrap(), environment: "staging".parse().unwrap() };
        let moved = HostnameSet { moved_from: Some(from), dry_run: true, ..set.clone() };
        let expected =
            ["  would     example.org: staging of other → prod of shop", "  note      --dry-run: nothing has changed"];
        assert_eq!(set_lines(plain(), &moved), expected);
        let same = HostnameSet { changed: false, ..set };
        assert!(set_lines(plain(), &same)[0].ends_with("is prod's already; nothing has changed"));
        let removed = HostnameRemoved {
            dry_run: true,
            app: "shop".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            removed: "bücher.example".parse().unwrap(),
            canonical: None,
            hint: Some("take it out".to_owned()),
        };
        let expected = [
            "  would     bücher.example would lead nowhere",
            "  note      take it out",
            "  note      --dry-run: nothing has changed",
        ];
        assert_eq!(removed_lines(plain(), &removed), expected);
        let done = removed_lines(plain(), &HostnameRemoved { dry_run: false, hint: None, ..removed });
        assert_eq!(done, ["  removed   bücher.example leads nowhere now"]);
    }
}
