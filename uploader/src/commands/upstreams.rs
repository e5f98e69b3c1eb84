//! `upstreams list`, `upstreams add`, `upstreams drain`, `upstreams remove`.

use std::time::{Duration, Instant};

use devanture_config::api::{DesiredState, MemberReport, UpstreamReport, UpstreamsReport};
use devanture_config::problem::Code;
use devanture_config::site_toml::{Protocol, UpstreamUrl};

use super::dry_run;
use crate::args::{MemberArgs, UpstreamsArgs, UpstreamsCommand};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::prompt::confirm;
use crate::output::report::counted;

/// Pause between two checks of the wanted state.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Requests for a `--dry-run`.
const DRY_RUN: &[(&str, &str)] = &[("dry_run", "true")];

/// `upstreams`.
///
/// # Errors
/// The error of the edge; `usage` for the last member without a confirmation.
pub(crate) async fn upstreams(context: &Context, args: &UpstreamsArgs) -> Result<(), Failure> {
    match &args.command {
        None | Some(UpstreamsCommand::List) => {
            let report = context.edge()?.upstreams(&context.place()?).await?;
            context.output.write(&report, || all_lines(context.output.style, &report));
            Ok(())
        }
        Some(UpstreamsCommand::Add { member, wait }) => change(context, member, DesiredState::In, true, *wait).await,
        Some(UpstreamsCommand::Drain { member, wait }) => {
            change(context, member, DesiredState::Drain, true, *wait).await
        }
        Some(UpstreamsCommand::Remove { member, yes }) => change(context, member, DesiredState::Out, *yes, None).await,
    }
}

/// Sets the state of a member, and waits for it, at most `wait` seconds.
async fn change(
    context: &Context,
    args: &MemberArgs,
    desired: DesiredState,
    is_meant: bool,
    wait: Option<u32>,
) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    let (style, member) = (context.output.style, (&args.name, &args.address));
    if !is_meant && !args.dry_run {
        let foreseen = edge.set_member(&place, member, desired, DRY_RUN).await?;
        let list = edge.upstreams(&place).await?;
        let before = list.upstreams.iter().find(|upstream| upstream.name == args.name.as_str());
        if before.is_some_and(has_members) && !has_members(&foreseen) {
            let what =
                format!("{} is the last member of {} in {place}: its requests would get 503.", args.address, args.name);
            let way_back = "`devanture upstreams add` adds it again";
            confirm(args.name.as_str(), &what, way_back, "--yes", false, context.output.is_json).await?;
        }
    }
    let mut report = edge.set_member(&place, member, desired, if args.dry_run { DRY_RUN } else { &[] }).await?;
    if let Some(seconds) = wait.filter(|_| !args.dry_run) {
        report = reached(context, args, desired, (report, seconds)).await?;
    }
    context.output.of_change(args.dry_run).report(&report, || {
        let (word, text) = changed(args, desired, &report);
        let mut lines = vec![style.line(if args.dry_run { "would" } else { word }, &text)];
        lines.extend(lines_of(style, &report));
        if args.dry_run {
            lines.push(dry_run::nothing_changed(style));
        }
        lines
    });
    Ok(())
}

/// Waits until a member has the wanted state.
async fn reached(
    context: &Context,
    args: &MemberArgs,
    desired: DesiredState,
    (mut report, seconds): (UpstreamReport, u32),
) -> Result<UpstreamReport, Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    let began = Instant::now();
    while !has_reached(&report, &args.address, desired) {
        if began.elapsed() > Duration::from_secs(seconds.into()) {
            let (name, address) = (&args.name, &args.address);
            let what = match desired {
                DesiredState::In => format!("{address} is a member of {name}, and is not up after {seconds} s"),
                DesiredState::Drain | DesiredState::Out => {
                    format!("{address} gets no new requests of {name}, and has some in flight after {seconds} s")
                }
            };
            let hint = "`devanture upstreams` shows its backends; `--wait=SECONDS` waits longer";
            return Err(Failure::new(Code::TimedOut, what).hint(hint));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let all = edge.upstreams(&place).await?;
        let same = all.upstreams.into_iter().find(|upstream| upstream.name == args.name.as_str());
        // For a pool that the live version no longer names, there is no state to wait for.
        let Some(same) = same else { return Ok(report) };
        report = same;
    }
    Ok(report)
}

