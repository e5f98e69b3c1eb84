//! Tests of running pushes and of their eviction.

use devanture_config::manifest::FileEntry;

use super::*;
use crate::ledger::Leases;

const BEGAN: Began = Began { number: 0, revision: 0, app_made_ms: None };

async fn push(app: &str, id: &str) -> Push {
    holding(app, id, &ManifestMemory::new(0), 0).await
}

async fn holding(app: &str, id: &str, memory: &Arc<ManifestMemory>, bytes: u64) -> Push {
    let mut memory = memory.hold(&app.parse().unwrap(), &PlaceName::prod());
    memory.grow(bytes).unwrap();
    let file = FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
    let manifest = Arc::new(Manifest::of_files([("a".parse().unwrap(), file)].into()));
    Push {
        id: id.to_owned(),
        app: app.parse().unwrap(),
        environment: PlaceName::prod(),
        version: manifest.id(),
        _lease: Arc::new(Leases::default()).bundle(manifest.id(), &manifest).await,
        manifest,
        joined: None,
        source: Source::default(),
        options: DeployOptions::default(),
        actor: Actor::local(),
        began: BEGAN,
        missing: HashMap::new(),
        named: OnceLock::new(),
        received: Mutex::default(),
        memory,
    }
}

#[tokio::test]
async fn what_a_manifest_names_is_listed_when_a_blob_comes_that_was_not_missing() {
    let (page, style, other) = (Digest::of(b"page"), Digest::of(b"style"), Digest::of(b"other"));
    let file = |hash, size| FileEntry { hash, size, media_type: None };
    let files = [("index.html", file(page, 4)), ("all.css", file(style, 5))];
    let files = files.map(|(path, file)| (path.parse().unwrap(), file)).into();
    let manifest = Arc::new(Manifest::of_files(files));
    let push = Push { manifest, missing: [(page, 4)].into(), ..push("shop", "1").await };
    assert_eq!((push.size_of(&page), push.named.get()), (Some(4), None));
    assert_eq!((push.size_of(&style), push.size_of(&other)), (Some(5), None));
    assert_eq!(push.named.get().map(HashMap::len), Some(2));
}

/// Law 11.
#[tokio::test]
async fn an_app_that_takes_every_place_makes_room_for_another() {
    let pushes = Pushes::new(3, 60_000);
    for id in ["1", "2", "3"] {
        pushes.add(push("greedy", id).await).unwrap();
    }
    let code = |added: Result<Arc<Push>, Error>| added.map(|_| ()).map_err(|error| error.0.code);
    assert_eq!(code(pushes.add(push("greedy", "4").await)), Err(Code::Busy));
    pushes.add(push("shop", "5").await).unwrap();
    let greedy = "greedy".parse().unwrap();
    assert!(pushes.find(&greedy, "1").is_err() && pushes.find(&greedy, "2").is_ok(), "the one that rested longest");
    assert_eq!(code(pushes.add(push("shop", "6").await)), Err(Code::Busy), "its share is no larger");
}

/// Law 11.
#[tokio::test]
async fn an_environment_that_takes_every_place_of_its_app_makes_room_for_another() {
    let pushes = Pushes::new(4, 60_000);
    let (app, preview): (AppName, PlaceName) = ("shop".parse().unwrap(), PlaceName::preview());
    let of =
        async |environment: &PlaceName, id: &str| Push { environment: environment.clone(), ..push("shop", id).await };
    for id in ["1", "2", "3"] {
        pushes.add(of(&preview, id).await).unwrap();
    }
    pushes.add(push("blog", "4").await).unwrap();
    let code = |added: Result<Arc<Push>, Error>| added.map(|_| ()).map_err(|error| error.0.code);
    assert_eq!(code(pushes.add(of(&preview, "5").await)), Err(Code::Busy), "it has the most itself");
    pushes.add(of(&PlaceName::prod(), "6").await).unwrap();
    assert!(!pushes.is_there(&app, "1") && pushes.is_there(&app, "2"), "the one that rested longest");
    assert!(pushes.is_there(&"blog".parse().unwrap(), "4"), "another app is no part of it");
    assert_eq!(code(pushes.add(of(&PlaceName::prod(), "7").await)), Err(Code::Busy), "its share is no larger");
    // A push of another app replaces a push of the environment with the most pushes.
    pushes.add(push("blog", "8").await).unwrap();
    assert!(!pushes.is_there(&app, "2") && pushes.is_there(&app, "3") && pushes.is_there(&app, "6"));
}

#[tokio::test]
async fn of_pushes_that_rest_the_one_that_sent_the_least_makes_room() {
    let pushes = Pushes::new(3, 60_000);
    let app: AppName = "greedy".parse().unwrap();
    for (id, bytes) in [("1", 7), ("2", 0), ("3", 0)] {
        let added = pushes.add(push("greedy", id).await).unwrap();
        added.received.lock().bytes = bytes;
    }
    let long_ago = Instant::now().checked_sub(REST * 2).unwrap();
    for id in ["1", "2"] {
        pushes.entries.lock().get_mut(id).unwrap().touched = long_ago;
    }
    pushes.add(push("shop", "4").await).unwrap();
    assert!(!pushes.is_there(&app, "2") && pushes.is_there(&app, "1") && pushes.is_there(&app, "3"));
}

