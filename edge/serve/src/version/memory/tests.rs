//! Limits of apps, sharing of held bytes, and eviction.

use super::*;

fn memory(memory_bytes_max: u64, app_memory_bytes_max: u64) -> Memory {
    Memory::with_holders(&Limits { memory_bytes_max, app_memory_bytes_max, ..Limits::default() }, 0)
}

fn app(memory: &Memory, name: &str) -> Arc<AppMemory> {
    memory.of(&name.parse().unwrap())
}

/// Makes an app hold pieces of 10 bytes up to its limit.
fn filled(app: &Arc<AppMemory>) -> Vec<Bytes> {
    let mut held = Vec::new();
    while let Some(room) = app.room(10) {
        let bytes = format!("{:>5}{:05}", app.app.as_str(), held.len());
        held.push(app.hold(Digest::of(bytes.as_bytes()), bytes.clone().into(), room));
        assert_eq!(bytes.len(), 10);
    }
    held
}

/// Makes an app hold bytes.
fn held(app: &Arc<AppMemory>, bytes: impl Into<Bytes>) -> Bytes {
    let bytes = bytes.into();
    let room = app.room(length(&bytes)).unwrap();
    app.hold(Digest::of(&bytes), bytes, room)
}

#[test]
fn equal_bytes_are_held_once_and_freed_with_their_last_user() {
    let memory = memory(36, 1_000);
    let shop = app(&memory, "shop");
    let hash = Digest::of(b"12345678");
    let one = held(&shop, "12345678");
    let two = held(&shop, "12345678");
    assert_eq!(one.as_ptr(), two.as_ptr());
    assert_eq!(shop.usage(), AppUsage { bytes: 8, files: 8 });
    assert!(shop.room(10).is_some() && shop.room(11).is_none());
    drop(one);
    assert!(shop.share(hash).is_some());
    drop(two);
    assert!(shop.share(hash).is_none() && shop.room(18).is_some());
    assert_eq!(shop.usage(), AppUsage::default());
}

#[test]
fn bytes_that_several_apps_have_are_held_once_and_count_for_each_of_them() {
    let memory = memory(100, 1_000);
    let (shop, blog) = (app(&memory, "shop"), app(&memory, "blog"));
    let hash = Digest::of(b"12345678");
    let one = held(&shop, "12345678");
    let two = blog.share(hash).unwrap();
    assert_eq!(one.as_ptr(), two.as_ptr());
    assert_eq!((shop.usage().bytes, blog.usage().bytes), (8, 8));
    drop(one);
    assert_eq!((shop.usage().bytes, blog.usage().bytes, memory.pool.used.load(Ordering::Relaxed)), (0, 8, 8));
    drop(two);
    assert_eq!(memory.pool.used.load(Ordering::Relaxed), 0);
}

#[test]
fn an_app_that_takes_all_that_it_may_leaves_as_much_to_the_others() {
    let memory = memory(1_000, 1_000_000);
    let mut apps = Vec::new();
    let mut counts = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let held = filled(&app(&memory, name));
        counts.push(held.len() * 10);
        apps.push(held);
    }
    assert_eq!(counts, [500, 250, 120, 60]);
    // Returned memory is available to all apps.
    apps.remove(0);
    assert_eq!(filled(&app(&memory, "five")).len() * 10, 280);
}

#[test]
fn files_take_a_quarter_of_what_an_app_may_and_deltas_leave_room_for_files() {
    let memory = memory(1_000_000, 400);
    let shop = app(&memory, "shop");
    let all = filled(&shop);
    assert_eq!(all.len() * 10, 100);
    assert!(shop.charge(Claim::Other).grow(300).is_ok() && shop.charge(Claim::Other).grow(301).is_err());
    let memory = self::memory(800, 1_000_000);
    let shop = app(&memory, "shop");
    let _held = [0, 1, 2].map(|n: u8| held(&shop, vec![n; 100]));
    // Of the 500 free bytes, 100 remain for files, and as many as the app holds for other apps.
    assert!(shop.room(100).is_some() && shop.room(101).is_none());
    assert!(shop.room_to_spare(0).is_some() && shop.room_to_spare(1).is_none());
    // A reservation counts from the start of the read.
    let room = shop.room(60);
    assert!(room.is_some() && shop.room(40).is_some() && shop.room(41).is_none());
}

#[test]
fn an_app_whose_versions_take_much_has_fewer_files_held_and_some_in_any_case() {
    let memory = memory(1_000_000, 1_600);
    let shop = app(&memory, "shop");
    for (versions, files) in [(0, 400), (20, 280), (40, 160), (50, 100), (1_000, 100)] {
        let charge = shop.charge(Claim::Live);
        charge.grow(versions).unwrap();
        assert_eq!(filled(&shop).len() * 10, files, "{versions}");
    }
}

