//! Tests of the order of settings, and of their allowed combinations.

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn settings(flags: &[(Name, &str)], environment: &[(&str, &str)], dotenv: &[(&str, &str)], site: &str) -> Settings {
    let flags = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    Settings::gather(&Sources {
        flags: &flags,
        environment: &map(environment),
        app_dotenv: &BTreeMap::new(),
        dotenv: &map(dotenv),
        site: &SiteFile::parse("devanture.toml", site).unwrap(),
        site_file_name: "devanture.toml",
        has_site_file: true,
    })
}

#[test]
fn flags_beat_the_environment_beats_dotenv_beats_devanture_toml() {
    let flag: &[(Name, &str)] = &[(Name::App, "by-flag")];
    let environment: &[(&str, &str)] = &[("DEVANTURE_APP", "by-environment")];
    let dotenv: &[(&str, &str)] = &[("DEVANTURE_APP", "by-dotenv")];
    let site = "app = \"by-file\"";
    for (settings, value, source) in [
        (settings(flag, environment, dotenv, site), "by-flag", Source::Flag),
        (settings(&[], environment, dotenv, site), "by-environment", Source::Environment),
        (settings(&[], &[], dotenv, site), "by-dotenv", Source::DotEnv),
        (settings(&[], &[], &[], site), "by-file", Source::SiteFile),
    ] {
        let app = settings.app().unwrap();
        assert_eq!((app.value.as_str(), app.source), (value, source));
    }
    let nothing = settings(&[], &[], &[], "");
    assert_eq!(nothing.app().unwrap_err().code, "usage");
    assert_eq!(nothing.environment().unwrap(), Setting { value: PlaceName::prod(), source: Source::Default });
}

#[test]
fn the_file_of_one_app_goes_before_dotenv_and_is_trusted_no_more() {
    let gathered = |environment: &[(&str, &str)], own: &[(&str, &str)], dotenv: &[(&str, &str)]| {
        Settings::gather(&Sources {
            flags: &BTreeMap::new(),
            environment: &map(environment),
            app_dotenv: &map(own),
            dotenv: &map(dotenv),
            site: &SiteFile::parse("devanture.toml", "app = \"game\"").unwrap(),
            site_file_name: "devanture.toml",
            has_site_file: true,
        })
    };
    let login = [URL, ("DEVANTURE_LOGIN", "ada"), ("DEVANTURE_PASSWORD", "of game"), ("DEVANTURE_APP", "other")];
    let settings = gathered(&[], &login, &[("DEVANTURE_LOGIN", "bob"), TOKEN]);
    assert_eq!(settings.app().unwrap().value.as_str(), "game", "the file is of one app, and names none");
    // A login of the app is stronger than a token of all apps.
    let Credential::Login(access) = settings.edge_access().unwrap().credential else { panic!("it is a login") };
    assert_eq!((access.name.as_str(), access.is_trusted), ("ada", false));
    assert_eq!(access.password.unwrap().secret(), "of game");
    assert!(
        settings.explained().iter().any(|line| line.ends_with("ada  from .env.game")),
        "{:?}",
        settings.explained()
    );
    // The real environment takes precedence, and its secrets go to no address named by the file.
    let settings = gathered(&[("DEVANTURE_LOGIN", "eve"), ("DEVANTURE_PASSWORD", "p")], &login, &[]);
    let failure = settings.edge_access().unwrap_err();
    assert!(failure.is(Code::UntrustedSource) && failure.message.contains(".env.game"), "{failure}");
}

const URL: (&str, &str) = ("DEVANTURE_URL", "https://edge.example.org");
const TOKEN: (&str, &str) = ("DEVANTURE_TOKEN", "secret");
const CA: (&str, &str) = ("DEVANTURE_CA", "ca.pem");
const SITE: &str = "url = \"https://edge.example.org\"";

