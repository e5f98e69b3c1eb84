//! Input in pieces of all sizes and kinds, and its decoding.

use proptest::prelude::*;

use super::*;

/// The decoded response to a GET: status, body, trailers, and remaining bytes.
type Read = (u16, Vec<u8>, Option<HeaderMap>, Vec<u8>);

/// Decodes a response that arrives in `pieces`, and then ends.
fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Option<Read>, Fault> {
    let (mut input, mut found, mut trailers) = (BytesMut::new(), None, None);
    let (mut body, mut pieces) = (Vec::new(), pieces.into_iter());
    loop {
        if let Some((_, decoder)) = &mut found {
            match Decoder::decode(decoder, &mut input)? {
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                    continue;
                }
                Decoded::Over => break,
                Decoded::Trailers(fields) => {
                    trailers = Some(fields);
                    break;
                }
                Decoded::More => {}
            }
        } else if !input.is_empty()
            && let Some(head) = take_head(&mut input)?
        {
            let length = head.length(&Method::GET)?;
            found = Some((head.status, Decoder::new(length)));
            continue;
        }
        match (pieces.next(), &mut found) {
            (Some(piece), _) => input.extend_from_slice(piece),
            (None, None) => return Ok(None),
            (None, Some((_, decoder))) => {
                decoder.close()?;
                break;
            }
        }
    }
    // Later bytes belong to no response.
    pieces.for_each(|piece| input.extend_from_slice(piece));
    Ok(found.map(|(status, decoder)| {
        assert!(decoder.is_over());
        (status.as_u16(), body, trailers, input.to_vec())
    }))
}

fn fault(answer: &str) -> String {
    read([answer.as_bytes()]).expect_err("it is taken for an answer").to_string()
}

fn head(text: &str) -> Head {
    take_head(&mut BytesMut::from(text.as_bytes())).unwrap().unwrap()
}

#[test]
fn a_head_is_written_as_it_stands_on_the_wire() {
    let mut fields = HeaderMap::new();
    fields.append("host", "h".parse().unwrap());
    fields.append("x", "1".parse().unwrap());
    fields.append("x", HeaderValue::from_bytes(b"\xe4 b").unwrap());
    let mut out = Vec::new();
    write_head(&mut out, &Method::GET, "/a?b", &fields);
    assert_eq!(out, b"GET /a?b HTTP/1.1\r\nhost: h\r\nx: 1\r\nx: \xe4 b\r\n\r\n");
}

#[test]
fn a_head_is_read_with_its_reason_and_repeated_fields() {
    let head = head("HTTP/1.1 200 Fine\r\nX: 1\r\nset-cookie: a\r\nempty:\r\nset-cookie:  b \r\n\r\nrest");
    assert_eq!((head.status, head.version), (StatusCode::OK, Version::HTTP_11));
    assert_eq!(head.reason.unwrap().as_bytes(), b"Fine");
    assert_eq!(head.fields["x"], "1");
    assert_eq!(head.fields["empty"], "");
    assert!(head.fields.get_all("set-cookie").iter().eq(["a", "b"]));
    assert!(self::head("HTTP/1.1 200 OK\r\n\r\n").reason.is_none(), "the usual one is not kept");
    assert_eq!(self::head("HTTP/1.1 200\r\n\r\n").status, StatusCode::OK);
}

#[test]
fn what_is_no_head_is_refused() {
    for (answer, why) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "version"),
        ("\u{1}\u{2}\u{3}", "version"),
        ("HTTP/2.0 200 OK\r\n\r\n", "version"),
        ("HTTP/1.1 999999 what\r\n\r\n", "status"),
        ("HTTP/1.1 099 low\r\n\r\n", "status"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "name"),
        ("HTTP/1.1 200 OK\r\nx : a\r\n\r\n", "name"),
        ("HTTP/1.1 200 OK\r\n: a\r\n\r\n", "name"),
        ("HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n", "name"),
        ("HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n", "value"),
        ("HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", "value"),
    ] {
        let fault = fault(answer);
        assert!(fault.contains(why) || fault.contains("it is no HTTP"), "{answer:?}: {fault}");
    }
}

