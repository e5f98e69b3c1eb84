//! A message about an unusable or failing proxy of the environment names the variable.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::cli_support::{Project, Ran, dead_url};

const EDGE: &str = "https://edge.example.org:8444";

/// Starts a proxy that gives every connection this answer; returns the address.
fn proxy(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut request, mut bytes) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut bytes) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                }
            }
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    address
}

#[test]
fn a_proxy_that_cannot_be_used_stops_a_command_before_anything_is_sent() {
    for (variable, value, other) in [
        ("HTTPS_PROXY", "ftp://me:secret@proxy", ""),
        ("https_proxy", "socks5://me:secret@proxy", ""),
        ("ALL_PROXY", "not a URL", ""),
        ("NO_PROXY", "https://edge.example.org", "http://proxy:3128"),
    ] {
        let project = Project::site(EDGE).variable(variable, value).variable("all_proxy", other);
        let ran = project.run(&["status", "--json"]);
        let error = ran.failed("usage", 2);
        assert!(error["message"].as_str().unwrap().starts_with(&format!("{variable}: `")), "{error}");
        assert!(!format!("{ran:?}").contains("secret"), "{ran:#?}");
    }
}

#[test]
fn a_proxy_that_nothing_comes_through_is_named_without_its_password() {
    let nobody = dead_url();
    let nobody = nobody.strip_prefix("https://").unwrap();
    let cases = [
        ("HTTPS_PROXY", nobody.to_owned(), "refused"),
        ("all_proxy", proxy("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "wants a user and a password"),
        ("https_proxy", proxy("HTTP/1.1 503 Service Unavailable\r\n\r\n"), "refuses to connect"),
        ("ALL_PROXY", proxy("HTTP/1.1 403 Forbidden\r\n\r\n"), "refuses to connect"),
    ];
    // In parallel, since each is tried more than once.
    let started = cases.map(|(variable, address, why)| {
        let project = Project::site(EDGE).variable(variable, &format!("http://me:secret@{address}"));
        let child = project.command(&["status", "--json"]).spawn().unwrap();
        (project, child, format!("the proxy http://{address} of {variable}"), why, variable)
    });
    for (_project, child, named, why, variable) in started {
        let ran = Ran::from(child.wait_with_output().unwrap());
        let error = ran.failed("unreachable", 3);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&named) && message.contains(why), "{variable}: {error}");
        assert!(error["hint"].as_str().unwrap().contains(variable), "{error}");
        assert!(!format!("{ran:?}").contains("secret"), "{ran:#?}");
    }
}
