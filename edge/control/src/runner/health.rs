//! Health checks of instances, each on a fresh connection: an instance that accepts no connections is unhealthy.

use std::io;
use std::time::Duration;

use devanture_config::site_toml::Scripts;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use devanture_serve::proxy::address::Endpoint;
use devanture_serve::proxy::peer_owner::{PeerError, check_peer, is_open};
use devanture_serve::proxy::{self, fastcgi};

/// Bytes of an answer examined for the status.
const ANSWER_BYTES_MAX: usize = 1_024;
/// Interval of checks of a starting instance, at first and later.
const STARTING_INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));
/// Shortest timeout of a check, however short its interval.
const ANSWER_MIN: Duration = Duration::from_secs(1);
/// Running time after which an instance without a `health` path counts as healthy: from the start for a worker, from
/// the first to the second answer for `web`.
const STEADY: Duration = Duration::from_secs(1);
/// Path requested of a starting instance without a `health` path.
const DEFAULT_PATH: &str = "/";
/// Shortest timeout for [`DEFAULT_PATH`], since a first page may be slow.
const FIRST_ANSWER_MIN: Duration = Duration::from_secs(10);

/// Returns the present host with port for health checks.
pub(super) type Authority = Box<dyn Fn() -> String + Send + Sync>;

/// Health check of an instance.
pub(super) struct Question {
    /// Listening address; `None` for a worker.
    pub(super) endpoint: Option<Endpoint>,
    /// Path. Without a path, the instance must answer [`DEFAULT_PATH`] during its start, with any status below 500;
    /// afterwards listening suffices.
    pub(super) path: Option<String>,
    /// Host, equal to that of visitors, since applications refuse other hosts.
    pub(super) authority: Authority,
    /// Scripts of a FastCGI instance.
    pub(super) scripts: Option<Scripts>,
    /// Required user of the listener, if instances have users of their own.
    pub(super) uid: Option<u32>,
    /// Interval of checks of a healthy instance.
    pub(super) interval: Duration,
    /// True if the predecessor has already started the instance.
    pub(super) has_started: bool,
}

/// Condition of a passed check.
#[derive(Debug, Clone, Copy)]
enum Goal<'p> {
    /// Accepts a connection.
    Listens,
    /// Answers [`DEFAULT_PATH`] with any status below 500: a missing page, or a required login, is an answer.
    Answers,
    /// Answers the path with 2xx or 3xx.
    Serves(&'p str),
}

impl<'p> Goal<'p> {
    fn path(self) -> Option<&'p str> {
        match self {
            Self::Listens => None,
            Self::Answers => Some(DEFAULT_PATH),
            Self::Serves(path) => Some(path),
        }
    }

    fn is_met_by(self, status: u16) -> bool {
        match self {
            Self::Listens => true,
            Self::Answers => status < 500,
            Self::Serves(_) => (200..400).contains(&status),
        }
    }
}

/// Result of a check: success, or the reason for ill health.
pub(super) type Answer = Result<(), Bad>;

/// Outcome of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckOutcome {
    pub(super) answer: Answer,
    /// True if the instance listens on all addresses of the machine.
    pub(super) is_open: bool,
}

/// Reason for ill health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    /// Text after the instance's name in a sentence.
    pub(super) why: String,
    /// Listener at the instance's address.
    pub(super) listener: Listener,
}

/// Listener at the address of an unhealthy instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// Foreign process, which must not get requests.
    Foreign,
    /// The instance itself, as far as known.
    Own,
    /// None or unknown.
    Unknown,
}

impl From<String> for Bad {
    fn from(why: String) -> Self {
        Self { why, listener: Listener::Own }
    }
}

impl Bad {
    fn foreign(place: &str) -> Self {
        Self { why: format!("a process of somebody else listens on its {place}"), listener: Listener::Foreign }
    }