#[test]
fn a_head_has_limits() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(fault(&long), "its head is too long");
    assert_eq!(fault(&long[..HEAD_BYTES_MAX]), "its head is too long", "its end is not waited for");
    let fits = format!("HTTP/1.1 204 No Content\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX - 32));
    assert_eq!(fits.len(), HEAD_BYTES_MAX);
    assert_eq!(read([fits.as_bytes()]).unwrap().unwrap().0, 204);
    let lines = |count: usize| format!("HTTP/1.1 204 No Content\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert_eq!(head(&lines(FIELDS_MAX)).fields.len(), FIELDS_MAX);
    assert_eq!(fault(&lines(FIELDS_MAX + 1)), "it has too many fields");
}

#[test]
fn a_body_is_as_long_as_its_head_says() {
    use Length::{Chunked, Known, UntilClose};
    let length = |method: &Method, fields: &str| head(&format!("HTTP/1.1 {fields}\r\n\r\n")).length(method);
    for (fields, expected) in [
        ("200 OK", UntilClose),
        ("200 OK\r\ncontent-length: 7", Known(7)),
        ("200 OK\r\ncontent-length: 7\r\ncontent-length: 7, 7", Known(7)),
        ("200 OK\r\ntransfer-encoding: Chunked", Chunked),
        ("200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked", Chunked),
        ("204 No Content\r\ncontent-length: 7", Known(0)),
        ("304 Not Modified\r\ntransfer-encoding: chunked", Known(0)),
        ("101 Switching Protocols\r\ncontent-length: 7", Known(0)),
    ] {
        assert_eq!(length(&Method::GET, fields).unwrap(), expected, "{fields}");
        assert_eq!(length(&Method::HEAD, fields).unwrap(), Known(0), "{fields}");
    }
    for fields in [
        "200 OK\r\ncontent-length: 1\r\ncontent-length: 2",
        "200 OK\r\ncontent-length: 1, 2",
        "200 OK\r\ncontent-length: 1,",
        "200 OK\r\ncontent-length: +1",
        "200 OK\r\ncontent-length: -1",
        "200 OK\r\ncontent-length:",
        "200 OK\r\ncontent-length: 99999999999999999999",
        "200 OK\r\ntransfer-encoding: gzip, chunked",
        "200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
    ] {
        assert!(length(&Method::GET, fields).is_err(), "{fields}");
    }
    assert!(head("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").length(&Method::GET).is_err());
}

#[test]
fn a_connection_is_kept_unless_somebody_says_otherwise() {
    for (start, expected) in [
        ("HTTP/1.1 200 OK", true),
        ("HTTP/1.1 200 OK\r\nconnection: x, Close", false),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\nconnection: keep-alive", false),
        ("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nconnection: close", false),
        ("HTTP/1.0 200 OK", false),
        ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive", true),
    ] {
        assert_eq!(head(&format!("{start}\r\n\r\n")).keeps_connection(), expected, "{start}");
    }
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[test]
fn chunks_are_put_together_and_trailers_follow() {
    let answer = format!("{CHUNKED}5\r\nhello\r\n1 ;ext=\"v\"\r\n \r\n0005\r\nworld\r\n0\r\nx-sum: 42\r\n\r\nnext");
    let (status, body, trailers, rest) = read([answer.as_bytes()]).unwrap().unwrap();
    assert_eq!((status, &*body, &*rest), (200, &b"hello world"[..], &b"next"[..]));
    assert_eq!(trailers.unwrap()["x-sum"], "42");
}

#[test]
fn what_is_no_chunk_is_refused() {
    for chunks in [
        "zz\r\n",
        "z",
        "\r\n",
        "-1\r\n",
        "0x1\r\na\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1;a\rb\r\na\r\n",
        "1 1\r\na\r\n",
        "10000000000000000\r\n",
        "00000000000000001\r\na\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nx: a\r\n folded\r\n\r\n",
    ] {
        read([format!("{CHUNKED}{chunks}").as_bytes()]).expect_err(chunks);
    }
}

#[test]
fn what_stands_beside_chunks_has_limits() {
    let endless = format!("{CHUNKED}1;{}", "x".repeat(8 * 1024));
    assert_eq!(fault(&endless), "the size of a chunk is none");
    let many = format!("{CHUNKED}{}", format!("1;{}\r\na\r\n", "x".repeat(1024)).repeat(20));
    assert_eq!(fault(&many), "its chunks have too much beside them");
    let trailers = format!("{CHUNKED}0\r\nx: {}", "x".repeat(32 * 1024));
    assert_eq!(fault(&trailers), "its trailers are too long");
    let fields = format!("{CHUNKED}0\r\n{}\r\n", "x: y\r\n".repeat(FIELDS_MAX + 1));
    assert_eq!(fault(&fields), "it has too many fields");
}

#[test]
fn a_body_that_ends_early_is_not_whole() {
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour", &format!("{CHUNKED}4\r\nfour\r\n"), CHUNKED] {
        assert!(matches!(read([answer.as_bytes()]), Err(Fault::Closed)), "{answer}");
    }
    let (_, body, ..) = read([b"HTTP/1.1 200 OK\r\n\r\nuntil the end".as_slice()]).unwrap().unwrap();
    assert_eq!(body, b"until the end");
}

/// Encodes a response from the pieces of its body, with a framing.
fn answer(chunks: &[Vec<u8>], framing: u8, trailer: Option<u8>) -> Vec<u8> {
    let whole = chunks.concat();
    let mut out = b"HTTP/1.1 200 OK\r\nx-a: b\r\n".to_vec();
    match framing {
        0 => {
            out.extend_from_slice(format!("content-length: {}\r\n\r\n", whole.len()).as_bytes());
            out.extend_from_slice(&whole);
        }
        1 => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                out.extend_from_slice(format!("{:X};e\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n");
            if let Some(trailer) = trailer {
                out.extend_from_slice(format!("x-sum: {trailer}\r\n").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        _ => {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&whole);
        }
    }
    out
}

/// Returns `bytes` cut at `cuts`.
fn cut<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect()
}

proptest! {
    #[test]
    fn an_answer_means_the_same_in_whatever_pieces_it_comes(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        framing in 0_u8..3,
        trailer in any::<Option<u8>>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let bytes = answer(&chunks, framing, trailer);
        let (status, body, trailers, rest) = read(cut(&bytes, &cuts)).unwrap().unwrap();
        prop_assert_eq!((status, body, rest), (200, chunks.concat(), Vec::new()));
        let sum = trailers.map(|trailers| trailers["x-sum"].to_str().unwrap().parse::<u8>().unwrap());
        prop_assert_eq!(sum, trailer.filter(|_| framing == 1));
    }

    #[test]
    fn an_answer_byte_by_byte_means_the_same(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..4),
        framing in 0_u8..3,
    ) {
        let bytes = answer(&chunks, framing, None);
        prop_assert_eq!(read(bytes.chunks(1)).unwrap(), read([&*bytes]).unwrap());
    }

    #[test]
    fn garbage_is_refused_or_waited_for_and_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        start in 0_usize..4,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let start = ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", CHUNKED][start];
        let bytes = [start.as_bytes(), &bytes].concat();
        let whole = read([&*bytes]);
        let pieces = read(cut(&bytes, &cuts));
        // A fault may be detected before the part that causes the refusal of the whole.
        prop_assert_eq!(whole.is_err(), pieces.is_err());
        if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
            prop_assert_eq!(whole, pieces);
        }
    }

    #[test]
    fn a_written_head_is_read_as_it_was(
        lines in prop::collection::vec(("[a-z][a-z0-9-]{0,12}", "[!-~]{1,20}"), 0..20),
        target in "/[!-~]{0,30}",
    ) {
        let mut fields = HeaderMap::new();
        for (name, value) in &lines {
            fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let mut out = Vec::new();
        write_head(&mut out, &Method::PUT, &target, &fields);
        let mut slots = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut slots);
        prop_assert_eq!(request.parse(&out).unwrap(), httparse::Status::Complete(out.len()));
        prop_assert_eq!((request.method, request.path), (Some("PUT"), Some(&*target)));
        let read: Vec<_> = request.headers.iter().map(|line| (line.name, line.value)).collect();
        let written: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        prop_assert_eq!(read, written);
        // Parsed as the head of a response, the fields are unchanged.
        let line = out.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let answer = [b"HTTP/1.1 200 OK", &out[line..]].concat();
        prop_assert_eq!(take_head(&mut BytesMut::from(&*answer)).unwrap().unwrap().fields, fields);
    }
}

