//! Test table: a case consists of a section, a fact, the bytes to send, and the outcomes that the section allows.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::http2::wire::{Conn, PATIENCE, Script, flag, kind};
use crate::http2::world::World;

/// Concurrent cases of one table.
const CASES_AT_ONCE: usize = 16;

/// Error codes (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

pub(crate) const NO_ERROR: Code = Code(0);
pub(crate) const PROTOCOL_ERROR: Code = Code(1);
pub(crate) const INTERNAL_ERROR: Code = Code(2);
pub(crate) const FLOW_CONTROL_ERROR: Code = Code(3);
pub(crate) const STREAM_CLOSED: Code = Code(5);
pub(crate) const FRAME_SIZE_ERROR: Code = Code(6);
pub(crate) const REFUSED_STREAM: Code = Code(7);
pub(crate) const CANCEL: Code = Code(8);
pub(crate) const COMPRESSION_ERROR: Code = Code(9);
pub(crate) const ENHANCE_YOUR_CALM: Code = Code(11);

/// Outcome of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Complete response with the given status.
    Answer(u16),
    /// Closed without a GOAWAY.
    Closed,
    /// Connection error, followed by a close.
    GoAway(Code),
    /// All assertions of the case hold.
    Holds,
    /// No visible effect.
    Ignored,
    /// Stream reset; the connection continues.
    Reset(Code),
}
use Outcome::{Answer, Closed, GoAway, Holds, Ignored, Reset};

/// Outcomes that a section allows.
pub(crate) type Allowed = Vec<Outcome>;

/// Connection error. Generic codes are allowed in place of a more specific code (section 5.4).
pub(crate) fn connection_error(code: Code) -> Allowed {
    vec![GoAway(code), GoAway(PROTOCOL_ERROR), GoAway(INTERNAL_ERROR)]
}

/// Stream error, which an endpoint may treat as a connection error (section 5.4.1).
pub(crate) fn stream_error(code: Code) -> Allowed {
    [vec![Reset(code), Reset(PROTOCOL_ERROR), Reset(INTERNAL_ERROR)], connection_error(code)].concat()
}

/// Malformed request: a stream error, before which a server may answer (section 8.1.1).
pub(crate) fn malformed() -> Allowed {
    [stream_error(PROTOCOL_ERROR), vec![Answer(400)]].concat()
}

/// Response with a status.
pub(crate) fn status(status: u16) -> Allowed {
    vec![Answer(status)]
}

/// Only the assertions of the case.
pub(crate) fn holds() -> Allowed {
    vec![Holds]
}

/// Adds allowed outcomes.
pub(crate) fn or(mut allowed: Allowed, more: impl IntoIterator<Item = Outcome>) -> Allowed {
    allowed.extend(more);
    allowed
}

pub(crate) type Talk = for<'c> fn(&'c mut Conn, &'c World) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'c>>;

/// Kind of a case.
enum CaseKind {
    /// The preface and an empty SETTINGS, then the bytes at once.
    Bytes(fn(Script) -> Script),
    /// The bytes at once, without a preface.
    Bare(fn(Script) -> Script),
    /// Conversation from the first byte on.
    BareTalk(Talk),
    /// Conversation after the preface and an empty SETTINGS.
    Talk(Talk),
}

pub(crate) struct Case {
    section: &'static str,
    fact: &'static str,
    play: CaseKind,
    allowed: Allowed,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.section, self.fact)
    }
}

/// Case with bytes after the preface, and the allowed outcomes. A section without an RFC number belongs to RFC 9113.
pub(crate) fn case(section: &'static str, fact: &'static str, bytes: fn(Script) -> Script, allowed: Allowed) -> Case {
    Case { section, fact, play: CaseKind::Bytes(bytes), allowed }
}

/// Case with bytes from the first byte on.
pub(crate) fn bare(section: &'static str, fact: &'static str, bytes: fn(Script) -> Script, allowed: Allowed) -> Case {
    Case { section, fact, play: CaseKind::Bare(bytes), allowed }
}

/// Case with a conversation.
pub(crate) fn talk(section: &'static str, fact: &'static str, talk: Talk, allowed: Allowed) -> Case {
    Case { section, fact, play: CaseKind::Talk(talk), allowed }
}

/// Case with a conversation from the first byte on.
pub(crate) fn bare_talk(section: &'static str, fact: &'static str, talk: Talk, allowed: Allowed) -> Case {
    Case { section, fact, play: CaseKind::BareTalk(talk), allowed }
}

/// Defines a conversation as a function of the connection and the world.
macro_rules! talking {
    (|$conn:ident, $world:ident| $body:block) => {
        |$conn, $world| {
            Box::pin(async move {
                let _: &World = $world;
                $body
            })
        }
    };
}
pub(crate) use talking;

