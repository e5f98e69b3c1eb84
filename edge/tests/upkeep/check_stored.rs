//! Findings of `devanture-edge check` in the stored state of a stopped edge.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::os::unix::fs::PermissionsExt;

use devanture_config::edge_toml::{CertificateFiles, Tls};
use devanture_edge::server::{check, check_stored, warnings};
use http::Method;

use crate::support::{edge, got};

/// Edge with an expired certificate, and with backend folders unreachable for the backends' users.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_would_refuse_and_what_visitors_would_is_found_by_a_check() {
    let edge = edge().start().await;
    let (folder, mut file) = edge.stopped().await;
    assert_eq!(warnings(&file, folder.path()), [""; 0]);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["example.org".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    std::fs::write(folder.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    file.tls = Tls::Files(vec![CertificateFiles { certificate: "cert.pem".into(), key: "key.pem".into() }]);
    let [found] = &warnings(&file, folder.path())[..] else { panic!("one has ended") };
    assert!(found.contains("cert.pem expired on 2021-01-01 00:00:00 UTC"), "{found}");
    assert!(check(&file, folder.path()).is_empty(), "the edge starts all the same");

    if !rustix::process::geteuid().is_root() {
        println!("left out: only root has users for apps");
        return;
    }
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    file.runner.enabled = true;
    file.runner.folder = Some(closed.join("run"));
    let [found] = &check(&file, folder.path())[..] else { panic!("the folder is closed") };
    assert!(found.to_string().contains("the users of apps cannot pass"), "{found}");
    assert_eq!(found.exit_code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_name_clashes_with_the_edge_is_found_by_a_check() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let path = "/v1/apps/shop/environments/prod/hostnames/*.example.org";
    assert!(got(edge.api(Method::PUT, path)).await.status.is_success());
    let (folder, file) = edge.stopped().await;
    assert_eq!(check_stored(&file, folder.path()).await, [""; 0]);

    let mut of_admin = file.clone();
    of_admin.names.admin = vec!["edge.example.org".parse().unwrap()];
    let [found] = &check_stored(&of_admin, folder.path()).await[..] else { panic!("one hostname is the edge's") };
    assert!(found.contains("prod of the app shop has the hostname *.example.org"), "{found}");
    assert!(found.contains("the admin listener has edge.example.org"), "{found}");

    let mut reserving = file.clone();
    reserving.names.reserved = vec!["shop".parse().unwrap()];
    let [found] = &check_stored(&reserving, folder.path()).await[..] else { panic!("one name is reserved") };
    assert!(found.contains("the app shop") && found.contains("is reserved on this edge"), "{found}");

    // The app's pages could set cookies for every preview.
    let mut previewing = file.clone();
    previewing.preview_domain = format!("previews.shop.{}", file.domain).parse().unwrap();
    previewing.names.allow = vec!["shop".parse().unwrap()];
    let [in_vain, found] = &check_stored(&previewing, folder.path()).await[..] else { panic!("two of them") };
    assert!(in_vain.contains("`names.allow` has shop"), "{in_vain}");
    assert!(found.contains("the app shop") && found.contains("the domain of previews, or lies above it"), "{found}");
}
