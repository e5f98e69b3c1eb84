//! Paths and header fields in the form of further hosts: characters that browsers do not encode, and a removed `ETag`.

use crate::support::edge::edge;

#[tokio::test(flavor = "multi_thread")]
async fn what_browsers_leave_as_it_is_is_served() {
    let (edge, folder) = (edge().start(), tempfile::tempdir().unwrap());
    for name in ["[brackets].txt", "a|b^c{d}.txt"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    edge.push("shop", folder.path());
    let client = edge.client(true);
    for (path, name) in [
        ("/[brackets].txt", "[brackets].txt"),
        ("/%5Bbrackets%5D.txt", "[brackets].txt"),
        ("/a|b%5Ec%7Bd%7D.txt", "a|b^c{d}.txt"),
        ("/a%7Cb%5Ec%7Bd%7D.txt", "a|b^c{d}.txt"),
    ] {
        let answer = client.get(edge.url("shop.localhost", path)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, name), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_removes_the_entity_tag() {
    let (edge, folder) = (edge().start(), tempfile::tempdir().unwrap());
    for name in ["index.html", "kept.html"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    std::fs::write(folder.path().join("_headers"), "/\n  ! ETag\n").unwrap();
    edge.push("shop", folder.path());
    for http2 in [false, true] {
        let client = edge.client(http2);
        let plain = client.get(edge.url("shop.localhost", "/")).send().await.unwrap();
        assert_eq!(plain.status(), 200);
        assert!(!plain.headers().contains_key("etag") && plain.headers().contains_key("last-modified"), "{plain:?}");
        let date = plain.headers()["last-modified"].clone();
        let same = client.get(edge.url("shop.localhost", "/")).header("if-modified-since", date).send().await.unwrap();
        assert!(same.status() == 304 && !same.headers().contains_key("etag"), "{same:?}");
        let kept = client.get(edge.url("shop.localhost", "/kept")).send().await.unwrap();
        assert!(kept.headers().contains_key("etag"), "{kept:?}");
    }
}
