//! The password form of a visitor: `application/x-www-form-urlencoded`, read within a bound and a time.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::Secret;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request};
use http_body::Body;
use percent_encoding::percent_decode;
use tokio::time::timeout;

use super::refused::Refused;

/// Enough for a password of 256 characters and an address, each byte encoded.
const BYTES_MAX: usize = 16_384;
/// Time for the whole form.
const TIME_MAX: Duration = Duration::from_secs(10);

/// The fields of the form; a missing field is empty.
#[derive(Debug)]
pub(super) struct VisitorForm {
    pub(super) password: Secret,
    /// The address that the visitor wanted.
    pub(super) to: String,
    /// The text of a share link.
    pub(super) link: String,
    /// The name of an account.
    pub(super) login: String,
    /// The request of the login.
    pub(super) request: String,
    /// The pressed button.
    pub(super) step: String,
}

/// Returns true for the media type of forms.
fn is_form(media_type: &HeaderValue) -> bool {
    let kind = media_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// Reads the form in a request's body.
///
/// # Errors
/// The reason of the refusal.
pub(super) async fn read<B>(request: &mut Request<B>) -> Result<VisitorForm, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    let is_form = request.headers().get(CONTENT_TYPE).is_some_and(is_form);
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            match std::future::poll_fn(|context| Pin::new(request.body_mut()).poll_frame(context)).await {
                None => return Ok(parse(&bytes)),
                Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Some(Err(_)) => return Err(Refused::BadRequest),
            }
            if bytes.len() > BYTES_MAX {
                return Err(Refused::BodyTooLarge);
            }
        }
    };
    let form = timeout(TIME_MAX, reading).await.unwrap_or(Err(Refused::ClientSlow))?;
    if is_form { Ok(form) } else { Err(Refused::BadRequest) }
}

fn parse(bytes: &[u8]) -> VisitorForm {
    let value = |name: &[u8]| {
        let pairs = bytes.split(|byte| *byte == b'&');
        let value = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"=")).next().unwrap_or_default();
        let spaced: Vec<u8> = value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_decode(&spaced).decode_utf8_lossy().into_owned()
    };
    VisitorForm {
        password: Secret::new(value(b"password")),
        to: value(b"to"),
        link: value(b"link"),
        login: value(b"login"),
        request: value(b"request"),
        step: value(b"step"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_the_first_of_a_name_counts() {
        let form = parse(b"to=%2Fa%3Fb&password=caf%C3%A9+au+lait&password=other&x");
        assert_eq!((form.password.expose(), form.to.as_str(), form.link.as_str()), ("café au lait", "/a?b", ""));
        let form = parse(b"");
        assert_eq!((form.password.expose(), form.to.as_str()), ("", ""));
        assert_eq!(parse(b"link=%ff&to").link, "\u{fffd}");
    }

    #[test]
    fn only_forms_are_forms() {
        for (text, expected) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-URLEncoded ; charset=utf-8", true),
            ("application/json", false),
            ("multipart/form-data; boundary=a", false),
        ] {
            assert_eq!(is_form(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }
}