#[test]
fn a_length_goes_on_once_and_only_where_it_means_something() {
    let passed_on = |method: &Method, fields: &str| {
        let mut head = head(&format!("HTTP/1.1 {fields}\r\n\r\n"));
        let length = head.length(method).unwrap();
        head.normalise(length).map(|()| {
            let lines = head.fields.get_all(header::CONTENT_LENGTH).into_iter();
            lines.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        })
    };
    let (get, head) = (Method::GET, Method::HEAD);
    assert_eq!(passed_on(&get, "200 OK\r\ncontent-length: 5, 5\r\ncontent-length: 5").unwrap(), ["5"]);
    assert_eq!(passed_on(&head, "200 OK\r\ncontent-length: 5\r\ncontent-length: 5").unwrap(), ["5"]);
    assert_eq!(passed_on(&get, "304 Not Modified\r\ncontent-length: 5").unwrap(), ["5"]);
    assert!(passed_on(&get, "204 No Content\r\ncontent-length: 77").unwrap().is_empty());
    assert!(passed_on(&get, "200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked").unwrap().is_empty());
    assert!(passed_on(&head, "200 OK\r\ncontent-length: 5, 6").is_err());
}

#[test]
fn what_speaks_of_a_body_that_is_none_may_be_followed_by_one() {
    let may_lie = |method: &Method, fields: &str| head(&format!("HTTP/1.1 {fields}\r\n\r\n")).may_lie(method);
    for (fields, expected) in [
        ("200 OK\r\ncontent-length: 5", false),
        ("204 No Content", false),
        ("204 No Content\r\ncontent-length: 0", false),
        ("204 No Content\r\ncontent-length: 5", true),
        ("204 No Content\r\ntransfer-encoding: chunked", true),
        ("304 Not Modified\r\ncontent-length: 5", false),
        ("304 Not Modified\r\ntransfer-encoding: chunked", true),
    ] {
        assert_eq!(may_lie(&Method::GET, fields), expected, "{fields}");
        assert!(may_lie(&Method::HEAD, fields), "{fields}");
    }
}
