//! Sends the requests of a smoke check to a version before the version goes live, by the same code that answers
//! visitors.

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
use super::{ClientContext, Handler};
use crate::live::{Current, Place};
use crate::proxy::Chain;

/// The `Accept` of a check: a page, if the path may be a page.
const PAGE: HeaderValue = HeaderValue::from_static("text/html,*/*;q=0.8");
/// The `Accept` of a check for an asset's path, for which an application's page must not stand in.
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
/// The client, for the logs of backends.
const PROGRAM: HeaderValue = HeaderValue::from_static(concat!("devanture-smoke/", env!("CARGO_PKG_VERSION")));

/// A request to a version that is about to go live.
pub struct SmokeQuestion {
    /// The version, as live.
    pub current: Arc<Current>,
    /// The environment, if a version is already live there.
    pub place: Option<Arc<Place>>,
    /// The environment's host, with the port unless 443.
    pub authority: String,
    /// True if the host is a custom hostname.
    pub custom_host: bool,
    /// The address of the deploying client, used as the visitor's; `None` for the local machine.
    pub from: Option<IpAddr>,
    /// The request.
    pub check: SmokeCheck,
    /// Maximum bytes of the body to read.
    pub body_bytes_max: usize,
}

/// The response of the version.
#[derive(Debug)]
pub struct SmokeAnswer {
    /// The status.
    pub status: u16,
    /// The fields: name in lower case, and value.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body as sent, up to the bound.
    pub body: Vec<u8>,
}

/// Reason for a missing response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

impl SmokeAnswer {
    /// The values of a field; the name is case-insensitive.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }
}

impl Handler {
    /// Sends `question`, and reads the response up to the bound: decided and carried out as for a visitor, after the
    /// hostname, the redirect to the canonical hostname and the pause of the environment, which belong to no version.
    ///
    /// # Errors
    /// No whole response.
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
        // Never the local machine's own address: a backend may trust the address, and the deployer sees the response.
        let from = from.map(Chain::direct);
        let outcome = RequestOutcome::default();
        let came = ClientContext { from: from.as_ref(), authority: &authority, host: &host, interim: None };
        let response = self.carry_out(request, decision, &came, &outcome).await;
        let (parts, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        // One byte beyond the bound shows that the body is longer.
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