    fn unreached(endpoint: &Endpoint, error: &io::Error) -> Self {
        let listener = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Listener::Unknown,
            _ => Listener::Own,
        };
        Self { why: unreached(endpoint, error), listener }
    }
}

impl Question {
    /// Checks repeatedly, at first often, and reports each result. Ends when the receiver is dropped.
    pub(super) async fn ask_on(self, answers: mpsc::Sender<CheckOutcome>) {
        let Some(endpoint) = &self.endpoint else {
            if !self.has_started {
                sleep(STEADY).await;
                answers.send(CheckOutcome { answer: Ok(()), is_open: false }).await.ok();
            }
            return;
        };
        let limit = self.interval.max(ANSWER_MIN);
        if !self.has_started && !self.wait_started(endpoint, limit, &answers).await {
            return;
        }
        loop {
            sleep(self.interval).await;
            let goal = self.path.as_deref().map_or(Goal::Listens, Goal::Serves);
            let answer = self.ask(endpoint, goal, limit).await;
            if answers.send(self.checked(endpoint, answer).await).await.is_err() {
                return;
            }
        }
    }

    /// Adds further observations to the result of a check.
    async fn checked(&self, endpoint: &Endpoint, answer: Answer) -> CheckOutcome {
        let is_open = match endpoint {
            Endpoint::Tcp(address) if answer.is_ok() => is_open(address.port(), self.uid).await,
            Endpoint::Tcp(_) | Endpoint::Node(_) | Endpoint::Socket(_) => false,
        };
        CheckOutcome { answer, is_open }
    }

    /// Checks until an instance has started. Returns false when the receiver is dropped.
    async fn wait_started(&self, endpoint: &Endpoint, limit: Duration, answers: &mpsc::Sender<CheckOutcome>) -> bool {
        let (mut wait, most) = STARTING_INTERVALS;
        loop {
            sleep(wait).await;
            let answer = self.check_start(endpoint, limit).await;
            let is_well = answer.is_ok();
            if answers.send(self.checked(endpoint, answer).await).await.is_err() {
                return false;
            }
            if is_well {
                return true;
            }
            wait = (wait + wait / 2).min(most);
        }
    }

    /// Checks that an instance has started. A listening socket proves nothing if a master opens the socket before its
    /// workers have loaded the application. Without a path, the instance must therefore answer, and answer again after
    /// a while.
    async fn check_start(&self, endpoint: &Endpoint, limit: Duration) -> Answer {
        if let Some(path) = &self.path {
            return self.ask(endpoint, Goal::Serves(path), limit).await;
        }
        let limit = limit.max(FIRST_ANSWER_MIN);
        self.ask(endpoint, Goal::Answers, limit).await?;
        sleep(STEADY).await;
        self.ask(endpoint, Goal::Answers, limit).await
    }

    async fn ask(&self, endpoint: &Endpoint, goal: Goal<'_>, limit: Duration) -> Answer {
        let path = goal.path();
        let exchange = async {
            match endpoint {
                // Each node checks its own instances.
                Endpoint::Node(_) => Err(io::ErrorKind::Unsupported.into()),
                Endpoint::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // As for requests: the port may have been reassigned.
                    match check_peer(&stream, self.uid).await {
                        Ok(()) => self.exchange(stream, path).await.map(Ok),
                        Err(PeerError::Foreign) => Ok(Err(Bad::foreign(&format!("port {}", address.port())))),
                        Err(error @ (PeerError::Closed | PeerError::Unknown)) => {
                            Ok(Err(Bad { why: error.to_string(), listener: Listener::Unknown }))
                        }
                        Err(PeerError::Io(error)) => Err(error),
                    }
                }
                Endpoint::Socket(socket) => {
                    let stream = UnixStream::connect(socket).await?;
                    // As for requests: the app may have put a link to a foreign socket there.
                    let listener = stream.peer_cred()?.uid();
                    if self.uid.is_some_and(|uid| uid != listener) {
                        return Ok(Err(Bad::foreign("socket")));
                    }
                    self.exchange(stream, path).await.map(Ok)
                }
            }
        };
        let answer = match timeout(limit, exchange).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(error)) => return Err(Bad::unreached(endpoint, &error)),
            Err(_elapsed) => return Err(format!("it did not answer within {} ms", limit.as_millis()).into()),
        };
        match answer {
            None => Ok(()),
            Some(status) if goal.is_met_by(status) => Ok(()),
            Some(status) => Err(format!("it answered {status} to {}", path.unwrap_or_default()).into()),
        }
    }
}

