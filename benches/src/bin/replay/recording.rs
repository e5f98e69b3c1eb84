//! Client input, frame by frame: built once, and the same in every run.

use devanture_http::field_coding::huffman;

/// Client connection preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Fields never added to the dynamic table, as their values differ between requests.
const NOT_KEPT: [&str; 2] = [":path", "if-none-match"];
/// First index of the dynamic table (RFC 7541 §2.3.3).
const FIRST_DYNAMIC: usize = 62;

/// Client: input before the first request, and fields of each request.
pub(crate) struct Client {
    /// SETTINGS, as identifiers and values.
    pub(crate) settings: &'static [(u8, u32)],
    /// Increment of the connection's window at the start; 0 for no update.
    pub(crate) window: u32,
    /// Fields of the requests, after the path.
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// Sends a PING with every batch if true.
    pub(crate) pings: bool,
}

/// Load generator: large windows, few fields.
pub(crate) const LOAD: Client = Client {
    settings: &[(2, 0), (4, (1 << 30) - 1)],
    window: (1 << 30) - 65_536,
    fields: &[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "bench.localhost:8443"),
        ("user-agent", "h2load nghttp2/1.52.0"),
        ("accept-encoding", "gzip, deflate, br"),
    ],
    pings: false,
};

/// Browser: many fields, all added to the dynamic table.
pub(crate) const BROWSER: Client = Client {
    settings: &[(1, 65_536), (2, 0), (4, 6_291_456), (6, 262_144)],
    window: 15_663_105,
    fields: &BROWSER_FIELDS,
    pings: true,
};

/// Browser with the cookie that assigns a canary.
pub(crate) const VISITOR: Client = Client { fields: &VISITOR_FIELDS, ..BROWSER };

const BROWSER_FIELDS: [(&str, &str); 16] = [
    (":method", "GET"),
    (":authority", "shop.example.org"),
    (":scheme", "https"),
    ("sec-ch-ua", "\"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-dest", "script"),
    ("referer", "https://shop.example.org/"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9"),
    ("cookie", "session=0d4f3a5c9b7e41f2; theme=dark"),
    ("priority", "u=1"),
];

const VISITOR_FIELDS: [(&str, &str); 16] = {
    let mut fields = BROWSER_FIELDS;
    fields[14] = ("cookie", "session=0d4f3a5c9b7e41f2; theme=dark; __Host-devanture-visitor=00112233aabbccdd");
    fields
};

/// Client with the initial windows (RFC 9113 §6.9.2).
pub(crate) const NARROW: Client = Client { settings: &[], window: 0, ..LOAD };

/// Start of a connection.
fn opening(client: &Client) -> Vec<u8> {
    let mut settings = Vec::new();
    for (number, value) in client.settings {
        settings.extend([0, *number]);
        settings.extend(value.to_be_bytes());
    }
    let mut opening = PREFACE.to_vec();
    frame(&mut opening, 4, 0, 0, &settings);
    if client.window > 0 {
        window(&mut opening, 0, client.window);
    }
    // Acknowledges the server's settings.
    frame(&mut opening, 4, 1, 0, &[]);
    opening
}

/// Input of one connection: the start, then requests for `paths`, in batches of `batch`.
pub(crate) fn batches(client: &Client, paths: &[&str], etag: Option<&str>, count: u32, batch: u32) -> Vec<Vec<u8>> {
    let mut table = Vec::new();
    let mut batches = vec![opening(client)];
    let mut paths = paths.iter().cycle();
    for number in 0..count {
        if number % batch == 0 {
            let mut begun = Vec::new();
            if client.pings {
                frame(&mut begun, 6, 0, 0, &[7; 8]);
            }
            batches.push(begun);
        }
        let mut block = Vec::new();
        field(&mut block, &mut table, ":path", paths.next().copied().unwrap_or("/"));
        for (name, value) in client.fields {
            field(&mut block, &mut table, name, value);
        }
        if let Some(etag) = etag {
            field(&mut block, &mut table, "if-none-match", etag);
        }
        if let Some(batch) = batches.last_mut() {
            // END_STREAM and END_HEADERS.
            frame(batch, 1, 5, 2 * number + 1, &block);
        }
    }
    batches
}

/// Appends a WINDOW_UPDATE.
pub(crate) fn window(out: &mut Vec<u8>, stream: u32, more: u32) {
    frame(out, 8, 0, stream, &more.to_be_bytes());
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    out.extend(length);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Encodes a field like a client: added to the table, and indexed from then on.
fn field(block: &mut Vec<u8>, table: &mut Vec<(&'static str, String)>, name: &str, value: &str) {
    match (name, value) {
        (":method", "GET") => return block.push(0x82),
        (":scheme", "https") => return block.push(0x87),
        _ => {}
    }
    if let Some(place) = table.iter().rev().position(|(kept, text)| *kept == name && text == value) {
        return integer(block, 0x80, 7, FIRST_DYNAMIC + place);
    }
    let is_kept = !NOT_KEPT.contains(&name);
    let (pattern, bits) = if is_kept { (0x40, 6) } else { (0, 4) };
    integer(block, pattern, bits, number_of(name));
    if number_of(name) == 0 {
        text(block, name);
    }
    text(block, value);
    if is_kept
        && let Some((name, _)) = [LOAD, BROWSER].iter().flat_map(|client| client.fields).find(|one| one.0 == name)
    {
        table.push((name, value.to_owned()));
    }
}

/// Index of a name in the static table (RFC 7541 appendix A); 0 if missing.
fn number_of(name: &str) -> usize {
    match name {
        ":authority" => 1,
        ":path" => 4,
        "accept-encoding" => 16,
        "accept-language" => 17,
        "accept" => 19,
        "cookie" => 32,
        "if-none-match" => 41,
        "referer" => 51,
        "user-agent" => 58,
        _ => 0,
    }
}

/// Huffman coded string (RFC 7541 §5.2).
fn text(block: &mut Vec<u8>, text: &str) {
    let mut coded = Vec::new();
    huffman::encode(text.as_bytes(), &mut coded);
    integer(block, 0x80, 7, coded.len());
    block.extend_from_slice(&coded);
}

/// Integer with a prefix of `bits` (RFC 7541 §5.1).
fn integer(block: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    let byte = |value: usize| u8::try_from(value).unwrap_or_default();
    if value < most {
        return block.push(pattern | byte(value));
    }
    block.push(pattern | byte(most));
    let mut rest = value - most;
    while rest >= 0x80 {
        block.push(byte(rest & 0x7f) | 0x80);
        rest >>= 7;
    }
    block.push(byte(rest));
}

/// HTTP/1.1 requests, each a separate batch unless pipelined.
pub(crate) fn lines(fields: &str, paths: &[&str], count: u32) -> Vec<Vec<u8>> {
    let paths = paths.iter().cycle().take(usize::try_from(count).unwrap_or_default());
    paths.map(|path| format!("GET {path} HTTP/1.1\r\n{fields}\r\n").into_bytes()).collect()
}

/// Fields of a load generator.
pub(crate) const LOAD_LINES: &str = "Host: bench.localhost\r\nAccept-Encoding: gzip, deflate, br\r\n";

/// Fields of a browser.
pub(crate) const BROWSER_LINES: &str = "Host: shop.example.org\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://shop.example.org/\r\n\
    Cookie: session=0d4f3a5c9b7e41f2; theme=dark\r\nSec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\n\
    Sec-Fetch-Site: same-origin\r\nPriority: u=1\r\n";
