//! Smoke checks without their execution: question, answer, judgement.

use std::fmt::Write as _;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_base::{clock, telemetry};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::SmokeCheck;
use devanture_config::text::plain_text::is_plain;
use devanture_serve::handler::{SmokeAnswer, SmokeQuestion, Unanswered};
use devanture_serve::live::Current;
use devanture_serve::version::Version;
use futures_util::{StreamExt as _, stream};

use super::deploys::{StepReporter, Steps};
use super::intent::Intent;
use super::switcher::Switcher;
use crate::ledger::Error;

/// Characters shown of an unexpected body.
pub(super) const SHOWN_CHARACTERS: usize = 200;
/// Pending answer.
pub type PendingAnswer = Pin<Box<dyn Future<Output = Result<SmokeAnswer, Unanswered>> + Send>>;

/// Requests versions that are not live yet, through the code that serves visitors, which the switch does not depend on.
pub trait Smoke: Send + Sync {
    /// Sends the question; dropping the answer cancels the request.
    fn ask(&self, question: SmokeQuestion) -> PendingAnswer;
}

/// Compares an answer with the expectation of its check.
pub(super) fn judge(check: &SmokeCheck, answer: &SmokeAnswer, body_bytes_max: usize) -> Result<(), String> {
    let found = answer.status;
    let body = decoded(answer, body_bytes_max);
    if found != check.status() {
        let mut why = format!("status {found} where {} is expected", check.status());
        if let Some(location) = answer.values("location").next() {
            let location = printable(&String::from_utf8_lossy(location), SHOWN_CHARACTERS);
            write!(why, ", to {location}").ok();
        }
        return Err(why + &beginning(&body));
    }
    for (name, value) in &check.headers {
        if answer.values(name).any(|found| found == value.as_bytes()) {
            continue;
        }
        let found = answer.values(name).next().map_or_else(
            || "is not there".to_owned(),
            |found| format!("is `{}`", printable(&String::from_utf8_lossy(found), SHOWN_CHARACTERS)),
        );
        return Err(format!("the field {name} {found}, where `{}` is expected", printable(value, SHOWN_CHARACTERS)));
    }
    match &check.contains {
        Some(text) if !holds(&body, text.as_bytes()) => Err(format!(
            "status {found}, but `{}` is not in its first {body_bytes_max} bytes{}",
            printable(text, SHOWN_CHARACTERS),
            beginning(&body)
        )),
        _ => Ok(()),
    }
}

/// Returns true if the body contains the text, in linear time.
fn holds(body: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(body, text).is_some()
}

/// Decodes the body up to `bytes_max`. The question accepts only identity, but a backend may ignore that, and a bundle
/// may hold only encoded files.
fn decoded(answer: &SmokeAnswer, bytes_max: usize) -> Vec<u8> {
    let codings = answer.values("content-encoding").filter_map(|value| std::str::from_utf8(value).ok());
    let codings: Vec<&str> = codings.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut body = answer.body.clone();
    // The last coding was applied last (RFC 9110 §8.4).
    for coding in codings.into_iter().rev().take(2) {
        let bytes = body.as_slice();
        let mut out = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        // A truncated body ends with an error; the decoded beginning counts.
        match coding.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => drop(flate2::read::MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut out)),
            "deflate" => drop(flate2::read::ZlibDecoder::new(bytes).take(limit).read_to_end(&mut out)),
            "br" => drop(brotli::Decompressor::new(bytes, 4096).take(limit).read_to_end(&mut out)),
            "zstd" => {
                if let Ok(decoder) = zstd::stream::read::Decoder::new(bytes) {
                    drop(decoder.take(limit).read_to_end(&mut out));
                }
            }
            _ => continue,
        }
        body = out;
    }
    body
}

/// Returns the first characters of a body, if any.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..SHOWN_CHARACTERS * 4).unwrap_or(body));
    let shown = printable(text.trim(), SHOWN_CHARACTERS);
    if shown.is_empty() { "; its body is empty".to_owned() } else { format!("; its body begins with `{shown}`") }
}