impl Question {
    /// Requests `path`, if set; returns the status.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        path: Option<&str>,
    ) -> io::Result<Option<u16>> {
        let Some(path) = path else { return Ok(None) };
        let invalid = |error: proxy::Error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let fields = proxy::question(&(self.authority)()).map_err(invalid)?;
        let status = match &self.scripts {
            Some(scripts) => fastcgi::status_of(stream, path, fields, scripts).await,
            None => exchange(stream, path, &fields).await,
        };
        status.map(Some)
    }
}

fn unreached(endpoint: &Endpoint, error: &io::Error) -> String {
    match (error.kind(), endpoint) {
        (io::ErrorKind::ConnectionRefused, Endpoint::Tcp(address)) => {
            format!("it does not listen on its port {}", address.port())
        }
        (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, Endpoint::Socket(_)) => {
            "it does not listen on its socket".to_owned()
        }
        (io::ErrorKind::PermissionDenied, Endpoint::Socket(_)) => {
            "its socket lets nobody else connect: it must be writable for its group".to_owned()
        }
        (io::ErrorKind::InvalidData, _) => "what it answered is no HTTP".to_owned(),
        (io::ErrorKind::UnexpectedEof, _) => "it closed the connection without an answer".to_owned(),
        _ => error.to_string(),
    }
}