/// Law 11.
#[tokio::test]
async fn pushes_of_the_app_that_holds_the_most_memory_give_way() {
    let pushes = Pushes::new(9, 60_000);
    let memory = ManifestMemory::new(100);
    for (app, id, bytes) in [("greedy", "1", 30), ("greedy", "2", 30), ("shop", "3", 10), ("third", "4", 20)] {
        pushes.add(holding(app, id, &memory, bytes).await).unwrap();
    }
    let (greedy, shop) = ("greedy".parse().unwrap(), "shop".parse().unwrap());
    let mut needed = memory.hold(&shop, &PlaceName::prod());
    assert!(needed.grow(25).is_err());
    assert!(pushes.give_way(&needed), "the largest holder's first");
    assert!(pushes.find(&greedy, "1").is_err() && pushes.find(&greedy, "2").is_ok());
    needed.grow(25).unwrap();
    // No app holds more than `shop` does now.
    assert!(!pushes.give_way(&needed) && pushes.find(&greedy, "2").is_ok());
    assert!(!pushes.give_way(&memory.hold(&greedy, &PlaceName::prod())), "an environment's own pushes stay");
}

/// Law 11.
#[tokio::test]
async fn of_an_app_alone_the_environment_that_holds_the_most_memory_gives_way() {
    let pushes = Pushes::new(9, 60_000);
    let memory = ManifestMemory::new(100);
    for (environment, id, bytes) in [("preview", "1", 20), ("preview", "2", 12), ("prod", "3", 6), ("test", "4", 4)] {
        let environment = environment.parse().unwrap();
        pushes.add(Push { environment, ..holding("shop", id, &memory, bytes).await }).unwrap();
    }
    let shop = "shop".parse().unwrap();
    let mut needed = memory.hold(&shop, &PlaceName::prod());
    assert!(needed.grow(20).is_err());
    assert!(pushes.give_way(&needed), "that of previews");
    assert!(pushes.find(&shop, "1").is_err() && pushes.find(&shop, "2").is_ok());
    assert!(!pushes.give_way(&memory.hold(&shop, &PlaceName::preview())), "none has more than they have");
    needed.grow(20).unwrap();
}

/// Law 11.
#[tokio::test]
async fn pushes_that_began_before_their_app_ended_are_forgotten() {
    let pushes = Pushes::new(9, 60_000);
    for (app, id, revision) in [("shop", "1", 6), ("shop", "2", 7), ("blog", "3", 6)] {
        pushes.add(Push { began: Began { revision, ..BEGAN }, ..push(app, id).await }).unwrap();
    }
    let (shop, blog) = ("shop".parse().unwrap(), "blog".parse().unwrap());
    pushes.forget_before(&shop, 7);
    assert!(!pushes.is_there(&shop, "1") && pushes.is_there(&shop, "2") && pushes.is_there(&blog, "3"));
}

#[tokio::test]
async fn a_push_is_taken_once_and_only_by_its_app() {
    let pushes = Pushes::new(3, 60_000);
    let (shop, other) = ("shop".parse().unwrap(), "other".parse().unwrap());
    pushes.add(push("shop", "1").await).unwrap();
    assert!(pushes.take(&other, "1").is_err() && pushes.find(&other, "1").is_err());
    assert!(pushes.is_there(&shop, "1") && !pushes.is_there(&other, "1"));
    let taken = pushes.take(&shop, "1").unwrap();
    assert!(pushes.take(&shop, "1").is_err() && pushes.len() == 0);
    pushes.put_back(taken);
    assert!(pushes.take(&shop, "1").is_ok());
}

/// Law 11.
#[tokio::test]
async fn an_app_with_two_pushes_makes_room_for_one_that_has_none() {
    let pushes = Pushes::new(2, 60_000);
    for (app, id) in [("greedy", "1"), ("greedy", "2"), ("shop", "3")] {
        pushes.add(push(app, id).await).unwrap();
    }
    assert_eq!(pushes.len(), 2);
    let memory = ManifestMemory::new(100);
    let pushes = Pushes::new(9, 60_000);
    pushes.add(holding("greedy", "1", &memory, 30).await).unwrap();
    let mut needed = memory.hold(&"shop".parse().unwrap(), &PlaceName::prod());
    needed.grow(30).unwrap();
    assert!(!pushes.give_way(&needed), "it has no more than the one that needs some");
}