#[test]
fn what_holds_a_piece_of_bytes_counts_as_they_do() {
    let memory = Memory::new(&Limits { memory_bytes_max: 1_000, ..Limits::default() });
    let (shop, blog) = (app(&memory, "shop"), app(&memory, "blog"));
    let held = held(&shop, "12345678");
    let bytes = 8 + HOLDER_BYTES;
    assert_eq!((shop.usage(), memory.file_bytes().0), (AppUsage { bytes, files: bytes }, bytes));
    let shared = blog.share(Digest::of(b"12345678"));
    assert_eq!((blog.usage().files, memory.file_bytes().0), (bytes, bytes));
    drop((held, shared));
    assert_eq!((shop.usage(), blog.usage(), memory.file_bytes().0), (AppUsage::default(), AppUsage::default(), 0));
}

#[test]
fn what_is_loaded_ahead_of_requests_fills_a_sixteenth() {
    let memory = memory(1_600, 1_000_000);
    let (shop, blog) = (app(&memory, "shop"), app(&memory, "blog"));
    let _held = held(&shop, vec![0; 50]);
    // Of the 50 free bytes of the sixteenth, an app leaves as many free as the app takes.
    assert!(blog.room_in(Fill::Ahead, 25).is_some() && blog.room_in(Fill::Ahead, 26).is_none());
    assert!(blog.room_in(Fill::Requested, 775).is_some() && blog.room_in(Fill::Requested, 776).is_none());
    // Bytes held for other apps cost no further memory.
    let _room = blog.room(150);
    assert!(blog.room_in(Fill::Ahead, 1).is_none() && blog.share(Digest::of(&[0; 50])).is_some());
}

#[test]
fn while_memory_is_short_nothing_more_is_held_and_what_is_held_is_shared() {
    let memory = memory(1_000, 1_000_000);
    let (shop, blog) = (app(&memory, "shop"), app(&memory, "blog"));
    let kept = held(&shop, vec![0; 100]);
    assert!(!memory.is_beyond(0) && !memory.is_short());
    memory.begin_shortage(40);
    assert!(memory.is_short() && memory.is_beyond(100));
    assert!(shop.room(1).is_none() && shop.room_in(Fill::Ahead, 1).is_none() && shop.room_to_spare(1).is_none());
    let shared = blog.share(Digest::of(&kept));
    assert!(shared.is_some() && shop.charge(Claim::Live).grow(500).is_ok(), "versions are loaded as before");
    drop((kept, shared));
    assert!(!memory.is_beyond(100));
    memory.end_shortage();
    assert!(!memory.is_short() && !memory.is_beyond(0) && shop.room(1).is_some());
}

/// Drops its charges one after the other, and records the claims.
struct Few(Mutex<(Vec<Charge>, Vec<Claim>)>);

impl Relief for Arc<Few> {
    fn relieve(&self, app: &AppName, claim: Claim) -> bool {
        let (charges, claims) = &mut *self.0.lock();
        claims.push(claim);
        let found = charges.iter().position(|charge| charge.app.app == *app);
        found.map(|index| charges.remove(index)).is_some()
    }
}

#[test]
fn what_can_be_done_without_is_dropped_for_what_is_loaded_and_never_another_apps() {
    let memory = memory(0, 100);
    let (shop, blog) = (app(&memory, "shop"), app(&memory, "blog"));
    let few = Arc::new(Few(Mutex::default()));
    memory.relieve_by(Box::new(Arc::clone(&few)));
    for (app, bytes) in [(&shop, 40), (&shop, 40), (&blog, 90)] {
        let charge = app.charge(Claim::Other);
        charge.grow(bytes).unwrap();
        few.0.lock().0.push(charge);
    }
    let charge = shop.charge(Claim::Live);
    charge.grow(50).unwrap();
    assert_eq!((shop.usage().bytes, charge.bytes()), (90, 50));
    charge.grow(50).unwrap();
    assert_eq!(shop.usage().bytes, 100);
    assert_eq!(charge.grow(1), Err(OverMemory { app: "shop".parse().unwrap(), bytes_max: 100 }));
    assert_eq!((blog.usage().bytes, few.0.lock().1.clone()), (90, vec![Claim::Live; 3]));
    drop(charge);
    assert_eq!(shop.usage().bytes, 0);
    // A growing charge counts, too.
    let charge = shop.charge(Claim::Live);
    charge.add(101);
    assert!(shop.charge(Claim::Live).grow(1).is_err());
}

#[test]
fn an_app_of_which_nothing_is_loaded_leaves_nothing() {
    let memory = memory(100, 100);
    let charge = app(&memory, "shop").charge(Claim::Live);
    charge.add(5);
    assert_eq!(memory.usage(), [("shop".parse().unwrap(), AppUsage { bytes: 5, files: 0 })]);
    drop(charge);
    assert!(memory.usage().is_empty());
}
