//! Access log line in the combined format, byte for byte as written by nginx.

use std::fmt::Write as _;

use devanture_config::api::LogLine;
use time::OffsetDateTime;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns `ADDRESS - - [10/Oct/2000:13:55:36 +0000] "GET /a HTTP/1.1" 200 2326 "REFERER" "USER AGENT"` without a line
/// end.
pub(super) fn combined(line: &LogLine) -> String {
    let mut text = String::with_capacity(256);
    match line.client {
        Some(address) => write!(text, "{address}").ok(),
        None => text.write_char('-').ok(),
    };
    let at_s = i64::try_from(line.at_ms / 1_000).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(at_s).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let month = MONTHS.get(usize::from(u8::from(at.month())).saturating_sub(1)).copied().unwrap_or_default();
    let (year, day, hour, minute, second) = (at.year(), at.day(), at.hour(), at.minute(), at.second());
    write!(text, " - - [{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \"").ok();
    escape(&mut text, or_dash(&line.method));
    text.push(' ');
    escape(&mut text, or_dash(&line.target));
    text.push(' ');
    text.push_str(match line.protocol.as_str() {
        "h3" => "HTTP/3.0",
        "h2" => "HTTP/2.0",
        "http/1.0" => "HTTP/1.0",
        _ => "HTTP/1.1",
    });
    write!(text, "\" {} {} \"", line.status, line.bytes).ok();
    escape(&mut text, line.referer.as_deref().unwrap_or("-"));
    text.push_str("\" \"");
    escape(&mut text, line.user_agent.as_deref().unwrap_or("-"));
    text.push('"');
    text
}

/// Replaces an unreadable part of a request.
const fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Escapes like nginx by default: quotes, backslashes and bytes beyond printable ASCII as `\xXX`. So a client can
/// neither end a field or a line, nor send control sequences to a terminal.
fn escape(text: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => drop(write!(text, "\\x{byte:02X}")),
            _ => text.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// Line parsed as by an analyzer of access logs.
    #[derive(Debug, PartialEq)]
    struct Read {
        client: Option<IpAddr>,
        at_s: i64,
        request: String,
        status: u16,
        bytes: u64,
        referer: Option<String>,
        user_agent: Option<String>,
    }

    fn unescaped(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first == b'\\' {
                assert_eq!(after[0], b'x');
                bytes.push(u8::from_str_radix(std::str::from_utf8(&after[1..3]).unwrap(), 16).unwrap());
                rest = &after[3..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    fn read(line: &str) -> Read {
        let quoted: Vec<&str> = line.split('"').collect();
        let [head, request, numbers, referer, gap, user_agent, end] = quoted.as_slice() else { panic!("{line}") };
        assert_eq!((*gap, *end), (" ", ""));
        let (client, rest) = head.split_once(" - - [").unwrap();
        let time = rest.strip_suffix(" +0000] ").unwrap();
        let format =
            time::format_description::parse_borrowed::<2>("[day]/[month repr:short]/[year]:[hour]:[minute]:[second]")
                .unwrap();
        let at = time::PrimitiveDateTime::parse(time, &format).unwrap().assume_utc();
        let numbers: Vec<&str> = numbers.trim().split(' ').collect();
        let present = |text: &str| (text != "-").then(|| unescaped(text));
        Read {
            client: (client != "-").then(|| client.parse().unwrap()),
            at_s: at.unix_timestamp(),
            request: unescaped(request),
            status: numbers[0].parse().unwrap(),
            bytes: numbers[1].parse().unwrap(),
            referer: present(referer),
            user_agent: present(user_agent),
        }
    }

    fn line() -> LogLine {
        LogLine {
            at_ms: 971_186_136_999,
            client: Some([127, 0, 0, 1].into()),
            protocol: "h2".to_owned(),
            host: "shop.localhost".to_owned(),
            method: "GET".to_owned(),
            target: "/apache_pb.gif".to_owned(),
            status: 200,
            bytes: 2326,
            us: 5,
            referer: Some("http://www.example.com/start.html".to_owned()),
            user_agent: Some("Mozilla/4.08 [en] (Win98; I ;Nav)".to_owned()),
            app: None,
            environment: None,
            version: None,
            proxied: false,
            request_id: None,
            upstream: None,
            error: None,
            node: None,
        }
    }

    #[test]
    fn a_line_is_that_of_nginx() {
        assert_eq!(
            combined(&line()),
            "127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET /apache_pb.gif HTTP/2.0\" 200 2326 \
             \"http://www.example.com/start.html\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\""
        );
        for (protocol, name) in [("h3", "HTTP/3.0"), ("http/1.1", "HTTP/1.1"), ("http/1.0", "HTTP/1.0")] {
            let line = LogLine { protocol: protocol.to_owned(), ..line() };
            assert!(combined(&line).contains(&format!("apache_pb.gif {name}\"")), "{}", combined(&line));
        }
        let bare =
            LogLine { client: None, referer: None, user_agent: Some("a\"b\\c\n\u{1b}[2Jé".to_owned()), ..line() };
        assert!(combined(&bare).starts_with("- - - ["));
        assert!(combined(&bare).ends_with("\"-\" \"a\\x22b\\x5Cc\\x0A\\x1B[2J\\xC3\\xA9\""), "{}", combined(&bare));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            at_s in 0_i64..253_402_300_799,
            client in proptest::option::of(any::<IpAddr>()),
            target in "/\\PC{0,40}|/[\\x00-\\x7f]{0,40}",
            status in 100_u16..600,
            bytes in any::<u64>(),
            referer in proptest::option::of("[^-]\\PC{0,40}|[\\x00-\\x2c]{1,20}"),
            user_agent in proptest::option::of("[^-].{0,40}|\"\\\\[\\x00-\\x1f]{0,9}"),
        ) {
            let written = LogLine {
                at_ms: u64::try_from(at_s).unwrap() * 1_000,
                client,
                target: target.clone(),
                status,
                bytes,
                referer: referer.clone(),
                user_agent: user_agent.clone(),
                ..line()
            };
            let text = combined(&written);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", text);
            let request = format!("GET {target} HTTP/2.0");
            prop_assert_eq!(read(&text), Read { client, at_s, request, status, bytes, referer, user_agent });
        }
    }
}
