//! Handover of a spawner with all instances from one edge to the next.

use devanture_host::spawner::{Exit, Happened, Running, Spawner, SpawnerConnection};
use rustix::process::Signal;

use crate::spawner::world::{World, eventually, is_alive, line, new_edge_id, next, ran, send, settings};

/// The next edge's handles of a spawner and of one instance.
fn adopt(connection: SpawnerConnection, running: &Running) -> (Spawner, Running) {
    let (spawner, adopted) = Spawner::adopt(settings(&new_edge_id()), connection, &[running.handed()]).unwrap();
    let [adopted] = adopted.try_into().unwrap();
    (spawner, adopted)
}

/// Instance that writes increasing numbers.
async fn counting(world: &World) -> Running {
    world.launch(world.shell("n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done")).await.unwrap()
}

/// Next number written by an instance.
async fn number(running: &mut Running, rest: &mut String) -> u64 {
    loop {
        if let Some((first, later)) = rest.split_once('\n') {
            let number = first.parse().unwrap();
            *rest = later.to_owned();
            return number;
        }
        match next(running).await {
            Some(Happened::Output { bytes, .. }) => rest.push_str(std::str::from_utf8(&bytes).unwrap()),
            other => panic!("{other:?} after {rest:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_goes_on_with_the_next_edge_and_none_of_its_output_is_lost() {
    let world = World::start().await;
    let (mut running, mut rest) = (counting(&world).await, String::new());
    let stranger = world.launch(world.shell("echo begun; sleep 1000")).await.unwrap();
    let (pid, stranger_pid) = (running.pid, i32::try_from(stranger.pid).unwrap());
    for expected in 1..=3 {
        assert_eq!(number(&mut running, &mut rest).await, expected);
    }
    let connection = world.spawner.pause().await.unwrap();
    while let Some(happened) = running.take_happened() {
        let Happened::Output { bytes, .. } = happened else { panic!("{happened:?}") };
        rest.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    let (next_spawner, mut adopted) = adopt(connection, &running);
    world.spawner.leave();
    next_spawner.resume();
    // Drop of the previous edge's handles no longer ends instances.
    drop((running, stranger));
    for expected in 4..=30 {
        assert_eq!(number(&mut adopted, &mut rest).await, expected);
    }
    assert_eq!(adopted.pid, pid);
    eventually("what was not handed over ends", || !is_alive(stranger_pid)).await;

    // The adopted spawner can start instances, and ends all instances with itself.
    let mut other = next_spawner.launch(world.shell("echo $PPID")).await.unwrap();
    line(&mut other).await;
    next_spawner.end().await;
    assert!(!is_alive(i32::try_from(pid).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_before_goes_on_where_the_next_one_does_not_come_up() {
    let world = World::start().await;
    let (mut running, mut rest) = (counting(&world).await, String::new());
    for _ in 0..3 {
        let before = number(&mut running, &mut rest).await;
        let connection = world.spawner.pause().await.unwrap();
        // The next edge ends before serving, together with its copy of the connection.
        drop(adopt(connection, &running));
        world.spawner.resume();
        assert_eq!(number(&mut running, &mut rest).await, before + 1);
    }
    let launched = world.launch(world.shell("echo well")).await.unwrap();
    assert_eq!(ran(launched).await.stdout, "well\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_a_pause_is_heard_by_the_one_who_goes_on() {
    let world = World::start().await;
    let mut running = world.launch(world.shell("echo begun; sleep 1000")).await.unwrap();
    line(&mut running).await;
    let connection = world.spawner.pause().await.unwrap();
    send(i32::try_from(running.pid).unwrap(), Signal::TERM);
    let (next_spawner, mut adopted) = adopt(connection, &running);
    world.spawner.leave();
    next_spawner.resume();
    let ended = next(&mut adopted).await;
    assert!(matches!(ended, Some(Happened::Exited(Exit::Signal(15)))), "{ended:?}");
}
