//! Site served by the edge's own handler.

use std::cell::Cell;
use std::error::Error;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Instant;

use devanture_base::telemetry::AccessLog;
use devanture_benches::worst_rules;
use devanture_config::Digest;
use devanture_config::site_toml::Rules;
use devanture_http::{Answer, Answered, Answering, Inbound, RequestHead, Service};
use devanture_serve::handler::EngineService;
use devanture_store::blobs::Form;
use http::{Request, StatusCode};
use tokio::runtime::Runtime;

use super::in_process::{InProcess, Stores};

/// Encoded page, which need not decode.
const ENCODED: &[u8; 604] = &[b'x'; 604];

/// Kind of site.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SiteKind {
    /// Half of the visitors get another version.
    Canary,
    /// Files alone.
    Plain,
    /// The worst rules in a meaning.
    Ruled(Rules),
}

impl SiteKind {
    /// Rule files, and settings of the `devanture.toml`.
    fn rules(self) -> ([(&'static str, String); 2], serde_json::Value) {
        let (redirects, headers) = match self {
            Self::Canary | Self::Plain => (String::new(), String::new()),
            Self::Ruled(Rules::Cloudflare) => (worst_rules::cloudflare(), String::new()),
            Self::Ruled(Rules::Netlify) => worst_rules::netlify(),
        };
        let serving = match self {
            Self::Canary | Self::Plain => serde_json::json!({}),
            Self::Ruled(rules) => serde_json::json!({ "rules": rules }),
        };
        ([("_redirects", redirects), ("_headers", headers)], serving)
    }
}

/// Site, and the stores behind the site.
pub(crate) struct Served {
    site: InProcess,
    _runtime: Runtime,
}

impl Served {
    /// Stores the site, and makes the site live.
    pub(crate) fn new(kind: SiteKind) -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (rules, serving) = kind.rules();
        let site = runtime.block_on(async {
            let stores = Stores::new();
            let page = [b'p'; 2_000];
            stores.encode(&page, Form::Br, ENCODED).await;
            let files: Vec<(String, &[u8])> = (0..40)
                .map(|number| (format!("assets/part-{number}.js"), &b"//"[..]))
                .chain([("assets/small.js".to_owned(), &page[..])])
                .chain(
                    rules
                        .iter()
                        .filter(|(_, text)| !text.is_empty())
                        .map(|(path, text)| ((*path).to_owned(), text.as_bytes())),
                )
                .collect();
            let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
            for (app, hostname) in [("bench", "bench.localhost"), ("shop", "shop.example.org")] {
                let live = stores.push(app, &files, serving.clone()).await;
                if kind == SiteKind::Canary {
                    let mut others = files.clone();
                    others.push(("new.html", b"new"));
                    let next = stores.store(app, &others, serde_json::json!({})).await;
                    let pointer = serde_json::json!({
                        "version": live, "settings": 0, "switched_ms": 1_700_000_001_000_u64, "deploy": "", "begun": 0,
                        "position": "", "canary": {
                            "version": next, "share": 50, "deploy": "1", "since_ms": 1_700_000_002_000_u64, "who": "me",
                        },
                    });
                    if let Ok(app) = app.parse() {
                        let key = devanture_store::records::live_key(&app, &devanture_config::PlaceName::prod());
                        stores.put(key, pointer).await;
                    }
                }
                let record = serde_json::json!({
                    "app": app, "environment": "prod", "added_ms": 1, "canonical": true, "who": "me",
                });
                if let Ok(host) = hostname.parse() {
                    stores.put(devanture_store::records::hostname_key(&host), record).await;
                }
            }
            stores.handler(AccessLog::unread()).await
        });
        Ok(Self { site, _runtime: runtime })
    }

    /// Entity tag of the encoded page: the beginning of the hash.
    pub(crate) fn etag() -> String {
        let hash = Digest::of(ENCODED).to_string();
        format!("\"{}\"", hash.get(..32).unwrap_or_default())
    }

    /// Service of a connection, whose responses should all have `status`.
    pub(crate) fn visits(&self, status: StatusCode) -> Visits {
        let lane = EngineService::new(Rc::clone(&self.site.handler), Ipv4Addr::LOCALHOST.into(), |_| true);
        Visits { lane: Rc::new(lane), status, as_wanted: Rc::default() }
    }
}

/// Handler of one connection, and the number of responses with the expected status.
#[derive(Clone)]
pub(crate) struct Visits {
    lane: Rc<EngineService>,
    status: StatusCode,
    as_wanted: Rc<Cell<u32>>,
}

impl Visits {
    pub(crate) fn as_wanted(&self) -> u32 {
        self.as_wanted.get()
    }
}

impl Service for Visits {
    type Outcome = <EngineService as Service>::Outcome;
    type Pending = <EngineService as Service>::Pending;

    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        now: Instant,
        put: impl FnOnce(Answer<Self::Outcome>) -> R,
    ) -> Answered<R, Self::Pending> {
        self.lane.answer(request, now, |answer| {
            self.as_wanted.set(self.as_wanted.get() + u32::from(answer.status == self.status));
            put(answer)
        })
    }

    fn end_of_batch(&self) {
        self.lane.end_of_batch();
    }

    fn begin(&self, request: Request<Inbound>, pending: Option<Self::Pending>) -> Answering {
        self.lane.begin(request, pending)
    }
}
