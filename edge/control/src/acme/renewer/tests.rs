//! Tests of orders made and omitted.

use devanture_config::edge_toml::Acme as Settings;

use super::*;

#[test]
fn an_authority_is_asked_about_hosts_of_the_public_tree_alone() {
    for (name, expected) in [
        ("example.org", true),
        ("xn--bcher-kva.example", true),
        ("*.example.org", false),
        ("my_shop.example.org", false),
        ("shop.localhost", false),
        ("localhost", false),
        ("192.0.2.1", false),
        ("", false),
    ] {
        assert_eq!(can_be_ordered(name), expected, "{name}");
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
async fn nothing_is_ordered_while_nothing_could_be_kept_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        ca: None,
        challenges: vec![ChallengeKind::Http],
        contact: Vec::new(),
        directory: "https://127.0.0.1:9/dir".to_owned(),
        external_account: None,
    };
    let acme = Arc::new(Acme::open_in(&settings, folder.path(), folder.path()).unwrap());
    // An obstacle in place of the file prevents writing, like a full disk.
    let orders = folder.path().join(acme.authority_name()).join("orders.json");
    std::fs::create_dir(&orders).unwrap();
    let served = Served {
        names: Box::new(|| vec![(None, "a.example".to_owned())]),
        serves: Arc::new(|_| true),
        on_trouble: Box::new(|_| {}),
    };
    let mut keeper = CertificateRenewer::new(Arc::clone(&acme), served, &Limits::default(), None);
    keeper.begin(Arc::new(acme.folder.clone())).await;
    keeper.look().await;
    assert!(keeper.about.is_empty(), "{:?}", keeper.about);
    std::fs::remove_dir(&orders).unwrap();
    keeper.look().await;
    assert_eq!(keeper.about.len(), 1, "it begins once there is room");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
fn a_file_of_roots_without_a_certificate_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.key"), "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")
        .unwrap();
    let settings = Settings {
        ca: Some("a.key".into()),
        challenges: vec![ChallengeKind::Http],
        contact: Vec::new(),
        directory: "https://127.0.0.1:9/dir".to_owned(),
        external_account: None,
    };
    let bad = Acme::check(&settings, folder.path());
    assert!(bad[0].to_string().contains("no `BEGIN CERTIFICATE` section"), "{bad:?}");
}