/// Returns true if all backends of a member are up, or have no request in flight.
fn has_reached(report: &UpstreamReport, address: &UpstreamUrl, desired: DesiredState) -> bool {
    let member = report.members.iter().find(|member| member.address == *address);
    let mut backends = member.into_iter().flat_map(|member| &member.backends).peekable();
    match desired {
        DesiredState::In => backends.peek().is_some() && backends.all(|backend| backend.state == "up"),
        DesiredState::Drain | DesiredState::Out => backends.all(|backend| backend.requests == 0),
    }
}

/// Returns true if a member gets the requests, or would once healthy.
fn has_members(report: &UpstreamReport) -> bool {
    report.members.iter().any(|member| !matches!(member.desired, Some(DesiredState::Out | DesiredState::Drain)))
}

/// The result of a change: a word, and the rest.
fn changed(args: &MemberArgs, desired: DesiredState, report: &UpstreamReport) -> (&'static str, String) {
    let (name, address) = (&args.name, &args.address);
    match desired {
        DesiredState::In => ("added", format!("{address} is a member of {name}")),
        DesiredState::Drain => {
            let member = report.members.iter().find(|member| member.address == *address);
            let requests = member.map_or(0, |member| member.backends.iter().map(|backend| backend.requests).sum());
            ("drains", format!("{address} gets no new requests of {name}; {} under way", counted(requests, "request")))
        }
        DesiredState::Out => ("removed", format!("{address} is no member of {name}")),
    }
}

fn all_lines(style: Style, report: &UpstreamsReport) -> Vec<String> {
    if report.upstreams.is_empty() {
        return vec!["What is live has no upstream.".to_owned()];
    }
    report.upstreams.iter().flat_map(|upstream| lines_of(style, upstream)).collect()
}

/// Returns an upstream as a table: its members, and the backends of each with their states and requests.
fn lines_of(style: Style, report: &UpstreamReport) -> Vec<String> {
    let mut head = report.name.clone();
    if report.protocol == Protocol::Http2 {
        head.push_str("  HTTP/2");
    }
    if report.waiting > 0 {
        head.push_str(&format!("  {} waiting", counted(report.waiting, "request")));
    }
    let mut rows: Vec<[String; 4]> = Vec::new();
    for member in &report.members {
        let origin = origin(member);
        let address = member.address.to_string();
        if member.backends.is_empty() {
            let state = if member.desired == Some(DesiredState::Out) { "out" } else { "no address yet" };
            rows.push([address, "-".to_owned(), state.to_owned(), origin]);
            continue;
        }
        for (number, backend) in member.backends.iter().enumerate() {
            let first = number == 0;
            let state = format!("{}, {}", backend.state, counted(backend.requests, "request"));
            let (address, origin) = if first { (address.clone(), origin.clone()) } else { Default::default() };
            rows.push([address, backend.address.clone(), state, origin]);
        }
    }
    if rows.is_empty() {
        return vec![format!("  {head}"), format!("    {}", style.dim("no member"))];
    }
    let width = |column: usize| rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max();
    let (first, second, third) = (width(0).unwrap_or(0), width(1).unwrap_or(0), width(2).unwrap_or(0));
    let row = |[address, backend, state, origin]: &[String; 4]| {
        let line = format!("    {address:<first$}  {backend:<second$}  {state:<third$}");
        if origin.is_empty() { line.trim_end().to_owned() } else { format!("{line}  {}", style.dim(origin)) }
    };
    std::iter::once(format!("  {head}")).chain(rows.iter().map(row)).collect()
}