impl Case {
    pub(crate) fn name(&self) -> String {
        self.to_string()
    }

    /// Runs the case; returns a description of the failure.
    async fn run(self, world: Arc<World>) -> Result<(), String> {
        let name = self.name();
        let allowed = self.allowed.clone();
        let mut conn = world.connect().await;
        let seen = Arc::clone(&conn.seen);
        let needs_fence = !allowed.iter().any(|outcome| matches!(outcome, Answer(_)));
        let play = self.play;
        let played = tokio::spawn(async move {
            match play {
                CaseKind::Bytes(bytes) => {
                    let script = bytes(Script::preface());
                    conn.send(&script).await;
                    conn.verdict(script.watched(), needs_fence).await
                }
                CaseKind::Bare(bytes) => {
                    let script = bytes(Script::default());
                    conn.send(&script).await;
                    conn.verdict(script.watched(), needs_fence).await
                }
                CaseKind::BareTalk(talk) => talk(&mut conn, &world).await,
                CaseKind::Talk(talk) => {
                    conn.send(&Script::preface()).await;
                    talk(&mut conn, &world).await
                }
            }
        });
        let came = match timeout(PATIENCE * 3, played).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                let panic = panic.into_panic();
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                return Err(format!("{name}\n    {text}"));
            }
            Err(_) => return Err(format!("{name}\n    it hangs; came: {:#?}", seen.lock().unwrap())),
        };
        let seen_text = || format!("came: {came:?}\n    frames: {:#?}", seen.lock().unwrap());
        if allowed.contains(&came) {
            Ok(())
        } else {
            Err(format!("{name}\n    allowed: {allowed:?}\n    {}", seen_text()))
        }
    }
}

/// Runs a table, and fails with all failures.
pub(crate) async fn play(cases: Vec<Case>, world: Arc<World>) {
    let count = cases.len();
    let played = futures_util::stream::iter(cases).map(|case| case.run(Arc::clone(&world)));
    let results: Vec<Result<(), String>> = played.buffer_unordered(CASES_AT_ONCE).collect().await;
    let wrong: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} of {count} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

impl Script {
    /// Preface and settings of every client.
    pub(crate) fn preface() -> Self {
        Self::default().raw(crate::http2::wire::MAGIC).settings(&[])
    }
}

impl Conn {
    /// Reads until the outcome of `stream`, or of the connection, is known.
    pub(crate) async fn verdict(&mut self, stream: u32, needs_fence: bool) -> Outcome {
        let fences = [*b"verdict?", *b"verdict!"];
        if needs_fence {
            self.send(&Script::default().ping(fences[0])).await;
        }
        loop {
            let Some(frame) = self.next().await else { return Closed };
            match frame.kind {
                kind::GOAWAY if Code(frame.number(4)) != NO_ERROR => {
                    let code = Code(frame.number(4));
                    // RFC 9113 section 5.4.1: after the GOAWAY, the endpoint MUST close the connection.
                    while let Some(frame) = self.next().await {
                        assert!(!matches!(frame.kind, kind::HEADERS | kind::DATA), "an answer after the last word");
                    }
                    return GoAway(code);
                }
                // The answer to a PING may overtake frames of a stream, but not twice.
                kind::PING if frame.payload == fences[0] => self.send(&Script::default().ping(fences[1])).await,
                kind::PING if frame.payload == fences[1] => return Ignored,
                kind::RST_STREAM if frame.stream == stream && stream != 0 => {
                    let code = Code(frame.number(0));
                    self.fence().await;
                    return Reset(code);
                }
                _ if self.collect(&frame) && frame.stream == stream && !needs_fence => {
                    self.fence().await;
                    return Answer(self.so_far(stream).status);
                }
                _ => {}
            }
        }
    }

    /// Checks that a GET of the front page on `stream` is answered with 200.
    pub(crate) async fn still_serves(&mut self, stream: u32) -> Outcome {
        self.send(&Script::default().get(stream)).await;
        assert_eq!(self.answer(stream).await.status, 200);
        Holds
    }

    /// Payload of the edge's first SETTINGS, as pairs.
    pub(crate) async fn settings_of_edge(&mut self) -> Vec<(u16, u32)> {
        let first = self.next().await.expect("SETTINGS");
        assert_eq!((first.kind, first.flags & flag::ACK, first.stream), (kind::SETTINGS, 0, 0), "RFC 9113 section 3.4");
        let pairs = first.payload.chunks(6);
        pairs.map(|p| (u16::from_be_bytes([p[0], p[1]]), u32::from_be_bytes([p[2], p[3], p[4], p[5]]))).collect()
    }
}