#[test]
fn a_token_goes_only_where_somebody_of_its_own_trust_says() {
    let flag_token: &[(Name, &str)] = &[(Name::Token, "secret")];
    let flag_url: &[(Name, &str)] = &[(Name::Url, URL.1)];
    for (allowed, settings) in [
        (true, settings(&[], &[URL, TOKEN], &[], "")),
        (true, settings(&[], &[URL, TOKEN, CA], &[], "")),
        (true, settings(flag_token, &[URL], &[], SITE)),
        (true, settings(flag_url, &[TOKEN], &[URL], SITE)),
        (true, settings(&[], &[], &[URL, TOKEN, CA], "")),
        (true, settings(&[], &[], &[TOKEN], SITE)),
        (true, settings(&[], &[URL, CA], &[TOKEN], "")),
        (false, settings(&[], &[TOKEN], &[URL], "")),
        (false, settings(&[], &[TOKEN], &[], SITE)),
        (false, settings(flag_token, &[], &[URL], "")),
        (false, settings(flag_token, &[], &[], SITE)),
        (false, settings(&[], &[URL, TOKEN], &[CA], "")),
        (false, settings(flag_token, &[URL], &[CA], "")),
        // An empty variable counts as unset: it cannot lend its trust to the `.env` beside it.
        (false, settings(&[], &[("DEVANTURE_URL", ""), TOKEN], &[URL], "")),
    ] {
        match settings.edge_access() {
            Ok(_) => assert!(allowed, "{settings:?}"),
            Err(failure) => {
                assert!(!allowed, "{failure}");
                assert_eq!((failure.code.as_str(), failure.exit), ("untrusted_source", 2));
                assert!(!failure.to_string().contains("secret"));
            }
        }
    }
}

const LOGIN: (&str, &str) = ("DEVANTURE_LOGIN", "ada");
const PASSWORD: (&str, &str) = ("DEVANTURE_PASSWORD", "secret words");

#[test]
fn a_password_goes_only_where_somebody_of_its_own_trust_says() {
    for (allowed, settings) in [
        (true, settings(&[], &[URL, LOGIN, PASSWORD, CA], &[], "")),
        (true, settings(&[], &[], &[URL, LOGIN, PASSWORD, CA], "")),
        (true, settings(&[], &[], &[LOGIN, PASSWORD], SITE)),
        (true, settings(&[], &[URL], &[LOGIN, PASSWORD], "")),
        (true, settings(&[], &[URL, PASSWORD], &[LOGIN], "")),
        (true, settings(&[], &[URL, LOGIN], &[], "")),
        (false, settings(&[], &[LOGIN, PASSWORD], &[URL], "")),
        (false, settings(&[], &[LOGIN, PASSWORD], &[], SITE)),
        (false, settings(&[], &[URL, LOGIN, PASSWORD], &[CA], "")),
        // The project names the account, and would like the person's password.
        (false, settings(&[], &[PASSWORD], &[URL, LOGIN], "")),
        // The stored result of the user's login belongs to the user, too.
        (false, settings(&[], &[LOGIN], &[URL], "")),
    ] {
        match settings.edge_access() {
            Ok(access) => assert!(allowed && matches!(access.credential, Credential::Login(_)), "{settings:?}"),
            Err(failure) => {
                assert!(!allowed, "{failure}");
                assert_eq!((failure.code.as_str(), failure.exit), ("untrusted_source", 2));
                assert!(!failure.to_string().contains("secret"));
            }
        }
    }
}

#[test]
fn of_a_token_and_a_login_the_stronger_source_counts() {
    let is_token = |settings: Settings| matches!(settings.edge_access().unwrap().credential, Credential::Token(_));
    assert!(is_token(settings(&[], &[URL, TOKEN, LOGIN, PASSWORD], &[], "")));
    assert!(is_token(settings(&[], &[URL, TOKEN], &[LOGIN, PASSWORD], "")));
    assert!(!is_token(settings(&[], &[URL, LOGIN, PASSWORD], &[TOKEN], "")));
    let nameless = settings(&[], &[URL, PASSWORD], &[], "").edge_access().unwrap_err();
    assert_eq!((nameless.code.as_str(), nameless.exit), ("usage", 2));
}

#[test]
fn a_login_is_kept_where_the_state_of_programs_is() {
    let folder = |pairs: &[(&str, &str)]| state_folder(&map(pairs)).map(|path| path.display().to_string());
    assert_eq!(folder(&[("HOME", "/ada")]).as_deref(), Some("/ada/.local/state/devanture"));
    let both = [("HOME", "/ada"), ("XDG_STATE_HOME", "/state")];
    assert_eq!(folder(&both).as_deref(), Some("/state/devanture"));
    assert_eq!(folder(&[("XDG_STATE_HOME", "state")]), None);
    assert_eq!(folder(&[("HOME", "")]), None);
}

#[test]
fn what_is_missing_is_reported() {
    let failure = |settings: Settings| settings.edge_access().unwrap_err();
    assert_eq!(failure(settings(&[], &[TOKEN], &[], "")).code, "usage");
    let without_token = failure(settings(&[], &[URL, ("DEVANTURE_TOKEN", "")], &[], ""));
    assert_eq!((without_token.code.as_str(), without_token.exit), ("unauthenticated", 4));
}