/// Law 11.
#[tokio::test]
async fn only_the_greediest_gives_way_however_long_a_push_of_another_app_has_rested() {
    let (blog, greedy): (AppName, AppName) = ("blog".parse().unwrap(), "greedy".parse().unwrap());
    let pushes = Pushes::new(4, 60_000);
    for (app, id) in [("blog", "1"), ("greedy", "2"), ("greedy", "3"), ("greedy", "4"), ("shop", "5")] {
        pushes.add(push(app, id).await).unwrap();
    }
    assert!(pushes.is_there(&blog, "1") && !pushes.is_there(&greedy, "2") && pushes.is_there(&greedy, "3"));
    let memory = ManifestMemory::new(100);
    let pushes = Pushes::new(9, 60_000);
    for (app, id, bytes) in [("blog", "1", 10), ("greedy", "2", 30), ("greedy", "3", 30)] {
        pushes.add(holding(app, id, &memory, bytes).await).unwrap();
    }
    assert!(pushes.give_way(&memory.hold(&"shop".parse().unwrap(), &PlaceName::prod())));
    assert!(pushes.is_there(&blog, "1") && !pushes.is_there(&greedy, "2") && pushes.is_there(&greedy, "3"));
}

#[tokio::test]
async fn a_push_that_rested_for_too_long_is_forgotten_and_one_that_was_looked_for_is_not() {
    const IDLE_MS: u64 = 60_000;
    let (pushes, shop) = (Pushes::new(2, IDLE_MS), "shop".parse().unwrap());
    let rest = |id: &str| {
        let long_ago = Instant::now().checked_sub(Duration::from_millis(IDLE_MS + 1)).unwrap();
        pushes.entries.lock().get_mut(id).unwrap().touched = long_ago;
    };
    for id in ["1", "2"] {
        pushes.add(push("shop", id).await).unwrap();
    }
    ["1", "2"].into_iter().for_each(rest);
    assert!(pushes.is_there(&shop, "1"), "to look whether it is there keeps it no longer");
    pushes.find(&shop, "2").unwrap();
    pushes.forget_idle();
    assert!(!pushes.is_there(&shop, "1") && pushes.is_there(&shop, "2"));
    rest("2");
    for id in ["3", "4"] {
        pushes.add(push("shop", id).await).unwrap();
    }
    assert!(!pushes.is_there(&shop, "2") && pushes.len() == 2);
}

#[tokio::test]
async fn pushes_are_those_of_an_app_and_of_an_environment_and_end_with_it() {
    let (pushes, staging): (_, PlaceName) = (Pushes::new(9, 60_000), "staging".parse().unwrap());
    let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
    for (app, id, environment) in
        [("shop", "1", PlaceName::prod()), ("shop", "2", staging.clone()), ("blog", "3", staging.clone())]
    {
        let digest = Digest::of(id.as_bytes());
        let missing = [(digest, 7), (Digest::of(b"of all"), 5)].into();
        pushes.add(Push { environment, missing, ..push(app, id).await }).unwrap();
    }
    let bytes = |app| pushes.coming(app).values().sum::<u64>();
    assert_eq!((bytes(&shop), bytes(&blog)), (7 + 7 + 5, 7 + 5));
    let ids = |app, place| pushes.of_place(app, place).iter().map(|push| push.id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&shop, &staging), ids(&blog, &staging)), (vec!["2".to_owned()], vec!["3".to_owned()]));
    pushes.forget_of(&shop, Some(&staging));
    assert!(pushes.is_there(&shop, "1") && !pushes.is_there(&shop, "2") && pushes.is_there(&blog, "3"));
    pushes.forget_of(&shop, None);
    assert!(!pushes.is_there(&shop, "1") && pushes.is_there(&blog, "3"));
}

/// Law 11.
#[tokio::test]
async fn an_environment_with_two_pushes_makes_room_for_one_that_has_none() {
    let (pushes, preview) = (Pushes::new(2, 60_000), PlaceName::preview());
    for id in ["1", "2"] {
        pushes.add(Push { environment: preview.clone(), ..push("shop", id).await }).unwrap();
    }
    pushes.add(push("shop", "3").await).unwrap();
    let shop = "shop".parse().unwrap();
    assert!(!pushes.is_there(&shop, "1") && pushes.is_there(&shop, "2") && pushes.is_there(&shop, "3"));
}

/// Law 11.
#[tokio::test]
async fn only_pushes_of_the_greediest_environment_of_the_app_give_way_however_long_others_have_rested() {
    let (pushes, memory) = (Pushes::new(9, 60_000), ManifestMemory::new(100));
    let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
    for (app, environment, id, bytes) in
        [("shop", "prod", "1", 20), ("blog", "preview", "2", 5), ("shop", "preview", "3", 30)]
    {
        let environment = environment.parse().unwrap();
        pushes.add(Push { environment, ..holding(app, id, &memory, bytes).await }).unwrap();
    }
    assert!(pushes.give_way(&memory.hold(&shop, &PlaceName::prod())));
    assert!(!pushes.is_there(&shop, "3") && pushes.is_there(&shop, "1") && pushes.is_there(&blog, "2"));
    // An environment with an equal amount of memory has taken nothing from the needy environment.
    let preview = PlaceName::preview();
    pushes.add(Push { environment: preview, ..holding("shop", "4", &memory, 20).await }).unwrap();
    assert!(!pushes.give_way(&memory.hold(&shop, &PlaceName::prod())));
    assert!(pushes.is_there(&shop, "4") && pushes.is_there(&shop, "1"));
}
