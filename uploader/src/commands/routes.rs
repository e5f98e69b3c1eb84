//! `routes`: the route, rule or file that answers a path, and the reason, as if the folder were pushed now.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::site_toml::{HostRule, Origin, Route, RouteTimes, SERVER_UPSTREAM};
use devanture_project::bundle::rules::RuleFiles;
use devanture_project::bundle::{self, Bundle};
use devanture_site::answers::{
    BackendTo, Decided, End, Explanation, HOST, ManifestSite, Note, OwnPath, Refused, Request, Shadowed, Stands,
};
use devanture_site::navigation::names_an_asset;
use devanture_site::rules::headers::{Change, is_field_name, is_field_value};
use devanture_site::rules::{At, HEADERS_FILE, REDIRECTS_FILE};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use url::Url;

use crate::args::RoutesArgs;
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::counted;

/// Characters that no program sends in a path unencoded.
const UNSENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');
/// Fields that state the wanted content.
const WANTED: [&str; 3] = ["accept", "sec-fetch-dest", "sec-fetch-mode"];
/// Upper bound of printed files and rules of one route.
const SHOWN_MAX: usize = 5;

/// `routes`.
///
/// # Errors
/// `usage` for an invalid request, and the errors of a push of the folder.
pub(crate) async fn routes(context: &Context, args: &RoutesArgs) -> Result<(), Failure> {
    let (question, dir) = question(args)?;
    let folders = context.project.folders(dir.as_deref())?.only(args.half.only, dir.is_some());
    let only = args.half.only;
    let www = folders.www.path().to_owned();
    let (project, place) = (context.project.clone(), context.place()?);
    let style = context.output.style;
    let _working = context.progress.working("routes", &www.display().to_string());
    // Off the thread that receives Ctrl-C.
    let printed = tokio::task::spawn_blocking(move || {
        let scan = folders.scan(false)?;
        let guessed = bundle::guess_rules(&scan, &project, &www);
        let bundle = match only {
            // Routes to the backend are listed, although the backend is not there to be checked.
            Some(_) => Bundle::unchecked(&scan, &project.site, guessed),
            None => Bundle::of(&scan, &project.site, guessed)?,
        };
        let manifest = bundle.manifest;
        let files = RuleFiles::read(&scan, &www)?;
        let (rules, findings) = files.rules_in(&manifest, &project, &place);
        let site = ManifestSite::new(&manifest, place.as_str(), rules, files.restricted(&manifest).as_ref());
        let explained = project.site.explain(Some(&place), guessed);
        let lines = explained.into_iter().filter_map(|one| match one.origin {
            Origin::File(at) => Some((one.key, at)),
            Origin::Default | Origin::Guessed => None,
        });
        let printer = RoutePrinter { site: &site, lines: lines.collect(), www: &www, place: place.as_str(), style };
        let printed = match &question {
            Some(question) => printer.answer(question),
            None => printer.list(),
        };
        Ok::<_, Failure>((printed, guessed, findings.len()))
    });
    let printed = printed.await.map_err(|error| Failure::new(Code::Internal, format!("It failed: {error}.")))?;
    let ((value, lines), guessed, findings) = printed?;
    if let Some(rules) = guessed {
        context.progress.note(&bundle::guess_note(rules));
    }
    if findings > 0 {
        let count = counted(findings as u64, "finding");
        context.progress.note(&format!("the rules have {count}: `devanture check` lists them"));
    }
    context.output.write(&value, || lines);
    Ok(())
}

/// The request.
struct Question {
    method: String,
    path: String,
    query: Option<String>,
    host: Option<String>,
    headers: Vec<(String, String)>,
    /// Set if no such field was given, so that a browser's values are used.
    is_browsers: bool,
}

