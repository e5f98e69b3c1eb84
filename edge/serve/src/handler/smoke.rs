//! Asks a version that is about to go live what a visitor would ask it, by the very code that answers visitors.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::site_toml::{SmokeCheck, SmokeMethod};
use devanture_site::navigation;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body::Body as _;
use http_body_util::Empty;
use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::authority::{head_of, hostname};
use super::decide;
use super::decision::Decision;
use super::request_outcome::RequestOutcome;
use super::{Came, Handler};
use crate::live::{Current, Place};
use crate::proxy::Chain;

/// The `Accept` of a check: a page, if its path may be one's …
const PAGE: HeaderValue = HeaderValue::from_static("text/html,*/*;q=0.8");
/// … and anything, where its path names an asset: an application's page must not stand in for that.
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
/// The client, for the logs of backends.
const PROGRAM: HeaderValue = HeaderValue::from_static(concat!("devanture-smoke/", env!("CARGO_PKG_VERSION")));

/// A request to a version that is about to go live.
pub struct SmokeQuestion {
    /// The version, as it will be live.
    pub current: Arc<Current>,
    /// Its environment, where something is live there already.
    pub place: Option<Arc<Place>>,
    /// The environment's host, with its port where it is not 443.
    pub authority: String,
    /// Whether that is a hostname of the environment's own.
    pub custom_host: bool,
    /// The address of the deploying client, which is that of the visitor; `None` if it is this machine itself.
    pub from: Option<IpAddr>,
    /// The request.
    pub check: SmokeCheck,
    /// So many bytes of the body are read.
    pub body_bytes_max: usize,
}

/// The answer of the version.
#[derive(Debug)]
pub struct SmokeAnswer {
    /// The status.
    pub status: u16,
    /// The fields: name in lower case, and value.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body as it was sent, as far as it was read.
    pub body: Vec<u8>,
}

/// The reason for which there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

impl SmokeAnswer {
    /// The values of a field, whose name has no case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }
}

impl Handler {
    /// Asks `question`, and reads the answer as far as its bound: decided and carried out as for a visitor, after the
    /// environment's hostname, its redirect to the canonical one and a pause, which are no version's.
    ///
    /// # Errors
    /// Where there is no whole answer.
    pub async fn ask_ahead(&self, question: SmokeQuestion) -> Result<SmokeAnswer, Unanswered> {
        let SmokeQuestion { current, place, authority, custom_host, from, check, body_bytes_max } = question;
        let request = request(&check.path, check.method(), &authority)
            .map_err(|error| Unanswered(format!("it cannot be asked for: {error}")))?;
        let host = hostname(&authority);
        let decide =
            || decide::decide_in(&self.head(&head_of(&request), &host), &current, place.as_deref(), custom_host);
        let mut decision = decide();
        if let Decision::Load(target) = &decision {
            self.loader.load_target(&self.live, target).await;
            decision = decide();
        }
        // Never this machine's own: a backend may trust that, and what it answers is shown to the one who deploys.
        let from = from.map(Chain::direct);
        let outcome = RequestOutcome::default();
        let came = Came { from: from.as_ref(), authority: &authority, host: &host, interim: None };
        let response = self.carry_out(request, decision, &came, &outcome).await;
        let (parts, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        // One byte more tells that there is more.
        while bytes.len() <= body_bytes_max && check.method() == SmokeMethod::Get {
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            match frame {
                None => break,
                Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Some(Err(error)) => return Err(Unanswered(format!("its answer broke off: {error}"))),
            }
        }
        bytes.truncate(body_bytes_max);
        let fields = parts.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        Ok(SmokeAnswer { status: parts.status.as_u16(), fields, body: bytes })
    }
}

fn request(path: &str, method: SmokeMethod, authority: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let target = utf8_percent_encode(path, CONTROLS).to_string();
    let is_asset = navigation::names_an_asset(path.split('?').next().unwrap_or(path));
    Request::builder()
        .method(match method {
            SmokeMethod::Get => Method::GET,
            SmokeMethod::Head => Method::HEAD,
        })
        .uri(target)
        .header(HOST, authority)
        .header(ACCEPT, if is_asset { ANYTHING } else { PAGE })
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(USER_AGENT, PROGRAM)
        .body(Empty::new())
}
