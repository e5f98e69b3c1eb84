//! Sites for the requests.

use std::io::{self, Write};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use devanture_base::telemetry::{AccessLog, LineForm, LogOutput, LogSettings};
use devanture_config::edge_toml::LogAddresses;
use devanture_config::{PlaceName, VersionId};
use devanture_serve::handler::Handler;
use devanture_store::blobs::Form;
use devanture_store::records;
use serde_json::{Value, json};

use crate::in_process::{InProcess, Stores};

/// Time of all switches.
pub(crate) const CHANGED: &str = "Tue, 14 Nov 2023 22:13:21 GMT";

const PAGE: &[u8] = b"<!doctype html><title>A page</title>";
const SCRIPT: &[u8] = b"console.log('a script')";
const RULES: &[u8] =
    b"/old /about 301\n/rewritten /special/page 200\n/country /de 302 Language=de\n/gone /404.html 410\n";
const FIELDS: &[u8] =
    b"/special/*\n  X-Own: 1\n  Set-Cookie: a=1; Domain=localhost\n/secret/*\n  Basic-Auth: me:pass\n";

/// Sites, and a version that is live nowhere.
pub(crate) struct Site {
    served: InProcess,
    pub(crate) preview: VersionId,
}

impl Deref for Site {
    type Target = InProcess;

    fn deref(&self) -> &InProcess {
        &self.served
    }
}

/// Sites without a log reader.
pub(crate) async fn site() -> Site {
    site_with(AccessLog::unread()).await
}

async fn site_with(log: AccessLog) -> Site {
    let stores = Stores::new();
    let large: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    for bytes in [PAGE, SCRIPT] {
        stores.encode(bytes, Form::Br, b"as brotli").await;
    }
    let shop: &[(&str, &[u8])] = &[
        ("index.html", PAGE),
        ("about.html", b"about"),
        ("empty.txt", b""),
        ("ten.txt", b"0123456789"),
        ("large.bin", &large),
        ("assets/app-B3xY9_aZ.js", SCRIPT),
    ];
    stores.push("shop", shop, json!({})).await;
    let preview = stores.store("shop", &[("ten.txt", b"9876543210")], json!({})).await;
    let spa = json!({"not_found": "single-page-application"});
    stores.push("spa", &[("index.html", PAGE), ("app.js", SCRIPT)], spa).await;
    stores.push("paged", &[("index.html", PAGE), ("404.html", b"nothing")], json!({})).await;
    let ruled: &[(&str, &[u8])] = &[
        ("index.html", PAGE),
        ("404.html", PAGE),
        ("about.html", b"about"),
        ("special/page.html", b"special"),
        ("secret/page.html", b"secret"),
        ("_redirects", RULES),
        ("_headers", FIELDS),
    ];
    stores.push("ruled", ruled, json!({"html_handling": "auto-trailing-slash"})).await;
    stores.push("withdrawn", &[("index.html", PAGE), ("doc.txt", b"doc")], json!({})).await;
    stores.push("paused", &[("index.html", PAGE), ("open/page.html", b"open")], json!({})).await;
    let nowhere = json!({
        "version": VersionId::of(b"nowhere"), "settings": 0, "switched_ms": 0, "deploy": "", "begun": 0, "position": "",
    });
    let (prod, app) = (PlaceName::prod(), |name: &str| name.parse().unwrap());
    stores.put(records::live_key(&app("broken"), &prod), nowhere).await;
    let withdrawn = json!({"paths": {"/doc.txt": {"at_ms": u64::MAX, "who": "me"}}});
    stores.put(records::withdrawn_key(&app("withdrawn")), withdrawn).await;
    let pause = json!({"since_ms": 0, "who": "me", "allow": ["/open/*"], "retry_after_s": 60});
    stores.put(records::paused_key(&app("paused"), &prod), pause).await;
    for (host, canonical) in [("www.shop.example", true), ("shop.example", false)] {
        let record = json!({"app": "shop", "environment": "prod", "added_ms": 1, "canonical": canonical, "who": "me"});
        stores.put(records::hostname_key(&host.parse().unwrap()), record).await;
    }
    Site { served: stores.handler(log).await, preview }
}

/// Written log bytes.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sites, and a function that returns the log lines since the last call, without times.
pub(crate) async fn site_with_log() -> (Site, impl Fn(&Handler) -> Vec<Value>) {
    let settings = LogSettings {
        addresses: LogAddresses::Full,
        queries: true,
        lines_max: 1_000,
        readers_max: 1,
        readers_per_app_max: 1,
        reader_lines_max: 1,
        kept_bytes_max: 0,
        kept_apps_max: 0,
    };
    let written = Written::default();
    let again = written.clone();
    let output = LogOutput {
        form: LineForm::Json,
        writer: Box::new(written.clone()),
        open: Box::new(move || Ok(Box::new(again.clone()))),
    };
    let site = site_with(AccessLog::new(settings, Some(output))).await;
    let lines = move |handler: &Handler| {
        handler.access_log.flush(Duration::from_secs(30));
        let text = std::mem::take(&mut *written.0.lock().unwrap());
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let timeless = |line: &[u8]| {
            let mut line: Value = serde_json::from_slice(line).unwrap();
            for member in ["at_ms", "at", "us"] {
                line.as_object_mut().unwrap().remove(member);
            }
            line
        };
        lines.map(timeless).collect()
    };
    (site, lines)
}
