//! The server side of JupyterLab, as far as its front requires: a real backend behind a real front.
//!
//! The backend answers below `/jupyter/` (page, API, themes and one WebSocket) and leaves every static file to the
//! edge, so that one page load takes both routes. A site needs the files of [`super::inputs::jupyterlab`] and one
//! route, `path = "/jupyter/*"` to this backend; the page is `/jupyter/lab`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The place of the front's scripts on the site.
const STATIC: &str = "/jupyterlab/static";

/// Starts the backend of a release on a free port, until the test ends.
#[track_caller]
pub(crate) fn start(release: &str) -> Option<SocketAddr> {
    let front = super::inputs::jupyterlab(release)?;
    let server = super::inputs::jupyterlab_server(release)?.join("jupyterlab");
    let template = std::fs::read_to_string(front.join("jupyterlab/static/index.html")).unwrap();
    let page = fill_in(&template, &page_config(release));
    let backend = Arc::new(Backend { release: release.to_owned(), server, page });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let backend = Arc::clone(&backend);
            // A browser or an edge may close at any moment: the connection then just ends.
            std::thread::spawn(move || drop(backend.converse(&stream)));
        }
    });
    Some(address)
}

struct Backend {
    release: String,
    server: PathBuf,
    page: String,
}

impl Backend {
    /// Answers requests in sequence on a kept-alive connection.
    fn converse(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        loop {
            let mut request_line = String::new();
            if reader.read_line(&mut request_line)? == 0 {
                return Ok(());
            }
            let mut body_bytes = 0;
            let mut web_socket_key = None;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim_end().split_once(':') else { break };
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => body_bytes = value.trim().parse().unwrap(),
                    "sec-websocket-key" => web_socket_key = Some(value.trim().to_owned()),
                    _ => {}
                }
            }
            std::io::copy(&mut reader.by_ref().take(body_bytes), &mut std::io::sink())?;
            if let Some(key) = web_socket_key {
                let accept = derive_accept_key(key.as_bytes());
                write!(
                    writer,
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {accept}\r\n\r\n"
                )?;
                // This server never has events: the stream ends with the page.
                return std::io::copy(&mut reader, &mut std::io::sink()).map(drop);
            }
            let target = request_line.split(' ').nth(1).unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default();
            let (status, content_type, body) = match self.answer(path) {
                Some((content_type, body)) => ("200 OK", content_type, body),
                None => ("404 Not Found", "application/json", r#"{"message": "not found"}"#.to_owned()),
            };
            write!(
                writer,
                "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
    }

    fn answer(&self, path: &str) -> Option<(&'static str, String)> {
        let path = path.strip_prefix("/jupyter/")?;
        if path == "lab" {
            return Some(("text/html; charset=utf-8", self.page.clone()));
        }
        if let Some(theme) = path.strip_prefix("lab/themes/") {
            let css = std::fs::read_to_string(self.server.join("themes").join(theme)).ok()?;
            return Some(("text/css; charset=utf-8", css));
        }
        if path.starts_with("static/favicons/") {
            return Some(("image/x-icon", String::new()));
        }
        if path.starts_with("custom/") {
            return Some(("text/css; charset=utf-8", String::new()));
        }
        Some(("application/json", self.api(path)?.to_string()))
    }

    fn api(&self, path: &str) -> Option<Value> {
        if let Some(id) = path.strip_prefix("lab/api/settings/") {
            return self.settings(id);
        }
        if path.starts_with("lab/api/translations/") {
            return Some(json!({ "data": {}, "message": "" }));
        }
        let english = json!({ "displayName": "English", "nativeName": "English" });
        Some(match path {
            "api/contents" | "api/contents/" => json!({
                "name": "", "path": "", "type": "directory", "format": "json", "content": [], "writable": true,
                "created": "2025-01-01T00:00:00Z", "last_modified": "2025-01-01T00:00:00Z",
                "mimetype": null, "size": null,
            }),
            "api/kernels" | "api/sessions" | "api/terminals" => json!([]),
            "api/kernelspecs" => json!({ "default": "", "kernelspecs": {} }),
            "api/me" => {
                let identity = json!({ "username": "visitor", "name": "Visitor", "display_name": "Visitor" });
                json!({ "identity": identity, "permissions": {} })
            }
            "lab/api/settings" => json!({ "settings": self.all_settings() }),
            "lab/api/translations" => json!({ "data": { "en": english }, "message": "" }),
            "lab/api/workspaces" => json!({ "workspaces": { "ids": [], "values": [] } }),
            "lab/api/workspaces/default" => json!({ "data": {}, "metadata": { "id": "default" } }),
            "lsp/status" => json!({ "version": 2, "sessions": {}, "specs": {} }),
            _ => return None,
        })
    }

    /// Returns the settings of one plugin, such as `@jupyterlab/notebook-extension:panel`: its schema, and no values.
    fn settings(&self, id: &str) -> Option<Value> {
        let file = self.server.join("schemas").join(format!("{}.json", id.replace(':', "/")));
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).unwrap();
        Some(json!({
            "id": id, "schema": schema, "raw": "{}", "settings": {}, "version": self.release,
            "created": null, "last_modified": null, "warning": null,
        }))
    }

