//! Deferred requests, with bodies that arrive meanwhile.

use http::Response;

use super::*;
use crate::{StreamBody, stream_body};

/// `/echo` is answered with the body of the request, `/early` without a look at it, `/slow` once it is whole or broke
/// off, `/never` not at all, `/interim` with what ends no request, `/switch` with another protocol, `/none` without a
/// body, `/trailers` with trailers, `/last` as the last one, and all else with its path.
pub(super) async fn respond(request: http::Request<Inbound>) -> Response<StreamBody> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut came = Vec::new();
    let is_read = matches!(path.as_str(), "/echo" | "/slow");
    while is_read && let Some(Ok(frame)) = body.frame().await {
        came.extend(frame.into_data().unwrap_or_default());
    }
    if path == "/never" || path == "/slow" && came.is_empty() {
        let _held = body;
        return std::future::pending().await;
    }
    let text = if path == "/echo" { Bytes::from(came) } else { Bytes::from(path.clone()) };
    let mut response = Response::new(stream_body(http_body_util::Full::new(text)));
    match path.as_str() {
        "/trailers" => {
            let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
            let frames = [Frame::data(Bytes::from(path)), Frame::trailers(trailers)].map(Ok::<_, BodyError>);
            *response.body_mut() = stream_body(Frames::new(futures_util::stream::iter(frames)));
        }
        "/interim" => *response.status_mut() = StatusCode::EARLY_HINTS,
        "/switch" => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        "/last" => drop(response.headers_mut().insert("connection", "close".parse().unwrap())),
        "/none" => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(CONTENT_LENGTH, 5.into());
        }
        _ => {}
    }
    response
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const DATED: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{DATED}content-length: {}\r\n\r\n{body}", body.len())
}

fn last_answer(body: &str) -> String {
    answer(body).replace(DATED, &format!("{DATED}connection: close\r\n"))
}

/// A connection whose turns are taken one by one.
struct Steps {
    connection: Connection<Site>,
    date: SharedField,
    scratch: Scratch,
    began: Instant,
}

impl Steps {
    fn new(site: Site) -> Self {
        let date = SharedField::new("date", b"Sun, 06 Nov 1994 08:49:37 GMT");
        let connection = Connection::new(Rc::new(limits()), site);
        Self { connection, date, scratch: Scratch::default(), began: Instant::now() }
    }

    fn receive(&mut self, bytes: &str) {
        let mut turn = Turn { now: self.began, date: &self.date, scratch: &mut self.scratch };
        self.connection.receive(bytes.as_bytes(), &mut turn);
    }

    /// Runs a turn with unlimited room, `after` the beginning.
    fn produce(&mut self, after: Duration) -> (String, State) {
        let mut turn = Turn { now: self.began + after, date: &self.date, scratch: &mut self.scratch };
        let mut sink = Room { put: Vec::new(), left: 1_000_000 };
        let state = self.connection.produce(&mut sink, &mut turn, &mut Context::from_waker(Waker::noop()));
        (String::from_utf8(sink.put).unwrap(), state)
    }

    fn tend(&mut self) {
        let turn = Turn { now: self.began, date: &self.date, scratch: &mut self.scratch };
        self.connection.tend(&turn, &mut Context::from_waker(Waker::noop()));
    }
}

#[test]
fn requests_are_answered_in_their_order_whether_at_once_or_later() {
    let text = get("/later?a=b") + &post("/echo", "hello") + &get("/bytes/1") + &post("/echo", "") + &get("/last");
    let done = serve(&limits(), &[text.as_bytes()], &[]);
    let last = last_answer("/last");
    let (before, after) = (answer("/later") + &answer("hello"), answer("") + &last);
    assert!(done.text().starts_with(&before) && done.text().ends_with(&after), "{}", done.text());
    assert_eq!((done.state, done.requests, done.sent), (State::Over, 5, vec![(1, true)]));
    let begun = ["GET /later?a=b begun", "POST /echo begun", "GET /bytes/1 - shop.localhost", "POST /echo begun"];
    assert_eq!(done.requested[..4], begun);
}

