//! Turns of reads for visitors.

use parking_lot::Mutex;

use super::*;
use crate::blobs::fs::folder::READS_AT_ONCE;

#[tokio::test]
async fn law_11_a_read_waits_for_one_of_another_app_and_not_for_all_of_its_reads() {
    let harness = InAFolder::start().await;
    let bytes = sample(1, 200_000);
    harness.store.put(blob(&bytes), bytes.clone()).await.unwrap();
    let of = async |app: &str| harness.store.of(Lane::of(app)).open(blob(&bytes)).await.unwrap();
    let (greedy, modest) = (of("greedy").await, of("modest").await);
    // All turns but one are taken for good, so that the order shows.
    let reads = &harness.store.disk.folder.reads;
    let mut held = Vec::new();
    for _ in 0..READS_AT_ONCE {
        held.push(reads.take(Lane::EDGE, 1).await);
    }
    let (order, mut running) = (Arc::<Mutex<Vec<&str>>>::default(), tokio::task::JoinSet::new());
    for (app, file) in std::iter::repeat_n(("greedy", greedy), 20).chain([("modest", modest)]) {
        let order = Arc::clone(&order);
        running.spawn(async move {
            let read = file.read_in_turn(0, 100_000).await.unwrap();
            order.lock().push(app);
            read
        });
        // The read waits for its turn.
        tokio::task::yield_now().await;
    }
    drop(held.pop());
    while let Some(read) = running.join_next().await {
        assert_eq!(read.unwrap(), bytes[..100_000]);
    }
    let position = order.lock().iter().position(|app| *app == "modest").unwrap();
    assert!(position <= 1, "{position}");
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_any_more_gives_its_turn_back() {
    let harness = InAFolder::start().await;
    let bytes = sample(1, 1_000);
    harness.store.put(blob(&bytes), bytes.clone()).await.unwrap();
    let file = harness.store.open(blob(&bytes)).await.unwrap();
    let reads = &harness.store.disk.folder.reads;
    let mut held = Vec::new();
    for _ in 0..READS_AT_ONCE {
        held.push(reads.take(Lane::EDGE, 1).await);
    }
    {
        let mut dropped = Arc::clone(&file).read_in_turn(0, 10);
        assert!(futures_util::poll!(&mut dropped).is_pending());
    }
    held.clear();
    for _ in 0..=READS_AT_ONCE {
        assert_eq!(Arc::clone(&file).read_in_turn(0, 1_000).await.unwrap(), bytes);
    }
}
