//! The parameters of a request: its meta-variables (RFC 3875 §4) and its fields.

use devanture_config::site_toml::Scripts;
use http::HeaderName;
use http::header::{self, HeaderMap};

use super::records::{PairTooLong, Params};
use super::script::{BadPath, script_for};
use crate::proxy::outgoing::Outgoing;

/// Fields with a meta-variable of their own, or without a meaning for a script. PHP programs would read `Proxy` as a
/// setting (CVE-2016-5385).
const LEFT_OUT: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("proxy"),
];

/// Reason why a request cannot be expressed as parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error(transparent)]
    Path(#[from] BadPath),
    #[error(transparent)]
    Field(#[from] PairTooLong),
}

impl BadRequest {
    /// Returns the rest of a sentence for the client.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Path(BadPath::Zero) => "its path holds a zero",
            Self::Path(BadPath::Long) => "its path is too long for a script",
            Self::Field(PairTooLong) => "a field is too long for FastCGI",
        }
    }
}

/// Writes the parameters of `request` with a body of `length` bytes.
pub(super) fn write(out: &mut Vec<u8>, request: &Outgoing, length: u64, scripts: &Scripts) -> Result<(), BadRequest> {
    let Outgoing { headers, method, target, .. } = request;
    let script = script_for(target.path(), scripts)?;
    let text = |name: HeaderName| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    let first = |name: HeaderName| text(name).split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    let mut params = Params::new(out);
    let mut set = |name: &str, value: &[u8]| params.push(name.as_bytes(), value);
    set("SCRIPT_FILENAME", format!("{}{}", scripts.root, script.name).as_bytes())?;
    set("SCRIPT_NAME", script.name.as_bytes())?;
    set("DOCUMENT_ROOT", scripts.root.as_bytes())?;
    set("DOCUMENT_URI", format!("{}{}", script.name, script.path_info).as_bytes())?;
    if !script.path_info.is_empty() {
        set("PATH_INFO", script.path_info.as_bytes())?;
    }
    set("REQUEST_METHOD", method.as_str().as_bytes())?;
    set("REQUEST_URI", target.as_str().as_bytes())?;
    set("QUERY_STRING", target.query().unwrap_or_default().as_bytes())?;
    if length > 0 || headers.contains_key(header::CONTENT_LENGTH) {
        set("CONTENT_LENGTH", length.to_string().as_bytes())?;
    }
    if headers.contains_key(header::CONTENT_TYPE) {
        set("CONTENT_TYPE", text(header::CONTENT_TYPE))?;
    }
    set("GATEWAY_INTERFACE", b"CGI/1.1")?;
    set("SERVER_SOFTWARE", b"devanture")?;
    set("SERVER_PROTOCOL", protocol(headers))?;
    let host = text(header::HOST);
    set("SERVER_NAME", without_port(host))?;
    let scheme = first(HeaderName::from_static("x-forwarded-proto"));
    let port = first(HeaderName::from_static("x-forwarded-port"));
    let default = if scheme == b"https" { &b"443"[..] } else { b"80" };
    set("SERVER_PORT", if port.is_empty() { default } else { port })?;
    set("REQUEST_SCHEME", if scheme.is_empty() { b"http" } else { scheme })?;
    if scheme == b"https" {
        set("HTTPS", b"on")?;
    }
    set("REMOTE_ADDR", first(HeaderName::from_static("x-forwarded-for")))?;
    // PHP as a CGI program refuses to run without `REDIRECT_STATUS`.
    set("REDIRECT_STATUS", b"200")?;
    for name in headers.keys() {
        if let Some(param) = param_of(name) {
            set(&param, &joined(headers, name))?;
        }
    }
    params.finish();
    Ok(())
}

/// Returns the parameter name of a field; `None` if the field's name has characters other than letters, digits and `-`.
/// `_` would be equal to `-` as a parameter, so that a client could forge a field reserved for the edge.
fn param_of(name: &HeaderName) -> Option<String> {
    if LEFT_OUT.contains(name) || !name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return None;
    }
    Some(format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_")))
}

/// Joins all values of a field (RFC 9110 §5.3; cookies by RFC 6265 §5.4).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let between: &[u8] = if *name == header::COOKIE { b"; " } else { b", " };
    let mut all = Vec::new();
    for (number, value) in headers.get_all(name).iter().enumerate() {
        if number > 0 {
            all.extend_from_slice(between);
        }
        all.extend_from_slice(value.as_bytes());
    }
    all
}

