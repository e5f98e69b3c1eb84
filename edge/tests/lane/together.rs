//! Concurrent requests of one connection: the state cached by the second request applies to the rest of the batch, and
//! to no later request.

use std::sync::{Arc, Weak};

use devanture_base::telemetry::AccessLog;
use devanture_config::{PlaceName, VersionId};
use devanture_http::{AnswerBody, Service as _};
use devanture_serve::handler::EngineService;
use devanture_serve::version::Version;
use serde_json::json;

use crate::in_process::{InProcess, Stores};
use crate::lane::ask::{TestRequest, ask_on, lane};

fn got(lane: &EngineService, request: &TestRequest<'_>) -> Vec<u8> {
    let AnswerBody::Bytes(bytes) = ask_on(lane, request).unwrap().body else { panic!("not at hand") };
    bytes.to_vec()
}

/// Shop with the next version stored, and a connection to the shop.
struct Shop {
    site: InProcess,
    after: VersionId,
    page: TestRequest<'static>,
    lane: EngineService,
}

async fn shop() -> Shop {
    let stores = Stores::new();
    stores.push("shop", &[("a.txt", b"before")], json!({})).await;
    let after = stores.store("shop", &[("a.txt", b"after")], json!({})).await;
    let site = stores.handler(AccessLog::unread()).await;
    let page = TestRequest::new("shop.localhost", "/a.txt");
    let lane = lane(&site.handler, &page);
    Shop { site, after, page, lane }
}

impl Shop {
    fn got(&self) -> Vec<u8> {
        got(&self.lane, &self.page)
    }

    /// Makes the next version live; the previous version is dropped once unreferenced.
    async fn switch(&self) -> Weak<Version> {
        let place = self.site.handler.live.place(&"shop".parse().unwrap(), &PlaceName::prod()).unwrap();
        let before = Arc::downgrade(&place.current().unwrap().version);
        self.site.switch("shop", self.after).await;
        before
    }
}

#[tokio::test]
async fn a_switch_is_seen_by_requests_that_come_later_and_nothing_is_held_for_them() {
    let shop = shop().await;
    assert_eq!(shop.got(), b"before");
    shop.lane.end_of_batch();
    // The second request of a batch loads the state for the rest of the batch.
    assert_eq!(shop.got(), b"before");
    assert_eq!(shop.got(), b"before");
    let before = shop.switch().await;
    assert_eq!(shop.got(), b"before", "it came together with those before");
    assert!(before.upgrade().is_some());
    shop.lane.end_of_batch();
    assert!(before.upgrade().is_none(), "a connection that rests holds no version");
    assert_eq!(shop.got(), b"after");
}

#[tokio::test]
async fn for_a_request_that_comes_alone_nothing_is_held() {
    let shop = shop().await;
    assert_eq!(shop.got(), b"before");
    let before = shop.switch().await;
    assert!(before.upgrade().is_none());
    assert_eq!(shop.got(), b"after");
}

#[tokio::test]
async fn law_10_an_asset_of_what_became_live_meanwhile_answers_requests_that_came_together() {
    let stores = Stores::new().with_grace();
    let [old, new] = ["/assets/app-B3xY9_aZ.js", "/assets/app-C4yZ0_bA.js"];
    stores.push("shop", &[("a.txt", b"before"), (&old[1..], b"old")], json!({})).await;
    let after = stores.store("shop", &[("a.txt", b"after"), (&new[1..], b"new")], json!({})).await;
    let site = stores.handler(AccessLog::unread()).await;
    let page = TestRequest::new("shop.localhost", "/a.txt");
    let lane = lane(&site.handler, &page);
    assert_eq!(got(&lane, &page), b"before");
    assert_eq!(got(&lane, &page), b"before");
    site.switch("shop", after).await;
    for _ in 0..2 {
        assert_eq!(got(&lane, &TestRequest::new("shop.localhost", new)), b"new");
        assert_eq!(got(&lane, &TestRequest::new("shop.localhost", old)), b"old");
        lane.end_of_batch();
    }
    assert_eq!(got(&lane, &page), b"after");
}

#[tokio::test]
async fn requests_that_come_together_may_be_for_several_hosts() {
    let stores = Stores::new();
    stores.push("shop", &[("a.txt", b"shop")], json!({})).await;
    stores.push("other", &[("a.txt", b"other")], json!({})).await;
    let site = stores.handler(AccessLog::unread()).await;
    let request = ["shop.localhost", "other.localhost"].map(|host| TestRequest::new(host, "/a.txt"));
    let nobody = TestRequest::new("nobody.localhost", "/a.txt");
    let unsound = TestRequest::new("u@shop.localhost", "/a.txt");
    let lane = lane(&site.handler, &nobody);
    for _ in 0..3 {
        assert_eq!(got(&lane, &request[0]), b"shop");
        assert_eq!(got(&lane, &request[1]), b"other");
        assert_eq!(got(&lane, &request[1]), b"other");
        assert_eq!(ask_on(&lane, &nobody).unwrap().status.as_u16(), 404);
        assert_eq!(got(&lane, &request[0]), b"shop");
        assert_eq!(ask_on(&lane, &unsound).unwrap().status.as_u16(), 400);
    }
}
