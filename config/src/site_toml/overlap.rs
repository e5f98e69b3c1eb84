//! Overlap of a process's old and new instances at a switch.

use super::process::Kind;

/// Returns true if instances of the next version start before the end of the instances of this version. Instances with
/// requests always overlap, so no request is lost; for other instances, `own`, of the process, takes precedence over
/// `all`, of the backend.
pub(super) fn overlaps(kind: Kind, own: Option<bool>, all: Option<bool>) -> bool {
    kind == Kind::Web || own.or(all).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use crate::site_toml::SiteFile;

    fn resolved(text: &str) -> Vec<(String, bool)> {
        let server = SiteFile::parse("f", text).unwrap().base.server.unwrap().resolved();
        server.processes.into_iter().map(|process| (process.name.to_string(), process.overlap)).collect()
    }

    #[test]
    fn processes_without_traffic_overlap_only_where_they_say_so() {
        let mailer =
            |lines: &str| resolved(&format!("[server]\n{lines}\n[server.processes.mailer]\ncommand = [\"b\"]\n"));
        let are = |mailer, main: &str, of_main| vec![("mailer".to_owned(), mailer), (main.to_owned(), of_main)];
        assert_eq!(mailer("command = [\"a\"]"), are(false, "web", true));
        assert_eq!(mailer("command = [\"a\"]\noverlap = false"), are(false, "web", true));
        assert_eq!(mailer("command = [\"a\"]\nkind = \"worker\"\noverlap = true"), are(true, "worker", true));
        let own = "[server]\nprocesses = { a = { command = [\"a\"], overlap = true }, b = { command = [\"b\"] } }\n";
        assert_eq!(resolved(own), [("a".to_owned(), true), ("b".to_owned(), false)]);
    }
}
