//! Tests that restricted files are excluded from all dictionaries, whatever restricts them.

use super::*;

const SECRET: &str = "the price of the next season, which nobody is told before its first day";

/// Public pages and pages of `drafts`, which all contain the secret; also a script there.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let own = text(&script(8, 0)[..20_000]);
    let draft = |number: u64| format!("<!doctype html>{SECRET}{own}<p>{number}</p>").into_bytes();
    let drafts = ["drafts/a.html", "drafts/b.html", "drafts/c/index.html"].into_iter().zip(1..);
    let script = format!("// {SECRET}\n{}", text(&script(9, 0))).into_bytes();
    let mut files: Vec<_> = site(1).into_iter().chain(drafts.map(|(path, number)| (path, draft(number)))).collect();
    files.push(("drafts/app-3f2a91bc.js", script));
    files
}

/// Returns true if a dictionary contains the secret, after a push of the files or after its switch.
async fn is_announced(site: &str, redirects: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let files = [files(), vec![("_redirects", redirects.as_bytes().to_vec())]].concat();
    let pushed = world.push_as(&shop(), &files, site).await;
    let before = world.record(&shop(), &pushed.version).await.unwrap();
    world.dictionaries.after_switch(&shop(), &PlaceName::prod(), pushed.version, &world.pool).await.unwrap();
    let behind = world.record(&shop(), &pushed.version).await.unwrap();
    let mut is_announced = false;
    for record in [before, behind] {
        assert!(record.pages_of.len() >= 5, "what everyone may read serves: {:?}", record.pages_of);
        for blob in record.files.into_keys().chain(record.pages.map(|pages| pages.blob)) {
            let bytes = world.blobs.get(Key::Blob(blob)).await.unwrap();
            is_announced |= bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        }
    }
    is_announced
}

#[tokio::test]
async fn what_everyone_may_read_is_in_dictionaries() {
    assert!(is_announced("", "/drafts/* /nowhere 404\n").await);
}

#[tokio::test]
async fn what_a_forced_rule_hides_is_in_no_dictionary() {
    assert!(!is_announced("", "/drafts/* /nowhere 404!\n").await);
}

#[tokio::test]
async fn what_a_route_hides_is_in_no_dictionary() {
    assert!(!is_announced("[[routes]]\npath = \"/drafts/*\"\nto = \"http://127.0.0.1:1\"\n", "").await);
}

#[tokio::test]
async fn what_is_hidden_in_one_environment_alone_is_in_no_dictionary() {
    let table = "[[env.staging.redirects]]\nfrom = \"/drafts/*\"\nto = \"/\"\nforce = true\n";
    assert!(!is_announced(table, "").await);
}
