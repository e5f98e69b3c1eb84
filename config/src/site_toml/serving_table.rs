//! Reader of a table about serving: of every environment, of an `[env.*]`, or of an overlay.

use std::collections::BTreeMap;

use super::cors::{self, CorsOrigin};
use super::rules::{CacheTable, HeadersTable, RedirectTable};
use super::serving::{HTML_HANDLING, INTEGRITY, NOT_FOUND, PIN, PIN_IDLE_MS_RANGE, RULES, Serving};
use super::{routes, server, smoke, upstreams};
use crate::names::Canonical;
use crate::parsing::reader::Table;
use crate::rules::tables::{self, TableMistake};
use crate::rules::{At, RuleTable};

impl Table<'_, '_> {
    /// Rejects hostnames at the top: a hostname belongs to one environment, and the top applies to all.
    pub(super) fn finish_serving_hostnames(&self) {
        for key in ["canonical", "hostnames"] {
            if self.has(key) {
                let message = format!("`{key}` belongs to one environment");
                self.mistake(key, message, Some("write it below [env.prod]"));
            }
        }
    }

    /// Checks `canonical` against a list of hostnames only if set in the same table, since hostnames set through the
    /// API are unknown here.
    pub(super) fn finish_canonical(&self, serving: &Serving) {
        if let (Some(Canonical::Name(name)), Some(hostnames)) = (&serving.canonical, &serving.hostnames)
            && !hostnames.contains(&name.clone().into())
        {
            let message = format!("`{}`: {name} is not one of `hostnames`", self.full("canonical"));
            self.mistake("canonical", message, Some("add it there, or write canonical = \"none\""));
        }
    }
}

/// Reads the settings about serving of one table.
pub(super) fn serving(table: &Table<'_, '_>) -> Serving {
    let cors: Option<Vec<CorsOrigin>> = table.list("cors");
    cors::check(table, cors.as_deref());
    Serving {
        cache: cache_table(table),
        canonical: table.parsed("canonical"),
        cors,
        headers: table.tables("headers").map(|tables| headers_tables(&tables)),
        hostnames: table.list("hostnames"),
        html_handling: table.word("html_handling", HTML_HANDLING),
        integrity: table.word("integrity", INTEGRITY),
        not_found: table.word("not_found", NOT_FOUND),
        pin: table.word("pin", PIN),
        pin_idle_ms: table.integer("pin_idle_ms", PIN_IDLE_MS_RANGE),
        public_source: table.boolean("public_source"),
        redirects: table.tables("redirects").map(|tables| redirect_tables(&tables, RuleTable::Redirects)),
        rewrites: table.tables("rewrites").map(|tables| redirect_tables(&tables, RuleTable::Rewrites)),
        routes: table.tables("routes").map(|tables| routes::routes(table, &tables)),
        rules: table.word("rules", RULES),
        server: server::server(table),
        smoke: smoke::smoke(table),
        status_page: table.boolean("status_page"),
        upstreams: upstreams::upstreams(table),
    }
}

/// Reads `[[redirects]]` or `[[rewrites]]`.
fn redirect_tables(tables: &[Table<'_, '_>], kind: RuleTable) -> Vec<RedirectTable> {
    let mut rules = Vec::with_capacity(tables.len());
    for table in tables {
        need(table, &["from", "to"], "from = \"/old/*\"  to = \"/new/:splat\"");
        let (from, to) = (table.string("from"), table.string("to"));
        let status = table.integer("status", 100..=999);
        let query = table.named_strings("query");
        let rest = (table.list("languages"), table.list("cookies"), table.boolean("force"));
        let host = table.parsed("host");
        table.finish();
        let (Some(from), Some(to)) = (from, to) else { continue };
        let rule = RedirectTable {
            cookies: rest.1.unwrap_or_default(),
            force: rest.2.unwrap_or_default(),
            from,
            host,
            languages: rest.0.unwrap_or_default(),
            query: query.into_iter().collect(),
            status: status.and_then(|status| u16::try_from(status).ok()),
            to,
        };
        match tables::redirect(&rule, kind, At::default()) {
            Ok(_) => rules.push(rule),
            Err(mistakes) => report_all(table, mistakes),
        }
    }
    rules
}

/// Reads `[[headers]]`.
fn headers_tables(tables: &[Table<'_, '_>]) -> Vec<HeadersTable> {
    let mut rules = Vec::with_capacity(tables.len());
    for table in tables {
        need(table, &["for"], "for = \"/assets/*\"  set = { \"X-Frame-Options\" = \"DENY\" }");
        let path = table.string("for");
        let set = table.table("set").map(|set| set.all_texts()).unwrap_or_default();
        let (remove, basic_auth, force) = (table.list("remove"), table.list("basic_auth"), table.boolean("force"));
        table.finish();
        let Some(path) = path else { continue };
        let (basic_auth, remove) = (basic_auth.unwrap_or_default(), remove.unwrap_or_default());
        let rule = HeadersTable { basic_auth, force: force.unwrap_or_default(), path, remove, set };
        match tables::headers(&rule, At::default()) {
            Ok(_) => rules.push(rule),
            Err(mistakes) => report_all(table, mistakes),
        }
    }
    rules
}

/// Reads `[cache]`.
fn cache_table(outer: &Table<'_, '_>) -> Option<BTreeMap<String, CacheTable>> {
    let table = outer.table("cache")?;
    let mut rules = BTreeMap::new();
    for (path, value) in table.texts_or_tables() {
        let rule = match value {
            Ok(control) => CacheTable { control, force: false },
            Err(inner) => {
                need(&inner, &["control"], "{ control = \"1h\", force = true }");
                let (control, force) = (inner.string("control"), inner.boolean("force"));
                inner.finish();
                let Some(control) = control else { continue };
                CacheTable { control, force: force.unwrap_or_default() }
            }
        };
        if let Err(mistakes) = tables::cache(&path, &rule, At::default()) {
            for mistake in mistakes {
                table.mistake(&path, format!("`{}`: {}", table.full(&path), mistake.message), mistake.hint.as_deref());
            }
        }
        rules.insert(path, rule);
    }
    Some(rules)
}

/// Reports the missing `keys` of `table`.
fn need(table: &Table<'_, '_>, keys: &[&str], hint: &str) {
    for key in keys {
        if !table.has(key) {
            table.mistake(key, format!("`{}` is missing", table.full(key)), Some(hint));
        }
    }
}

fn report_all(table: &Table<'_, '_>, mistakes: Vec<TableMistake>) {
    for TableMistake { key, message, hint } in mistakes {
        table.mistake(key, format!("`{}`: {message}", table.full(key)), hint.as_deref());
    }
}