/// Limits the length, and replaces characters that control a terminal.
pub(super) fn printable(text: &str, characters_max: usize) -> String {
    let shown = text.chars().take(characters_max);
    let mut shown: String = shown.map(|c| if c.is_whitespace() { ' ' } else { c }).flat_map(plain).collect();
    if text.chars().nth(characters_max).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns a character, or its number for characters that affect the display of others.
fn plain(c: char) -> impl Iterator<Item = char> {
    let escaped = (!is_plain(c)).then(|| c.escape_unicode());
    let itself = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(itself)
}

// Smoke gate before a switch: requests a version as its environment will serve it.

/// Concurrent checks of a version.
const CHECKS_AT_ONCE: usize = 4;
/// Failed checks listed by a problem.
const FAILURES_TOLD: usize = 5;

/// Outcome of a check.
struct SmokeResult {
    path: String,
    outcome: Result<u16, String>,
    ms: u64,
}

impl Switcher {
    /// Runs all smoke checks of the version in the environment.
    ///
    /// # Errors
    /// `smoke_failed` with the failures.
    pub(crate) async fn smoke(
        &self,
        intent: &Intent<'_>,
        version: &Arc<Version>,
        steps: &mut Steps,
    ) -> Result<(), Error> {
        if version.smoke.is_empty() || intent.movement.was_live_here() {
            return Ok(());
        }
        let live = self.ledger.live.place(intent.app, intent.environment).and_then(|place| place.pointed());
        if live.is_some_and(|current| current.version.id == version.id) {
            // The version is already live, so no switch follows.
            return Ok(());
        }
        if intent.passes.smoke {
            steps.skip("smoke", "left out, as `no_smoke` says");
            return Ok(());
        }
        let reporter = steps.reporter("smoke");
        steps.run("smoke", async { self.ask_all(intent, version, &reporter).await }).await
    }

    async fn ask_all(
        &self,
        intent: &Intent<'_>,
        version: &Arc<Version>,
        reporter: &StepReporter,
    ) -> Result<((), String), Error> {
        let (host, custom_host) = self.ledger.live.visitors_host(intent.app, intent.environment);
        let authority = self.ledger.live.domains().authority(&host);
        let withdrawn = self.ledger.live.withdrawn(intent.app);
        let place = self.ledger.live.place(intent.app, intent.environment);
        // As the switch will choose them, also where nothing is live yet.
        let settings =
            self.environments.settings.settings_to_be(intent.app, intent.environment, intent.settings).await?;
        let current = Arc::new(Current::new(Arc::clone(version), clock::now_ms(), withdrawn, settings));
        let body_bytes_max = usize::try_from(self.ledger.limits().smoke_body_bytes_max).unwrap_or(usize::MAX);
        let questions: Vec<SmokeQuestion> = version
            .smoke
            .iter()
            .map(|check| SmokeQuestion {
                current: Arc::clone(&current),
                place: place.clone(),
                authority: authority.clone(),
                custom_host,
                from: intent.actor.from,
                check: check.clone(),
                body_bytes_max,
            })
            .collect();
        // In the order of the file, so that two runs report the same.
        let checks: Vec<_> = questions.into_iter().map(|question| self.ask_one(question)).collect();
        let mut checked = stream::iter(checks).buffered(CHECKS_AT_ONCE);
        let mut failures = Vec::new();
        let mut count = 0;
        while let Some(SmokeResult { path, outcome, ms }) = checked.next().await {
            count += 1;
            let word = if outcome.is_ok() { "passed" } else { "failed" };
            let place = (intent.app.as_str(), intent.environment.as_str());
            telemetry::count_in_place("devanture_smoke_checks_total", place, &[("outcome", word)], 1);
            match outcome {
                Ok(status) => reporter.report(&format!("{path}  {status} ({ms} ms)")),
                Err(why) => {
                    reporter.report(&format!("{path}  {why}"));
                    failures.push(format!("`{path}`: {why}"));
                }
            }
        }
        if failures.is_empty() {
            let checks = if count == 1 { "1 check".to_owned() } else { format!("{count} checks") };
            return Ok(((), format!("{checks} passed")));
        }
        let domains = self.ledger.live.domains();
        let preview = domains.url(&domains.preview_host(intent.app, &intent.version));
        Err(failed(&failures, count, &preview).into())
    }

    async fn ask_one(&self, question: SmokeQuestion) -> SmokeResult {
        let check = question.check.clone();
        let began = Instant::now();
        let ms_max = check.timeout_ms().min(self.ledger.limits().smoke_ms_max);
        let answered = tokio::time::timeout(Duration::from_millis(ms_max), self.smoke.ask(question)).await;
        let body_bytes_max = usize::try_from(self.ledger.limits().smoke_body_bytes_max).unwrap_or(usize::MAX);
        let outcome = match answered {
            Ok(Ok(answer)) => {
                // Runs outside the API's threads: a body may be large.
                let check = check.clone();
                let judging = move || judge(&check, &answer, body_bytes_max).map(|()| answer.status);
                let judged = tokio::task::spawn_blocking(judging).await;
                judged.unwrap_or_else(|_ended| Err("its answer could not be looked at".to_owned()))
            }
            Ok(Err(unanswered)) => Err(unanswered.to_string()),
            Err(_elapsed) => Err(format!("no whole answer within {ms_max} ms")),
        };
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        SmokeResult { path: printable(&check.path, SHOWN_CHARACTERS), outcome, ms }
    }
}

fn failed(failures: &[String], count: usize, preview: &str) -> Problem {
    let mut detail = format!("{} of {count} smoke checks failed.", failures.len());
    for failure in failures.iter().take(FAILURES_TOLD) {
        write!(detail, " {failure}.").ok();
    }
    if failures.len() > FAILURES_TOLD {
        write!(detail, " And {} more.", failures.len() - FAILURES_TOLD).ok();
    }
    Problem::new(Code::SmokeFailed, detail).hint(format!(
        "what was live stays live; the version is stored, with its preview at {preview}; fix it and push again, or let \
         it go live with --no-smoke"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str) -> SmokeCheck {
        let file = devanture_config::site_toml::SiteFile::parse("f", &format!("[[smoke]]\npath = \"/\"\n{toml}\n"));
        file.unwrap().base.smoke.unwrap().remove(0)
    }

    fn answer(status: u16, fields: &[(&str, &str)], body: &[u8]) -> SmokeAnswer {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        SmokeAnswer { status, fields, body: body.to_vec() }
    }

    #[test]
    fn status_fields_and_text_are_looked_at() {
        let says = |toml: &str, answer: &SmokeAnswer| judge(&check(toml), answer, 64).err().unwrap_or_default();
        let page = answer(200, &[("content-type", "text/html")], b"<h1>Shop</h1>");
        assert_eq!(says("contains = \"Shop\"\nheaders = { Content-Type = \"text/html\" }", &page), "");
        assert!(says("contains = \"Shoes\"", &page).contains("begins with `<h1>Shop</h1>`"));
        assert!(says("headers = { Content-Type = \"text/css\" }", &page).contains("is `text/html`"));
        assert!(says("headers = { X-A = \"b\" }", &page).contains("X-A is not there"));
        let moved = answer(302, &[("location", "/login")], b"");
        assert_eq!(says("", &moved), "status 302 where 200 is expected, to /login; its body is empty");
        assert_eq!(says("status = 302", &moved), "");
    }

    #[test]
    fn a_text_is_found_in_a_body_whatever_its_coding_and_no_further_than_the_bound() {
        use std::io::Write as _;
        let text = "needle and what follows it, again and again ".repeat(3);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for (coding, body) in [("gzip", gzip.finish().unwrap()), ("zstd", zstd)] {
            let answer = answer(200, &[("content-encoding", coding)], &body);
            assert_eq!(judge(&check("contains = \"needle\""), &answer, 1_000), Ok(()), "{coding}");
            assert_eq!(decoded(&answer, 6), b"needle", "{coding}");
        }
        let bomb = zstd::encode_all(&vec![0_u8; 10_000_000][..], 1).unwrap();
        assert_eq!(decoded(&answer(200, &[("content-encoding", "zstd")], &bomb), 1_000).len(), 1_000);
    }

    #[test]
    fn a_text_is_looked_for_in_time_that_grows_with_the_body() {
        // Each position nearly matches the text: naive search would take a million million steps.
        let (mut body, mut text) = (vec![b'a'; 1 << 21], vec![b'a'; 1 << 20]);
        text.push(b'b');
        let began = Instant::now();
        assert!(!holds(&body, &text) && holds(&body, b"") && !holds(b"", b"a"));
        body.push(b'b');
        assert!(holds(&body, &text));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn what_is_shown_of_a_body_cannot_speak_to_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d", 100), "a\\u{1b}[2Jb c\\u{202e}d");
        assert_eq!(printable("abcd", 3), "abc…");
    }
}