/// The request, if any, and the named folder.
fn question(args: &RoutesArgs) -> Result<(Option<Question>, Option<PathBuf>), Failure> {
    let usage = |message: String, hint: &str| Failure::new(Code::Usage, message).hint(hint);
    let Some(text) = &args.path else { return Ok((None, None)) };
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    if !text.starts_with('/') && !is_address {
        return match &args.dir {
            None => Ok((None, Some(PathBuf::from(text)))),
            Some(_) => {
                Err(usage(format!("`{text}` is no path: it begins with no slash."), "devanture routes /api/x dist"))
            }
        };
    }
    let (mut host, rest) = if is_address {
        let bad = |error| usage(format!("`{text}` is no address: {error}."), "https://example.org/api/x");
        let url: Url = text.parse().map_err(bad)?;
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        (url.host_str().map(str::to_owned), format!("{}{query}", url.path()))
    } else {
        (None, text.clone())
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let rest = utf8_percent_encode(rest, UNSENT).to_string();
    let (path, query) = rest.split_once('?').map_or((rest.as_str(), None), |(path, query)| (path, Some(query)));
    if !is_field_name(&args.method) {
        return Err(usage(format!("`{}` is no method.", args.method), "--method POST"));
    }
    let mut headers = Vec::new();
    for header in &args.header {
        let field = header.split_once(':').map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()));
        let Some((name, value)) = field.filter(|(name, value)| is_field_name(name) && is_field_value(value)) else {
            return Err(usage(format!("`{header}` is no field of a request."), "--header 'Accept: application/json'"));
        };
        if name == "host" {
            let (name, port) = value.rsplit_once(':').unwrap_or((value, ""));
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            host = Some(if is_port { name } else { value }.to_ascii_lowercase());
        } else {
            headers.push((name, value.to_owned()));
        }
    }
    let is_browsers = !headers.iter().any(|(name, _)| WANTED.contains(&name.as_str()));
    if is_browsers {
        let accept = if names_an_asset(path) { "*/*" } else { "text/html,*/*;q=0.8" };
        headers.push(("accept".to_owned(), accept.to_owned()));
    }
    let (path, query) = (path.to_owned(), query.map(str::to_owned));
    let question = Question { method: args.method.clone(), path, query, host, headers, is_browsers };
    Ok((Some(question), args.dir.clone()))
}

/// The result, as JSON and for a person.
type Printed = (Value, Vec<String>);

/// Tells about a site.
struct RoutePrinter<'t> {
    site: &'t ManifestSite<'t>,
    /// The positions of the values of `devanture.toml`, by their keys.
    lines: HashMap<String, At>,
    www: &'t Path,
    place: &'t str,
    style: Style,
}