#[test]
fn an_environment_of_no_name_is_never_taken_for_prod() {
    let failure = settings(&[], &[("DEVANTURE_ENV", "")], &[], "").environment().unwrap_err();
    assert_eq!((failure.code.as_str(), failure.exit), ("usage", 2));
    assert!(failure.message.starts_with("DEVANTURE_ENV: "), "{failure}");
}

#[test]
fn an_edge_is_reached_by_https_or_on_loopback() {
    for (good, url) in [
        ("https://edge.example.org:8444/", "https://edge.example.org:8444/"),
        ("https://example.org/devanture/", "https://example.org/devanture"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1/"),
        ("http://[::1]:1", "http://[::1]:1/"),
        ("http://localhost:1", "http://localhost:1/"),
    ] {
        assert_eq!(edge_url(good, "x").unwrap().as_str(), url);
    }
    for bad in
        ["", "edge.example.org", "127.0.0.1:8444", "http://edge.example.org", "ftp://x", "https://u:p@x", "https://x?y"]
    {
        assert_eq!(edge_url(bad, "x").unwrap_err().exit, 2, "{bad}");
    }
}

#[test]
fn an_explanation_names_the_proxy_of_the_edge() {
    let proxy = "http://me:secret@proxy:3128";
    for (url, environment, expected) in [
        ("https://edge.example.org", vec![("HTTPS_PROXY", proxy)], "HTTPS_PROXY        http://…@proxy:3128  from"),
        ("https://edge.example.org", vec![("https_proxy", proxy), ("ALL_PROXY", "x")], "https_proxy "),
        ("https://edge.example.org", vec![("HTTPS_PROXY", ""), ("all_proxy", proxy)], "all_proxy "),
        ("https://edge.example.org", vec![("ALL_PROXY", proxy), ("no_proxy", ".org")], "no_proxy           .org  from"),
        ("https://edge.example.org", vec![("HTTP_PROXY", proxy), ("NO_PROXY", ".org")], ""),
        ("http://localhost:1", vec![("HTTP_PROXY", proxy)], "not used, as the edge is on this machine"),
        ("https://127.0.0.1:1", vec![("HTTPS_PROXY", proxy)], "not used, as the edge is on this machine"),
        ("https://edge.example.org", vec![], ""),
    ] {
        let flags = [(Name::Url, url)];
        let lines = settings(&flags, &[], &[], "").explained_proxy(&map(&environment)).join("\n");
        assert!(lines.contains(expected) && (!expected.is_empty() || lines.is_empty()), "{environment:?}: {lines}");
        assert!(!lines.contains("secret"), "{lines}");
    }
}

/// Returns the proxy for `url`, or the reason why it is invalid.
fn proxy_of(url: &str, environment: &[(&str, &str)]) -> Result<Option<String>, String> {
    let environment = map(environment);
    let found = Proxy::of(&url.parse().unwrap(), |name| environment.get(name).cloned());
    found.map(|proxy| proxy.map(|proxy| proxy.to_string())).map_err(|failure| {
        assert_eq!((failure.exit, failure.hint.is_some()), (2, true));
        failure.message
    })
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_and_never_passed_over() {
    const EDGE: &str = "https://edge.example.org:8444";
    for (value, expected) in [
        ("http://proxy:3128", Some("http://proxy:3128")),
        ("https://proxy", Some("https://proxy")),
        ("proxy:3128", Some("http://proxy:3128")),
        ("proxy", Some("http://proxy")),
        (" http://proxy:3128/ ", Some("http://proxy:3128")),
        ("http://me:secret@[::1]:3128", Some("http://[::1]:3128")),
        ("me:secret@proxy:3128", Some("http://proxy:3128")),
        ("ftp://me:secret@proxy", None),
        ("socks5://me:secret@proxy:1080", None),
        ("http://", None),
        ("http:/proxy:3128", None),
        ("not a URL", None),
        ("http://proxy:99999", None),
        ("http://me:se/cret@proxy", None),
        ("me:se cret@proxy", None),
    ] {
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            let read = proxy_of(EDGE, &[(variable, value)]);
            match expected {
                Some(proxy) => assert_eq!(read, Ok(Some(format!("the proxy {proxy} of {variable}"))), "{value}"),
                None => assert!(read.as_ref().is_err_and(|why| why.starts_with(&format!("{variable}: `"))), "{read:?}"),
            }
            assert!(!format!("{read:?}").contains("secret") && !format!("{read:?}").contains("cret@"), "{read:?}");
        }
    }
    // The first non-empty variable counts, and an unneeded invalid one has no effect.
    let bad = "ftp://proxy";
    for (url, environment, expected) in [
        (EDGE, &[("HTTPS_PROXY", ""), ("https_proxy", " "), ("ALL_PROXY", "a:1")][..], Some("http://a:1 of ALL_PROXY")),
        (EDGE, &[("HTTPS_PROXY", "a:1"), ("ALL_PROXY", bad)], Some("http://a:1 of HTTPS_PROXY")),
        (EDGE, &[("HTTP_PROXY", bad)], None),
        (EDGE, &[("HTTPS_PROXY", bad), ("NO_PROXY", "example.org")], None),
        (EDGE, &[("HTTPS_PROXY", bad), ("REQUEST_METHOD", "GET")], None),
        ("http://site.example.org", &[("HTTP_PROXY", "a:1")], Some("http://a:1 of HTTP_PROXY")),
        ("https://localhost:1", &[("HTTPS_PROXY", bad)], None),
        ("https://a.localhost", &[("HTTPS_PROXY", bad)], None),
        ("https://127.0.0.1:1", &[("HTTPS_PROXY", bad)], None),
        ("https://[::1]:1", &[("HTTPS_PROXY", bad)], None),
    ] {
        assert_eq!(
            proxy_of(url, environment),
            Ok(expected.map(|proxy| format!("the proxy {proxy}"))),
            "{environment:?}"
        );
    }
    assert!(proxy_of(EDGE, &[("HTTPS_PROXY", bad), ("ALL_PROXY", "a:1")]).is_err());
}

#[test]
fn hosts_without_a_proxy_are_read_as_other_programs_read_them_or_named() {
    let (edge, v4, v6) = ("https://edge.example.org:8444", "https://10.1.2.3:8444", "https://[2001:db8::1]:8444");
    for (url, hosts, expected) in [
        (edge, "edge.example.org", Some(true)),
        (edge, "EXAMPLE.org", Some(true)),
        (edge, ".example.org", Some(true)),
        (edge, "*.example.org", Some(true)),
        (edge, "example.org.", Some(true)),
        (edge, "edge.example.org:8444", Some(true)),
        (edge, "edge.example.org:443", Some(false)),
        (edge, "a.org, .b.org,,example.org", Some(true)),
        (edge, "a.org example.org", Some(true)),
        (edge, "*", Some(true)),
        (edge, "ample.org", Some(false)),
        (edge, "10.0.0.0/8,::1,[::1]", Some(false)),
        ("https://b\u{fc}cher.example", "b\u{fc}cher.example", Some(true)),
        (v4, "10.0.0.0/8", Some(true)),
        (v4, "10.1.2.3:8444", Some(true)),
        (v4, "11.0.0.0/8", Some(false)),
        (v6, "2001:db8::/32", Some(true)),
        (v6, "2001:db8::1", Some(true)),
        (v6, "[2001:db8::1]:8444", Some(true)),
        (v6, "[2001:db8::1]:1", Some(false)),
        // An unreadable entry may be the intended one.
        (edge, "https://edge.example.org", None),
        (edge, "edge.*.org", None),
        (edge, "edge.example.org/", None),
        (edge, "edge.example.org:https", None),
        (v4, "10.0.0.0/33", None),
        (v4, "a.org,10/8", None),
        (v6, "[2001:db8::1", None),
        (edge, "10/8,example.org", Some(true)),
    ] {
        let read = proxy_of(url, &[("ALL_PROXY", "proxy:1"), ("no_proxy", hosts)]);
        let is_direct = read.as_ref().ok().map(Option::is_none);
        assert_eq!(is_direct, expected, "{url} {hosts}: {read:?}");
        assert!(read.as_ref().map_or_else(|why| why.starts_with("no_proxy: `"), |_| true), "{read:?}");
        assert_eq!(proxy_of(url, &[("no_proxy", hosts)]), Ok(None), "without a proxy nobody needs it");
    }
}

#[test]
fn an_explanation_names_sources_and_hides_the_token() {
    let lines = settings(&[(Name::App, "shop")], &[TOKEN, PASSWORD], &[URL], "").explained().join("\n");
    assert!(lines.contains("DEVANTURE_APP      shop  from --app"), "{lines}");
    assert!(lines.contains("DEVANTURE_URL      https://edge.example.org  from .env"), "{lines}");
    assert!(lines.contains("DEVANTURE_ENV      prod  from the default"), "{lines}");
    assert!(lines.contains("DEVANTURE_CA       not set"), "{lines}");
    assert!(!lines.contains("secret"), "{lines}");
}