/// Returns the origin of a member, and the token that changed its state.
fn origin(member: &MemberReport) -> String {
    let who = member.who.as_deref().unwrap_or_default();
    match (member.declared, member.desired) {
        (true, None | Some(DesiredState::In)) => String::new(),
        // No token added the member: an instance of a backend.
        (false, None) => "started by the edge".to_owned(),
        (false, Some(DesiredState::In)) => format!("added by {who}"),
        (_, Some(DesiredState::Drain)) => format!("drained by {who}"),
        (_, Some(DesiredState::Out)) => format!("removed by {who}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::api::Backend;

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    fn member(
        address: &str,
        declared: bool,
        desired: Option<DesiredState>,
        backends: &[(&str, u64, &str)],
    ) -> MemberReport {
        let backend = |(address, requests, state): &(&str, u64, &str)| Backend {
            address: (*address).to_owned(),
            requests: *requests,
            state: (*state).to_owned(),
        };
        MemberReport {
            address: address.parse().unwrap(),
            backends: backends.iter().map(backend).collect(),
            declared,
            desired,
            who: desired.map(|_| "ci".to_owned()),
        }
    }

    #[test]
    fn an_upstream_is_a_table_of_members_and_their_backends() {
        let report = UpstreamReport {
            members: vec![
                member("http://api.internal", true, None, &[("10.0.0.5:80", 3, "up"), ("10.0.0.6:80", 1, "unwell")]),
                member("http://10.0.0.9:3000", true, Some(DesiredState::Out), &[]),
                member("http://10.0.0.7:3000", false, Some(DesiredState::In), &[("10.0.0.7:3000", 0, "up")]),
                member("http://10.0.0.8:3000", false, Some(DesiredState::Drain), &[("10.0.0.8:3000", 2, "draining")]),
                member("http://later.internal", true, None, &[]),
                member("http://127.0.0.1:40001", false, None, &[("127.0.0.1:40001", 0, "up")]),
            ],
            name: "api".to_owned(),
            protocol: Protocol::Http2,
            waiting: 1,
        };
        assert_eq!(
            lines_of(plain(), &report),
            [
                "  api  HTTP/2  1 request waiting",
                "    http://api.internal     10.0.0.5:80      up, 3 requests",
                "                            10.0.0.6:80      unwell, 1 request",
                "    http://10.0.0.9:3000    -                out                   removed by ci",
                "    http://10.0.0.7:3000    10.0.0.7:3000    up, 0 requests        added by ci",
                "    http://10.0.0.8:3000    10.0.0.8:3000    draining, 2 requests  drained by ci",
                "    http://later.internal   -                no address yet",
                "    http://127.0.0.1:40001  127.0.0.1:40001  up, 0 requests        started by the edge",
            ]
        );
        let args = MemberArgs {
            name: "api".parse().unwrap(),
            address: "http://10.0.0.8:3000".parse().unwrap(),
            dry_run: false,
        };
        let (word, text) = changed(&args, DesiredState::Drain, &report);
        assert_eq!(word, "drains");
        assert_eq!(text, "http://10.0.0.8:3000 gets no new requests of api; 2 requests under way");
        let none = UpstreamReport { members: Vec::new(), waiting: 0, protocol: Protocol::Http1, ..report };
        assert_eq!(lines_of(plain(), &none), ["  api", "    no member"]);
        assert_eq!(all_lines(plain(), &UpstreamsReport { upstreams: Vec::new() }), ["What is live has no upstream."]);
    }

    #[test]
    fn a_member_is_what_it_is_to_be_when_all_its_backends_are() {
        let address: UpstreamUrl = "http://a".parse().unwrap();
        let of = |backends| UpstreamReport {
            members: vec![
                member("http://a", true, None, backends),
                member("http://b", true, None, &[("2", 5, "unwell")]),
            ],
            name: "api".to_owned(),
            protocol: Protocol::Http1,
            waiting: 0,
        };
        for (backends, is_in, is_drained) in [
            (&[("1", 0, "up"), ("2", 3, "up")][..], true, false),
            (&[("1", 0, "up"), ("2", 0, "unwell")], false, true),
            (&[("1", 0, "draining")], false, true),
            (&[("1", 1, "draining")], false, false),
            (&[], false, true),
        ] {
            assert_eq!(has_reached(&of(backends), &address, DesiredState::In), is_in, "{backends:?}");
            assert_eq!(has_reached(&of(backends), &address, DesiredState::Drain), is_drained, "{backends:?}");
        }
    }

    #[test]
    fn the_last_member_is_the_last_that_gets_requests() {
        let of = |members| UpstreamReport { members, name: "api".to_owned(), protocol: Protocol::Http1, waiting: 0 };
        assert!(has_members(&of(vec![member("http://a", true, None, &[])])));
        assert!(has_members(&of(vec![member("http://a", false, Some(DesiredState::In), &[])])));
        for desired in [DesiredState::Out, DesiredState::Drain] {
            assert!(!has_members(&of(vec![member("http://a", true, Some(desired), &[])])));
        }
    }
}
