//! Announcements of HTTP/3: at app hostnames with a publicly trusted certificate, on connections other than HTTP/3.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devanture_base::telemetry::AccessLog;
use http::{Method, Version};
use serde_json::json;

use crate::in_process::Stores;
use crate::lane::ask::{Got, TestRequest, by_handle, by_lane_on, lane};

const SAID: &str = "h3=\":443\"; ma=86400";

fn said(got: &Got) -> Option<&str> {
    got.fields.iter().find(|(name, _)| name == "alt-svc").map(|(_, value)| &**value)
}

#[tokio::test]
async fn browsers_learn_of_http3_at_hostnames_that_strangers_can_come_back_to() {
    let stores = Stores::new();
    stores.push("shop", &[("a.txt", b"a"), ("_headers", b"/b.txt\n  X-Own: 1\n"), ("b.txt", b"b")], json!({})).await;
    let mut site = stores.handler(AccessLog::unread()).await;
    let is_trusted = Arc::new(AtomicBool::new(true));
    let trusted = Arc::clone(&is_trusted);
    Rc::get_mut(&mut site.handler).unwrap().trusted = Arc::new(move |_| trusted.load(Ordering::Relaxed));
    let get = |target| TestRequest::new("shop.localhost", target);
    for (request, has_it) in [
        (get("/a.txt"), true),
        (get("/b.txt"), true),
        (get("/a.txt").over(Version::HTTP_3), false),
        (get("/a.txt").method(Method::HEAD), true),
        (get("/a.txt").with("if-none-match", "*"), true),
        (get("/a.txt").with("range", "bytes=0-0"), true),
        (get("/missing"), true),
        (get("/missing").over(Version::HTTP_3), false),
        (get("/a.txt").method(Method::OPTIONS), true),
        (get("/a.txt").method(Method::OPTIONS).over(Version::HTTP_3), false),
        (get("/a.txt").misdirected(), false),
        (TestRequest::new("nobody.localhost", "/"), false),
    ] {
        let over_http1 = request.clone().over(Version::HTTP_11).with("host", "shop.localhost");
        for request in [Some(request), has_it.then_some(over_http1)].into_iter().flatten() {
            // A certificate may be issued or withdrawn at any time on an open connection.
            let lane = lane(&site.handler, &request);
            for trusted in [true, false, true] {
                is_trusted.store(trusted, Ordering::Relaxed);
                let expected = (has_it && trusted).then_some(SAID);
                let handled = by_handle(&site.handler, &request).await;
                assert_eq!(said(&handled), expected, "{request:?}");
                let answered = by_lane_on(&lane, &request).await.unwrap();
                assert_eq!(said(&answered), expected, "{request:?}");
            }
        }
    }
}