fn without_port(host: &[u8]) -> &[u8] {
    let colon = host.iter().rposition(|byte| *byte == b':');
    // The last colon of `[::1]` belongs to the address.
    match colon.and_then(|place| host.split_at_checked(place)) {
        Some((name, rest)) if !rest.contains(&b']') => name,
        _ => host,
    }
}

/// Returns the client's version of HTTP, taken from the edge's element of `Via`.
fn protocol(headers: &HeaderMap) -> &'static [u8] {
    let last = headers.get_all(header::VIA).iter().next_back().map_or(&b""[..], |value| value.as_bytes());
    match last {
        [b'2', ..] => b"HTTP/2.0",
        [b'3', ..] => b"HTTP/3.0",
        [b'1', b'.', b'0', ..] => b"HTTP/1.0",
        _ => b"HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::proxy::request_body::Original;

    /// Returns the written parameters, the content of one record, as text.
    fn written(method: Method, target: &str, fields: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let target = target.parse().unwrap();
        let request = Outgoing { body: Original::empty(), headers, length: Some(0), method, target };
        let mut out = Vec::new();
        write(&mut out, &request, 0, &Scripts::below("/srv/public")).unwrap();
        let mut rest = &out[8..out.len() - 8];
        let mut lines = String::new();
        while !rest.is_empty() {
            // Only short pairs.
            let (name, value) = (usize::from(rest[0]), usize::from(rest[1]));
            assert!(name < 0x80 && value < 0x80);
            let text = std::str::from_utf8(&rest[2..2 + name + value]).unwrap();
            lines.push_str(&format!("{}={}\n", &text[..name], &text[name..]));
            rest = &rest[2 + name + value..];
        }
        lines
    }

    #[test]
    fn a_script_gets_what_the_edge_says_of_the_request() {
        let fields = [
            ("host", "shop.example:8443"),
            ("x-forwarded-for", "203.0.113.7, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "8443"),
            ("via", "2 devanture"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("accept", "text/html"),
            ("accept", "*/*"),
            ("content-type", "text/plain"),
            ("content-length", "0"),
            ("proxy", "http://evil"),
            ("x_forwarded_for", "1.2.3.4"),
            ("connection", "te"),
        ];
        let lines = written(Method::POST, "/index.php/a%20b?q=1&r", &fields);
        for expected in [
            "SCRIPT_FILENAME=/srv/public/index.php",
            "SCRIPT_NAME=/index.php",
            "PATH_INFO=/a b",
            "DOCUMENT_URI=/index.php/a b",
            "REQUEST_URI=/index.php/a%20b?q=1&r",
            "QUERY_STRING=q=1&r",
            "REQUEST_METHOD=POST",
            "CONTENT_LENGTH=0",
            "CONTENT_TYPE=text/plain",
            "SERVER_NAME=shop.example",
            "SERVER_PORT=8443",
            "SERVER_PROTOCOL=HTTP/2.0",
            "REMOTE_ADDR=203.0.113.7",
            "HTTPS=on",
            "HTTP_HOST=shop.example:8443",
            "HTTP_COOKIE=a=1; b=2",
            "HTTP_ACCEPT=text/html, */*",
            "HTTP_X_FORWARDED_FOR=203.0.113.7, 10.0.0.1",
            "REDIRECT_STATUS=200",
        ] {
            assert!(lines.lines().any(|line| line == expected), "{expected}\n{lines}");
        }
        for absent in ["HTTP_PROXY", "1.2.3.4", "HTTP_CONNECTION", "HTTP_CONTENT_LENGTH"] {
            assert!(!lines.contains(absent), "{absent}\n{lines}");
        }
    }

    #[test]
    fn a_plain_request_has_no_body_no_path_info_and_no_https() {
        let lines = written(Method::GET, "/articles", &[("host", "[::1]:80")]);
        assert!(lines.contains("SERVER_NAME=[::1]\n") && lines.contains("SERVER_PORT=80\n"), "{lines}");
        for absent in ["CONTENT_LENGTH", "PATH_INFO", "HTTPS="] {
            assert!(!lines.contains(absent), "{absent}\n{lines}");
        }
    }
}