    fn all_settings(&self) -> Vec<Value> {
        let schemas = self.server.join("schemas");
        let list = |folder: &Path| -> Vec<PathBuf> {
            let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths
        };
        let plugins = list(&schemas).into_iter().flat_map(|scope| list(&scope)).flat_map(|folder| list(&folder));
        let ids = plugins.filter(|file| file.extension().is_some_and(|extension| extension == "json")).map(|file| {
            let id = file.strip_prefix(&schemas).unwrap().with_extension("");
            let (extension, plugin) = (id.parent().unwrap(), id.file_name().unwrap());
            format!("{}:{}", extension.display(), plugin.display())
        });
        ids.filter_map(|id| self.settings(&id)).collect()
    }
}

/// Returns the page configuration: the Jupyter server's addresses for the front.
fn page_config(release: &str) -> Value {
    let mut config = json!({
        "appName": "JupyterLab", "appNamespace": "lab", "appVersion": release, "baseUrl": "/jupyter/", "wsUrl": "",
        "appUrl": "/lab", "treeUrl": "/lab/tree", "mode": "multiple-document", "store_id": 0, "token": "",
        "devMode": false, "quitButton": false, "terminalsAvailable": false, "federated_extensions": [],
        "disabledExtensions": ["@jupyterlab/apputils-extension:announcements"],
        "extensionManager": { "name": "read-only", "can_install": false, "install_path": null },
        "staticUrl": STATIC, "fullStaticUrl": STATIC, "fullAppUrl": "/jupyter/lab", "fullTreeUrl": "/jupyter/lab/tree",
        "themesUrl": "/lab/themes", "fullThemesUrl": "/lab/themes",
    });
    for name in ["licenses", "listings", "settings", "translationsApi", "workspacesApi"] {
        let path = name.trim_end_matches("Api");
        let full_name = format!("full{}{}Url", name[..1].to_uppercase(), &name[1..]);
        config[format!("{name}Url")] = format!("/lab/api/{path}").into();
        config[full_name] = format!("/jupyter/lab/api/{path}").into();
    }
    config
}

/// Fills in the template as far as required: three values; statements and comments are removed, their content stays.
fn fill_in(template: &str, config: &Value) -> String {
    let mut page = template
        .replace("{{ page_config_full | tojson }}", &config.to_string())
        .replace("{{page_config.fullStaticUrl}}", STATIC)
        .replace("{{ base_url | escape }}", "/jupyter/");
    for (open, close) in [("{%", "%}"), ("{#", "#}")] {
        while let Some(start) = page.find(open) {
            let end = start + page[start..].find(close).unwrap() + close.len();
            page.replace_range(start..end, "");
        }
    }
    assert!(!page.contains("{{ ") && !page.contains("{{p"), "the template asks for more than is known here");
    page
}
