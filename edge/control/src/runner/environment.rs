//! Variables of an instance: settings and secrets of its environment, and variables of the edge. The edge's own
//! environment is not inherited.

use std::collections::BTreeMap;
use std::path::Path;

use devanture_config::VersionId;
use devanture_config::site_toml::command::expanded;

use devanture_serve::proxy::address::Endpoint;

/// Prefix of variables reserved for the edge.
const PREFIX: &str = "DEVANTURE_";

/// Variables set by the edge for an instance.
pub(super) struct EdgeVariables<'t> {
    pub(super) app: &'t str,
    pub(super) place: &'t str,
    pub(super) version: &'t VersionId,
    /// For example `web.2`.
    pub(super) instance: &'t str,
    pub(super) node: &'t str,
    /// Persistent folder, if any.
    pub(super) data: Option<&'t Path>,
    /// Listening address, if any.
    pub(super) listen: Option<&'t Endpoint>,
    /// Search path of programs.
    pub(super) path: &'t str,
    /// Folder for temporary files.
    pub(super) temporary: &'t Path,
}

/// Returns all variables of an instance. A setting may override `PATH`, `HOME`, `TMPDIR`, `LANG` and `HOST`, and no
/// other variable of the edge.
pub(super) fn variables(settings: &BTreeMap<String, String>, edge: &EdgeVariables<'_>) -> BTreeMap<String, String> {
    let text = |path: &Path| path.display().to_string();
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut say = |name: &str, value: String| drop(all.insert(name.to_owned(), value));
    say("PATH", edge.path.to_owned());
    say("HOME", text(edge.temporary));
    say("TMPDIR", text(edge.temporary));
    say("LANG", "C.UTF-8".to_owned());
    for (name, value) in settings.iter().filter(|(name, _)| !name.starts_with(PREFIX)) {
        say(name, value.clone());
    }
    say("DEVANTURE_APP", edge.app.to_owned());
    say("DEVANTURE_ENVIRONMENT", edge.place.to_owned());
    say("DEVANTURE_VERSION", edge.version.to_string());
    say("DEVANTURE_INSTANCE", edge.instance.to_owned());
    say("DEVANTURE_NODE", edge.node.to_owned());
    if let Some(data) = edge.data {
        say("DEVANTURE_DATA", text(data));
    }
    match edge.listen {
        Some(Endpoint::Tcp(address)) => {
            all.remove("SOCKET");
            all.insert("PORT".to_owned(), address.port().to_string());
            // Many programs given only a port listen on all addresses.
            all.entry("HOST".to_owned()).or_insert_with(|| address.ip().to_string());
        }
        Some(Endpoint::Socket(socket)) => {
            all.remove("PORT");
            all.insert("SOCKET".to_owned(), text(socket));
        }
        // Instances of other nodes are not started here.
        Some(Endpoint::Node(_)) | None => {}
    }
    all
}

/// Replaces `$PORT` or `$SOCKET` in the words of a command by the listening address.
pub(super) fn command(words: &[String], listen: Option<&Endpoint>) -> Vec<String> {
    expanded(words, |name| match (name, listen?) {
        ("PORT", Endpoint::Tcp(address)) => Some(address.port().to_string()),
        ("SOCKET", Endpoint::Socket(socket)) => Some(socket.display().to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_does_not_say_what_the_edge_says() {
        let given = ["PORT", "SOCKET", "DEVANTURE_APP", "DEVANTURE_TOKEN", "GAME_PASSWORD", "PATH"];
        let settings = given.map(|name| (name.to_owned(), "mine".to_owned())).into();
        let listen = Endpoint::Tcp("127.0.0.1:4000".parse().unwrap());
        let version = VersionId::of(b"");
        let edge = EdgeVariables {
            app: "shop",
            place: "prod",
            version: &version,
            instance: "web.2",
            node: "node-1",
            data: None,
            listen: Some(&listen),
            path: "/bin",
            temporary: Path::new("/tmp/shop"),
        };
        let all = variables(&settings, &edge);
        let of = |name: &str| all.get(name).map(String::as_str);
        assert_eq!((of("PORT"), of("SOCKET"), of("DEVANTURE_APP")), (Some("4000"), None, Some("shop")));
        assert_eq!((of("DEVANTURE_TOKEN"), of("GAME_PASSWORD"), of("PATH")), (None, Some("mine"), Some("mine")));
        assert_eq!((of("DEVANTURE_VERSION").map(str::len), of("DEVANTURE_DATA")), (Some(64), None));
        assert_eq!((of("HOME"), of("LANG"), of("HOST")), (Some("/tmp/shop"), Some("C.UTF-8"), Some("127.0.0.1")));
        let mut own = settings.clone();
        own.insert("HOST".to_owned(), "shop.example".to_owned());
        assert_eq!(variables(&own, &edge)["HOST"], "shop.example", "an application may call something else so");
        let socket = Endpoint::Socket("/run/s".into());
        let all = variables(&settings, &EdgeVariables { listen: Some(&socket), ..edge });
        assert_eq!((all.get("PORT"), all.get("SOCKET").map(String::as_str)), (None, Some("/run/s")));
        assert_eq!(all.get("HOST"), None);
        // A command expands the listening address of its instance, and no setting.
        let words = ["serve", "$PORT", "--bind=${SOCKET}", "$HOME"].map(str::to_owned);
        let edge = |listen: Option<&Endpoint>| command(&words, listen).join(" ");
        assert_eq!(edge(Some(&Endpoint::Tcp("127.0.0.1:4000".parse().unwrap()))), "serve 4000 --bind=${SOCKET} $HOME");
        assert_eq!(edge(Some(&socket)), "serve $PORT --bind=/run/s $HOME");
        assert_eq!(edge(None), words.join(" "));
    }
}
