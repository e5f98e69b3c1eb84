//! What `devanture-edge check` finds in the stored state of an edge that does not run.

use devanture_edge::server::check_stored;

use crate::support::edge;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_name_clashes_with_the_edge_is_found_by_a_check() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let (folder, file) = edge.stopped().await;
    assert_eq!(check_stored(&file, folder.path()).await, [""; 0]);

    let mut reserving = file.clone();
    reserving.names.reserved = vec!["shop".parse().unwrap()];
    let [found] = &check_stored(&reserving, folder.path()).await[..] else { panic!("one name is reserved") };
    assert!(found.contains("the app shop") && found.contains("is reserved on this edge"), "{found}");

    // Its pages would set cookies for every preview.
    let mut previewing = file.clone();
    previewing.preview_domain = format!("previews.shop.{}", file.domain).parse().unwrap();
    previewing.names.allow = vec!["shop".parse().unwrap()];
    let [in_vain, found] = &check_stored(&previewing, folder.path()).await[..] else { panic!("two of them") };
    assert!(in_vain.contains("`names.allow` has shop"), "{in_vain}");
    assert!(found.contains("the app shop") && found.contains("the domain of previews, or lies above it"), "{found}");
}
