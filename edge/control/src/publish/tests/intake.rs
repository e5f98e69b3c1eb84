//! Tests of incoming manifests: request options, malformed manifests, memory.

use devanture_config::api::BeginDeploy;
use devanture_config::limits::Limits;
use devanture_config::manifest::halves::Half;
use devanture_config::manifest::{FILES_MEMORY_FACTOR, SETTINGS_MEMORY_FACTOR};
use devanture_config::problem::{Code, Problem};
use devanture_config::{Digest, PlaceName};
use serde_json::{Value, json};

use super::collections::world::{World, name, world, world_with};
use crate::ledger::Error;
use crate::publish::CheckedPush;

/// Beyond the size parsed in place.
const LARGE: usize = 2_000;

async fn read(
    world: &World,
    text: &[u8],
    amend: impl FnOnce(&mut BeginDeploy) + Send + 'static,
) -> Result<CheckedPush, Box<Problem>> {
    let read = async {
        let mut intake = world.publisher.manifest_intake((&name(0), &PlaceName::prod()), amend);
        for piece in text.chunks(50_000) {
            intake.write(piece.to_vec().into()).await?;
        }
        intake.end().await
    };
    read.await.map_err(|Error(problem)| problem)
}

/// Manifest with `count` files.
fn files(count: usize) -> Value {
    let file = json!({ "hash": Digest::of(b"a").to_string(), "size": 1 });
    let files: serde_json::Map<String, Value> = (0..count).map(|number| (number.to_string(), file.clone())).collect();
    json!({ "format": 1, "files": files })
}

fn text(begin: &Value) -> Vec<u8> {
    serde_json::to_vec(begin).unwrap()
}

/// A large manifest is parsed on a separate thread.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_says_beside_its_manifest_counts_as_what_the_body_says() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    for count in [1, LARGE] {
        let body = text(&json!({ "manifest": files(count), "options": { "force": true } }));
        let push = read(&world, &body, |begin| {
            begin.options.no_switch = true;
            begin.options.alias = Some("feature".parse().unwrap());
            begin.options.reason = Some("a sale".to_owned());
            begin.source.branch = Some("main".to_owned());
        })
        .await
        .ok()
        .unwrap();
        assert!(push.options.force && push.options.no_switch, "{count} files");
        assert_eq!(push.options.alias, Some("feature".parse().unwrap()), "{count} files");
        assert_eq!(push.options.reason.as_deref(), Some("a sale"), "{count} files");
        assert_eq!(push.source.branch.as_deref(), Some("main"), "{count} files");
        // Options of the request are checked together with the body's.
        let refused = read(&world, &body, |begin| begin.options.reason = Some("one\ntwo".to_owned())).await.err();
        assert_eq!(refused.unwrap().code, Code::BadRequest, "{count} files");
    }
    // An empty manifest is valid as a half, but not as a whole bundle.
    let empty = text(&json!({ "manifest": files(0) }));
    assert_eq!(read(&world, &empty, |_begin| {}).await.err().unwrap().code, Code::EmptyBundle);
    let half = read(&world, &empty, |begin| begin.options.only = Some(Half::Backend)).await.ok().unwrap();
    assert_eq!(half.options.only, Some(Half::Backend));
}

/// The parser would also accept an array of the members in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_body_is_no_object_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let refused = async |body: &[u8]| read(&world, body, |_begin| {}).await.err();
    for count in [1, LARGE] {
        let array = text(&json!([files(count), {}, {}]));
        for body in [array.clone(), [&b" \n\t"[..], &array].concat()] {
            let problem = refused(&body).await.unwrap();
            assert_eq!((problem.code, &*problem.detail), (Code::BadRequest, "The body is no object."), "{count} files");
        }
        let object = text(&json!({ "manifest": files(count) }));
        for body in [object.clone(), [&b" \n\t"[..], &object].concat()] {
            assert_eq!(refused(&body).await, None, "{count} files");
        }
    }
    for body in ["null", "1", "\"manifest\"", "[]"] {
        assert_eq!(refused(body.as_bytes()).await.map(|problem| problem.code), Some(Code::BadRequest), "{body}");
    }
}

/// Law 11: in memory, settings take far more space than files.
#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_a_manifest_take_memory_beside_its_files() {
    let base = r#"{"routes":[{"path":"/api/*","to":"http://10.1.2.3:3000"}]}"#;
    let files = files(1)["files"].to_string();
    let body = format!(r#"{{"manifest":{{"base":{base},"files":{files},"format":1}}}}"#).into_bytes();
    let (of_files, of_settings) = (body.len() as u64 * FILES_MEMORY_FACTOR, base.len() as u64 * SETTINGS_MEMORY_FACTOR);
    for (bytes_max, expected) in [(of_files + of_settings, None), (of_files + of_settings - 1, Some(Code::Busy))] {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { manifest_memory_bytes_max: bytes_max, ..Limits::default() };
        let world = world_with(folder.path(), 9, limits).await;
        let held = || world.publisher.uploads.manifest_memory.bytes().0;
        match read(&world, &body, |_begin| {}).await {
            Ok(push) => {
                assert_eq!((held(), expected), (of_files + of_settings, None));
                drop(push);
            }
            Err(problem) => assert_eq!(Some(problem.code), expected, "{bytes_max}"),
        }
        assert_eq!(held(), 0, "{bytes_max}");
    }
}