impl RoutePrinter<'_> {
    fn answer(&self, question: &Question) -> Printed {
        let Question { method, path, query, headers, .. } = question;
        let host = question.host.as_deref().or_else(|| self.site.host()).unwrap_or(HOST);
        let request = Request { method, path, query: query.as_deref(), host, headers };
        let Explanation { decided, notes, fields, cors } = self.site.explain(&request);
        let way: Vec<Value> = notes.iter().map(|note| self.note_json(note)).collect();
        let fields: Vec<(String, Vec<String>, Option<At>)> = fields.iter().filter_map(|at| self.fields(*at)).collect();
        let of_fields = |(path, changes, at): &(String, Vec<String>, Option<At>)| {
            with_place(json!({ "for": path, "changes": changes }), self.place_of(at.as_ref()))
        };
        let value = json!({
            "ok": true,
            "environment": self.place,
            "method": method,
            "path": path,
            "query": query,
            "host": (host != HOST).then_some(host),
            "answer": self.answer_json(&decided),
            "way": way,
            "cors": cors,
            "headers": fields.iter().map(of_fields).collect::<Vec<_>>(),
        });
        let line = |name: &str, text: &str| self.style.line(name, text);
        let sent = query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let as_what = match (question.is_browsers, names_an_asset(path)) {
            (false, _) => "",
            (true, true) => ", asked for as an asset",
            (true, false) => ", asked for as a page",
        };
        let mut lines = vec![format!("{method} {sent} in {}{as_what}", self.place)];
        lines.extend(self.answer_lines(&decided));
        if let Some(origin) = &cors {
            lines.push(line("cors", &format!("pages of {origin} may read it, cookies apart")));
        }
        for (path, changes, at) in &fields {
            let place = self.style.dim(&self.at_text(at.as_ref()));
            lines.push(line("fields", &format!("{}  {path}  {place}", changes.join(", "))));
        }
        lines.push("What was asked, in order:".to_owned());
        lines.extend(notes.iter().enumerate().map(|(number, note)| self.note_line(number + 1, note)));
        (value, lines)
    }

    fn note_line(&self, number: usize, note: &Note) -> String {
        let mark = if note.answers { self.style.good("yes") } else { self.style.dim("no ") };
        let place = self.style.dim(&self.at_text(self.at_of(&note.stands)));
        format!("  {number:>2}. {:<12}  {mark}  {}  {place}", note.stage.words(), note.why).trim_end().to_owned()
    }

    fn note_json(&self, note: &Note) -> Value {
        let value = json!({ "stage": note.stage, "answers": note.answers, "why": note.why });
        with_place(value, self.place_of(self.at_of(&note.stands)))
    }

    /// Returns a rule for fields: the path, the changes, and the position.
    fn fields(&self, number: usize) -> Option<(String, Vec<String>, Option<At>)> {
        let rule = self.site.field_rule(number)?;
        let mut changes: Vec<String> = rule
            .changes
            .iter()
            .map(|change| match change {
                Change::Remove(name) => format!("without {name}"),
                Change::Set { name, value } => format!("{name}: {}", value.as_str()),
            })
            .collect();
        if !rule.users.is_empty() {
            changes.push("for those with a name and a password".to_owned());
        }
        Some((rule.path.to_string(), changes, Some(rule.at.clone())))
    }

    fn answer_json(&self, decided: &Decided) -> Value {
        let rule = decided.rule.and_then(|rule| self.site.redirect(rule));
        let mut value = match &decided.end {
            End::Backend { to, path_and_query } => self.backend_json(to, path_and_query, decided.rule),
            End::File { file, status } => {
                let file = self.site.path(*file).map(BundlePath::as_str);
                json!({ "kind": "file", "status": status, "answered_with": file })
            }
            End::Methods => json!({ "kind": "methods", "status": 204 }),
            End::Nothing => json!({ "kind": "not-found", "status": 404 }),
            End::Preflight => json!({ "kind": "preflight", "status": 204 }),
            End::Own(_) => json!({ "kind": "own", "status": 200 }),
            End::Redirect { status, location } => json!({ "kind": "redirect", "status": status, "location": location }),
            End::Refused(why) => json!({ "kind": "refused", "status": why.status() }),
        };
        if let Some(members) = value.as_object_mut() {
            members.insert("by".to_owned(), json!(decided.stage));
            if let Some(rule) = rule {
                members.insert("rule".to_owned(), json!({ "from": rule.from.as_str(), "to": rule.to.as_str() }));
            }
        }
        with_place(value, self.place_of(self.at_of(&self.stands(decided))))
    }

    /// Returns the key of a route by its number: routes of `[server]` follow those of `[[routes]]`.
    fn key_of(&self, index: usize) -> String {
        let key = format!("routes[{index}]");
        if self.lines.contains_key(&key) { key } else { "server.routes".to_owned() }
    }

    /// Returns the position of the entry that gave the answer.
    fn stands(&self, decided: &Decided) -> Stands {
        let rule = decided.rule.and_then(|rule| self.site.redirect(rule));
        match (&decided.end, rule) {
            (_, Some(rule)) => Stands::At(rule.at.clone()),
            (End::Backend { to: BackendTo::Route(number), .. }, None) => {
                let route = self.site.routes().get(*number);
                route.map_or(Stands::Nowhere, |(index, _)| Stands::Key(self.key_of(*index)))
            }
            _ => Stands::Nowhere,
        }
    }

    fn route_of(&self, to: &BackendTo) -> Option<&Route> {
        match to {
            BackendTo::Route(number) => self.site.routes().get(*number).map(|(_, route)| route),
            // The time limit is that of a route to the same place.
            BackendTo::Origin(_) => {
                let (name, members) = self.site.pool(to);
                let leads = |route: &&Route| {
                    let to = route.to.to_string();
                    name.map_or_else(|| members.iter().any(|own| own.to_string() == to), |name| name == to)
                };
                self.site.routes().iter().map(|(_, route)| route).find(leads)
            }
        }
    }

    fn backend_json(&self, to: &BackendTo, path_and_query: &str, rule: Option<usize>) -> Value {
        let (upstream, members) = self.site.pool(to);
        let is_route = matches!(to, BackendTo::Route(_));
        let route = self.route_of(to);
        let own = route.filter(|_| is_route);
        json!({
            "kind": "backend",
            "route": own.map(|route| route.path.as_str()),
            "to": own.map_or_else(|| members.first().map(ToString::to_string), |route| Some(route.to.to_string())),
            "upstream": upstream,
            "members": members,
            "asked_for": path_and_query,
            "strip_prefix": own.is_some_and(|route| route.strip_prefix),
            "files_first": own.is_some_and(|route| route.files_first),
            "host": self.site.host_rule(to, rule),
            "timeouts": RouteTimes::of(route),
            "body_bytes_max": own.and_then(|route| route.body_bytes_max),
        })
    }

    fn answer_lines(&self, decided: &Decided) -> Vec<String> {
        let line = |name: &str, text: &str| self.style.line(name, text);
        let place = self.at_text(self.at_of(&self.stands(decided)));
        let by = if place.is_empty() { String::new() } else { format!("  {}", self.style.dim(&place)) };
        let answer = |text: String| line("answer", &format!("{text}{by}"));
        match &decided.end {
            End::Backend { to, path_and_query } => self.backend_lines(to, path_and_query, (decided.rule, &by)),
            End::File { file, status } => {
                let name = self.site.path(*file).map_or_else(String::new, ToString::to_string);
                vec![answer(format!("{status}, with the file {}", self.style.good(&name)))]
            }
            End::Methods => vec![answer("204, with the methods that there are".to_owned())],
            End::Preflight => vec![answer("204, what a page of that origin may do".to_owned())],
            End::Nothing => vec![answer(format!("{}, nothing is there", self.style.bad("404")))],
            End::Own(own) => {
                let what = match own {
                    OwnPath::Dictionary(_) => "a dictionary of its pages, where it has that one",
                    OwnPath::Env => "the settings that the front may read",
                    OwnPath::Integrity => "where browsers report what pages load without a hash",
                    OwnPath::Release => "which version it is",
                    OwnPath::Share => "where share links lead to",
                    OwnPath::Status => "the page that says whether it is up",
                };
                vec![answer(format!("the edge itself: {what}"))]
            }
            End::Redirect { status, location } => vec![answer(format!("{status}, to {}", self.style.good(location)))],
            End::Refused(why) => {
                let what = match why {
                    Refused::BadTarget(error) => error.to_string(),
                    Refused::BadRewrite => "a rule makes no path of it".to_owned(),
                    Refused::MethodNotAllowed => "this method is not taken here".to_owned(),
                    Refused::MethodUnknown => "this method is not known".to_owned(),
                    Refused::Unauthorised => "it asks for a name and a password".to_owned(),
                };
                vec![answer(format!("{}, {what}", self.style.bad(&why.status().to_string())))]
            }
        }
    }

    fn backend_lines(&self, to: &BackendTo, path_and_query: &str, (rule, by): (Option<usize>, &str)) -> Vec<String> {
        let line = |name: &str, text: &str| self.style.line(name, text);
        let (upstream, members) = self.site.pool(to);
        let members: Vec<String> = members.iter().map(ToString::to_string).collect();
        let route = self.route_of(to);
        let own = route.filter(|_| matches!(to, BackendTo::Route(_)));
        let who = match (upstream, own) {
            (Some(name), _) => format!("the pool {}", self.style.good(name)),
            (None, _) => self.style.good(&members.join(", ")),
        };
        let through = own.map_or_else(
            || "a rewrite".to_owned(),
            |route| format!("the route `{}`{}", route.path, files_first(route)),
        );
        let mut lines = vec![line("answer", &format!("{who}, by {through}{by}"))];
        if upstream.is_some() {
            let members = match upstream {
                Some(SERVER_UPSTREAM) => "the instances of [server], which the edge runs".to_owned(),
                _ if members.is_empty() => "none is declared".to_owned(),
                _ => members.join(", "),
            };
            lines.push(line("members", &members));
        }
        let stripped = if own.is_some_and(|route| route.strip_prefix) { "  (strip_prefix)" } else { "" };
        lines.push(line("sees", &format!("{path_and_query}{stripped}")));
        lines.push(line(
            "host",
            &match self.site.host_rule(to, rule) {
                HostRule::Keep => "the visitor's".to_owned(),
                HostRule::Target => "the backend's own".to_owned(),
                HostRule::Name(name) => name,
            },
        ));
        let times = RouteTimes::of(route);
        let total = times.total_ms.map_or_else(String::new, |ms| format!(", {ms} ms in all"));
        let text = format!(
            "{} ms to connect, {} ms until it begins, {} ms at rest{total}",
            times.connect_ms, times.first_byte_ms, times.idle_ms
        );
        lines.push(line("waits", &text));
        lines
    }

    fn list(&self) -> Printed {
        let shadowed = self.site.shadowed();
        let routes: Vec<(&(usize, Route), &Shadowed)> = self.site.routes().iter().zip(&shadowed).collect();
        let value = json!({
            "ok": true,
            "environment": self.place,
            "routes": routes.iter().enumerate().map(|(at, (route, shadowed))| self.route_json(at, route, shadowed))
                .collect::<Vec<_>>(),
        });
        if routes.is_empty() {
            return (value, vec![format!("There are no routes in {}: files and rules answer.", self.place)]);
        }
        let mut lines = vec![format!("Routes in {}, in the order in which they are asked:", self.place)];
        let width = routes.iter().map(|((_, route), _)| route.path.as_str().chars().count()).max().unwrap_or(0);
        for (number, ((index, route), shadowed)) in routes.iter().enumerate() {
            let place = self.style.dim(&self.at_text(self.lines.get(&self.key_of(*index))));
            let (path, first) = (route.path.as_str(), files_first(route));
            lines.push(format!("  {:>2}. {path:<width$}  → {}{first}  {place}", number + 1, route.to));
            let files = shadowed.files.iter().filter_map(|file| self.site.path(*file)).map(ToString::to_string);
            lines.extend(some_of("no visitor gets", files.collect()));
            let rules = shadowed.rules.iter().filter_map(|rule| self.site.redirect(*rule));
            let rules = rules.map(|rule| format!("`{} → {}` ({})", rule.from, rule.to, self.at_text(Some(&rule.at))));
            lines.extend(some_of("never apply:", rules.collect()));
        }
        (value, lines)
    }

    fn route_json(&self, at: usize, (index, route): &(usize, Route), shadowed: &Shadowed) -> Value {
        let (upstream, members) = self.site.pool(&BackendTo::Route(at));
        let files: Vec<_> = shadowed.files.iter().filter_map(|file| self.site.path(*file)).collect();
        let rules = shadowed.rules.iter().filter_map(|rule| self.site.redirect(*rule)).map(|rule| {
            let value = json!({ "from": rule.from.as_str(), "to": rule.to.as_str() });
            with_place(value, self.place_of(Some(&rule.at)))
        });
        let value = json!({
            "path": route.path,
            "to": route.to,
            "upstream": upstream,
            "members": members,
            "strip_prefix": route.strip_prefix,
            "files_first": route.files_first,
            "shadows": { "files": files, "rules": rules.collect::<Vec<_>>() },
        });
        with_place(value, self.place_of(self.lines.get(&self.key_of(*index))))
    }

    fn at_of<'s>(&'s self, stands: &'s Stands) -> Option<&'s At> {
        match stands {
            Stands::Nowhere => None,
            Stands::At(at) => Some(at),
            Stands::Key(key) => self.lines.get(key),
        }
    }

    /// Returns the file, as the user knows it, and the line.
    fn place_of(&self, at: Option<&At>) -> Option<(String, usize)> {
        let at = at.filter(|at| !at.file.is_empty())?;
        let is_in_bundle = [REDIRECTS_FILE, HEADERS_FILE].contains(&at.file.as_ref());
        let file = if is_in_bundle { self.www.join(&*at.file).display().to_string() } else { at.file.to_string() };
        Some((file, at.line))
    }

    fn at_text(&self, at: Option<&At>) -> String {
        match self.place_of(at) {
            None => String::new(),
            Some((file, 0)) => file,
            Some((file, line)) => format!("{file}:{line}"),
        }
    }
}

/// Returns the remark of a route about files, behind its path or its target.
fn files_first(route: &Route) -> &'static str {
    if route.files_first { " (files_first)" } else { "" }
}

/// A line about the first of many.
fn some_of(what: &str, names: Vec<String>) -> Option<String> {
    let more = names.len().saturating_sub(SHOWN_MAX);
    let and = if more > 0 { format!(", and {more} more") } else { String::new() };
    let shown: Vec<String> = names.into_iter().take(SHOWN_MAX).collect();
    (!shown.is_empty()).then(|| format!("      {what} {}{and}", shown.join(", ")))
}

fn with_place(mut value: Value, place: Option<(String, usize)>) -> Value {
    if let (Some((file, line)), Some(members)) = (place, value.as_object_mut()) {
        members.insert("file".to_owned(), json!(file));
        if line > 0 {
            members.insert("line".to_owned(), json!(line));
        }
    }
    value
}