#[test]
fn a_response_without_a_body_has_no_length() {
    let done = serve(&limits(), &[(get("/none") + &get("/later").replace("GET", "HEAD")).as_bytes()], &[]);
    let head = |status: &str| format!("HTTP/1.1 {status}\r\n{DATED}\r\n");
    assert_eq!(done.text(), head("204 No Content") + &head("200 OK"));
}

#[test]
fn an_early_answer_ends_the_connection_unless_the_body_came_whole() {
    let request = post("/early", "0123456789");
    let done = serve(&limits(), &[(request.clone() + &get("/later")).as_bytes()], &[]);
    assert_eq!((done.text(), done.state), (answer("/early") + &answer("/later"), State::Open));
    let done = serve(&limits(), &[&request.as_bytes()[..request.len() - 1]], &[]);
    assert_eq!(done.state, State::Over);
    assert_eq!(done.text(), last_answer("/early"));
}

#[test]
fn interim_responses_come_before_the_response_they_belong_to() {
    let site = Site::default();
    let interims = Rc::clone(&site.interims);
    let mut steps = Steps::new(site);
    let request = post("/echo", "hello");
    let (first, rest) = request.split_at(request.len() - 2);
    steps.receive(first);
    interims.borrow_mut().push(b"first".to_vec());
    assert_eq!(steps.produce(Duration::ZERO), ("first".to_owned(), State::Open));
    interims.borrow_mut().push(b"second".to_vec());
    // The response is ready before the interim response is written.
    steps.receive(rest);
    steps.tend();
    assert_eq!(steps.produce(Duration::ZERO), ("second".to_owned() + &answer("hello"), State::Open));
    // No request is awaited.
    interims.borrow_mut().push(b"third".to_vec());
    assert_eq!(steps.produce(Duration::ZERO), (String::new(), State::Open));
}

#[test]
fn an_interim_response_is_none_that_ends_a_request() {
    for is_tended in [false, true] {
        let mut steps = Steps::new(Site::default());
        steps.receive(&get("/interim"));
        if is_tended {
            steps.tend();
        }
        assert_eq!(steps.produce(Duration::ZERO), (String::new(), State::Broken));
    }
}