/// Returns the bytes of a request.
fn head(path: &str, fields: &HeaderMap) -> Vec<u8> {
    let mut head = format!("GET {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head
}

/// Requests `path`; returns the status.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, fields: &HeaderMap) -> io::Result<u16> {
    stream.write_all(&head(path, fields)).await?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    while memchr::memchr(b'\n', &answer).is_none() && answer.len() < ANSWER_BYTES_MAX {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if is_http2_preface(&answer) {
            // An HTTP/2-only server: HTTP/1.1 can verify no more.
            return Ok(200);
        }
    }
    status(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns true if an answer begins with a SETTINGS frame of stream 0, the preface of an HTTP/2 server (RFC 9113 §3.4).
fn is_http2_preface(bytes: &[u8]) -> bool {
    matches!(bytes, [0, _, _, 4, 0, 0, 0, 0, 0, ..])
}

/// Parses the status of an answer that begins with `bytes` (RFC 9112 §4).
fn status(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5)?;
    let ends = rest.get(5).is_none_or(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    let text = std::str::from_utf8(digits).ok().filter(|_| ends && rest.get(1) == Some(&b' '))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn a_status_is_that_of_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for bad in [&b"HTTP/2 200\r\n"[..], b"HTTP/1.1 2000 x\n", b"HTTP/1.1  20\n", b"SSH-2.0-x\r\n", b""] {
            assert_eq!(status(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    async fn answering(answer: &'static [u8]) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut question = [0; 1024];
                assert!(stream.read(&mut question).await.unwrap() > 0);
                stream.write_all(answer).await.unwrap();
            }
        });
        Endpoint::Tcp(address)
    }

    fn question(endpoint: Option<Endpoint>, path: Option<&str>) -> Question {
        let interval = Duration::from_millis(50);
        let (path, authority) = (path.map(str::to_owned), Box::new(|| "shop.example:8443".to_owned()));
        Question { endpoint, path, authority, scripts: None, uid: None, interval, has_started: false }
    }

    #[tokio::test]
    async fn an_instance_is_well_when_it_answers_as_it_should() {
        let limit = Duration::from_secs(10);
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], None),
            (b"HTTP/1.1 302 Found\r\n\r\n", None),
            (b"HTTP/1.1 500 Oh\r\n\r\n", Some("it answered 500 to /healthz")),
            (b"hello\r\n", Some("what it answered is no HTTP")),
            (b"", Some("it closed the connection without an answer")),
        ] {
            let endpoint = answering(answer).await;
            let answer = question(None, None).ask(&endpoint, Goal::Serves("/healthz"), limit).await;
            assert_eq!(answer.err().map(|bad| bad.why).as_deref(), expected);
            // Once started, an instance without a path only has to listen.
            assert_eq!(question(None, None).ask(&endpoint, Goal::Listens, limit).await, Ok(()));
        }
        let gone = Endpoint::Socket("/nowhere/at/all".into());
        assert!(
            question(None, None).ask(&gone, Goal::Listens, limit).await.unwrap_err().why.contains("does not listen")
        );
    }

    #[test]
    fn an_instance_is_asked_as_by_a_visitor() {
        for authority in ["shop.example", "shop.example:8443", "staging--shop.preview.example:443"] {
            let text = String::from_utf8(head("/healthz?deep", &proxy::question(authority).unwrap())).unwrap();
            let quoted = if authority.contains(':') { format!("\"{authority}\"") } else { authority.to_owned() };
            assert!(text.starts_with(&format!("GET /healthz?deep HTTP/1.1\r\nhost: {authority}\r\n")), "{text}");
            for field in [
                "user-agent: devanture".to_owned(),
                "x-forwarded-proto: https".to_owned(),
                format!("x-forwarded-host: {authority}"),
                format!("forwarded: for=unknown;host={quoted};proto=https"),
                "connection: close".to_owned(),
            ] {
                assert_eq!(text.matches(&format!("\r\n{field}\r\n")).count(), 1, "{field}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn an_instance_without_a_path_has_started_when_it_answers() {
        let limit = Duration::from_secs(10);
        for (answer, expected) in [
            (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], None),
            (b"HTTP/1.0 401\r\n\r\n", None),
            (b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", None),
            (b"HTTP/1.1 503 Oh\r\n\r\n", Some("it answered 503 to /")),
            (b"", Some("it closed the connection without an answer")),
        ] {
            let endpoint = answering(answer).await;
            let answer = question(None, None).check_start(&endpoint, limit).await;
            assert_eq!(answer.err().map(|bad| bad.why).as_deref(), expected);
        }
    }

    #[tokio::test]
    async fn any_other_listener_in_the_place_of_an_instance_is_reported_each_time() {
        let own = rustix::process::geteuid().as_raw();
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("s"));
        let _socket = tokio::net::UnixListener::bind(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        // Listening suffices, without an accept.
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for endpoint in [Endpoint::Socket(link), Endpoint::Tcp(port.local_addr().unwrap())] {
            for (uid, is_foreign) in [(own, false), (own + 1, true)] {
                let question = Question { uid: Some(uid), ..question(Some(endpoint.clone()), None) };
                let answer = question.ask(&endpoint, Goal::Listens, Duration::from_secs(10)).await;
                assert_eq!(answer.is_err_and(|bad| bad.listener == Listener::Foreign), is_foreign, "{endpoint} {uid}");
            }
        }
    }

    #[tokio::test]
    async fn an_instance_is_asked_again_and_again() {
        let endpoint = answering(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let (answers, mut reported) = mpsc::channel(1);
        let asking = tokio::spawn(question(Some(endpoint), Some("/")).ask_on(answers));
        for _ in 0..3 {
            assert_eq!(reported.recv().await, Some(CheckOutcome { answer: Ok(()), is_open: false }));
        }
        asking.abort();
    }
}