#[test]
fn no_more_of_a_body_is_taken_than_its_reader_may_leave_unread() {
    let mut steps = Steps::new(Site::default());
    steps.receive("POST /never HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
    assert!(!steps.connection.wants_input());
    steps.produce(Duration::ZERO);
    let mut bytes = 0;
    while steps.connection.wants_input() {
        steps.receive(&"x".repeat(1_000));
        steps.produce(Duration::ZERO);
        bytes += 1_000;
    }
    assert_eq!((bytes, steps.connection.in_flight()), (66_000, 1));
}

#[test]
fn a_body_that_comes_too_slowly_is_answered_408() {
    let mut steps = Steps::new(Site::default());
    steps.receive("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(steps.produce(Duration::ZERO), (String::new(), State::Open));
    let limit = limits().body;
    assert_eq!(steps.connection.deadline(), Some(steps.began + limit));
    assert_eq!(steps.produce(limit / 2), (String::new(), State::Open));
    let (text, state) = steps.produce(limit);
    assert!(
        text.starts_with("HTTP/1.1 408 Request Timeout\r\n") && text.contains("\r\nconnection: close\r\n"),
        "{text}"
    );
    assert_eq!(state, State::Over);
}

#[test]
fn what_a_service_says_to_a_slow_body_is_its_answer() {
    let mut steps = Steps::new(Site::default());
    steps.receive("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabc");
    steps.produce(Duration::ZERO);
    let (text, state) = steps.produce(limits().body);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("/slow"), "{text}");
    assert_eq!(state, State::Over);
}

#[test]
fn a_client_that_is_gone_is_answered_no_more() {
    let mut steps = Steps::new(Site::default());
    steps.receive(&get("/never"));
    steps.produce(Duration::ZERO);
    // Reads on, to detect the end of the client.
    assert!(steps.connection.wants_input() && steps.connection.is_done() && !steps.connection.is_idle());
}

#[test]
fn the_answer_of_a_connection_that_drains_says_that_it_is_the_last() {
    let mut steps = Steps::new(Site::default());
    let request = post("/echo", "hello");
    steps.receive(&request[..request.len() - 2]);
    steps.connection.drain();
    assert_eq!(steps.produce(Duration::ZERO), (String::new(), State::Open));
    steps.receive(&request[request.len() - 2..]);
    let last = last_answer("hello");
    assert_eq!(steps.produce(Duration::ZERO), (last, State::Over));
}

proptest! {
    #[test]
    fn a_body_is_the_same_in_any_pieces(
        bodies in prop::collection::vec("[a-z]{0,300}", 1..5),
        cuts in prop::collection::vec(1..100_usize, 0..40),
        rooms in prop::collection::vec(prop_oneof![0..3_usize, 1..2_000_usize], 0..40),
    ) {
        let whole: String = bodies.iter().map(|body| post("/echo", body)).collect();
        let (mut pieces, mut rest) = (Vec::new(), whole.as_bytes());
        for cut in cuts {
            let (piece, others) = rest.split_at(cut.min(rest.len()));
            pieces.extend((!piece.is_empty()).then_some(piece));
            rest = others;
        }
        pieces.push(rest);
        let done = serve(&limits(), &pieces, &rooms);
        prop_assert_eq!(done.text(), bodies.iter().map(|body| answer(body)).collect::<String>());
        prop_assert_eq!((done.state, done.requests), (State::Open, u64::try_from(bodies.len()).unwrap()));
    }
}

fn post_chunks(path: &str, fields: &str, chunks: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n{fields}\r\n{chunks}")
}

#[test]
fn a_body_in_chunks_is_read_to_its_end_and_the_next_request_begins_there() {
    let text = post_chunks("/echo", "", "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n")
        + &post_chunks("/echo", "trailer: x\r\n", "1\r\na\r\n0\r\nx: y\r\n\r\n")
        + &post_chunks("/early", "", "0\r\n\r\n")
        + &get("/later");
    let done = serve(&limits(), &[text.as_bytes()], &[]);
    assert_eq!(done.text(), answer("hello!") + &answer("a") + &answer("/early") + &answer("/later"));
    assert_eq!((done.state, done.requests), (State::Open, 4));
}

#[test]
fn a_body_that_is_none_is_the_end_of_its_connection() {
    for chunks in ["z\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "0\r\nx: y\n\r\n"] {
        let text = post_chunks("/echo", "", chunks) + &get("/later");
        let done = serve(&limits(), &[text.as_bytes()], &[]);
        let last = last_answer("");
        assert_eq!((done.text(), done.state, done.requests), (last, State::Over, 1), "{chunks:?}");
    }
}

#[test]
fn framing_alone_is_no_progress_of_a_body() {
    let mut steps = Steps::new(Site::default());
    steps.receive(&post_chunks("/echo", "", "3;x"));
    assert_eq!(steps.produce(Duration::ZERO), (String::new(), State::Open));
    let deadline = steps.connection.deadline();
    assert_eq!(deadline, Some(steps.began + limits().body));
    steps.receive("yz");
    steps.produce(Duration::from_millis(500));
    assert_eq!(steps.connection.deadline(), deadline);
    steps.receive("\r\na");
    steps.produce(Duration::from_millis(900));
    assert_eq!(steps.connection.deadline(), Some(steps.began + Duration::from_millis(900) + limits().body));
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn a_client_that_waits_for_a_word_gets_it_once_its_body_is_read() {
    for (framing, body) in [("content-length: 5", "hello"), ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")] {
        let head = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue\r\n{framing}\r\n\r\n");
        let mut steps = Steps::new(Site::default());
        steps.receive(&(get("/bytes/1") + &head("/echo")));
        let (put, state) = steps.produce(Duration::ZERO);
        assert!(put.starts_with("HTTP/1.1 200 OK\r\n") && put.ends_with(&format!("a{CONTINUE}")), "{put}");
        assert_eq!((state, steps.produce(Duration::ZERO)), (State::Open, (String::new(), State::Open)));
        let (first, rest) = body.split_at(2);
        steps.receive(first);
        assert_eq!(steps.produce(Duration::ZERO), (String::new(), State::Open));
        steps.receive(rest);
        assert_eq!(steps.produce(Duration::ZERO), (answer("hello"), State::Open));
        // The client does not wait.
        steps.receive(&(head("/echo") + body));
        assert_eq!(steps.produce(Duration::ZERO), (answer("hello"), State::Open));
        // No reader: the answer suffices, and a later body could not be distinguished from a request.
        steps.receive(&head("/early"));
        let last = last_answer("/early");
        assert_eq!(steps.produce(Duration::ZERO), (last, State::Over));
    }
}

#[test]
fn nothing_is_expected_of_a_body_that_is_not_there() {
    let head = |fields: &str| format!("GET /later HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n{fields}\r\n");
    let done = serve(&limits(), &[(head("") + &head("content-length: 0\r\n")).as_bytes()], &[]);
    assert_eq!((done.text(), done.state), (answer("/later").repeat(2), State::Open));
}

fn get_upgrade(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
}

#[test]
fn a_connection_that_switches_goes_on_with_what_came_after_the_request() {
    for is_draining in [false, true] {
        let mut steps = Steps::new(Site::default());
        let fields = "Connection: keep-alive, Upgrade\r\nUpgrade: echo\r\n";
        steps.receive(&(get_upgrade("/switch", fields) + "GET / HTTP/1.1\r\n\r\n"));
        if is_draining {
            steps.connection.drain();
        }
        let head = format!("HTTP/1.1 101 Switching Protocols\r\n{DATED}\r\n");
        assert_eq!(steps.produce(Duration::ZERO), (head, State::Upgraded(b"GET / HTTP/1.1\r\n\r\n".to_vec())));
        assert!(steps.connection.into_upgrade().is_some());
    }
}

#[test]
fn a_response_that_does_not_switch_leaves_the_protocol() {
    let text = get_upgrade("/later", "Connection: upgrade\r\nUpgrade: echo\r\n") + &get("/later");
    let done = serve(&limits(), &[text.as_bytes()], &[]);
    assert_eq!((done.text(), done.state), (answer("/later").repeat(2), State::Open));
}

/// RFC 9110 §7.8: both fields ask for it.
#[test]
fn nothing_switches_that_was_not_asked_to() {
    for fields in ["Connection: upgrade\r\n", "Upgrade: echo\r\n", "Connection: keep-alive\r\nUpgrade: echo\r\n"] {
        let mut steps = Steps::new(Site::default());
        steps.receive(&get_upgrade("/switch", fields));
        assert_eq!(steps.produce(Duration::ZERO), (String::new(), State::Broken), "{fields:?}");
    }
}

#[test]
fn trailers_are_for_clients_that_take_them() {
    for (fields, trailers) in [("TE: gzip, Trailers\r\n", "x-sum: 1\r\n"), ("TE: gzip\r\n", ""), ("", "")] {
        let text = format!("GET /trailers HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        let done = serve(&limits(), &[(text + &get("/later")).as_bytes()], &[]);
        let chunks = format!("transfer-encoding: chunked\r\n\r\n9\r\n/trailers\r\n0\r\n{trailers}\r\n");
        assert_eq!(done.text(), format!("HTTP/1.1 200 OK\r\n{DATED}{chunks}") + &answer("/later"), "{fields:?}");
    }
}
