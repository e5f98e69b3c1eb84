//! Output of instances: all bytes arrive, without memory growth, and no instance waits for another.

use devanture_host::spawner::{Exit, Happened, Running, Stream};

use crate::spawner::world::{MIB, World, next, ran, status_bytes};

/// Reads all output; returns the number of bytes and the exit.
async fn count(running: &mut Running) -> (u64, Exit) {
    let mut bytes_taken = 0;
    loop {
        match next(running).await.expect("an end is told") {
            Happened::Output { bytes, .. } => {
                assert!(bytes.len() <= 16 * 1024);
                bytes_taken += bytes.len() as u64;
            }
            Happened::Exited(exit) => return (bytes_taken, exit),
        }
    }
}

/// Runs a test again in a process without other tests; returns true inside that process.
fn is_alone(test: &str) -> bool {
    if std::env::var_os("TEST_ALONE").is_some_and(|name| name == *test) {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let ran = std::process::Command::new(own).args(["--exact", test]).env("TEST_ALONE", test).output().unwrap();
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && printed.contains("1 passed"), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    false
}

#[tokio::test]
async fn three_hundred_megabytes_pass_and_cost_no_memory() {
    if !is_alone("spawner::output::three_hundred_megabytes_pass_and_cost_no_memory") {
        return;
    }
    let world = World::start().await;
    let own = i32::try_from(std::process::id()).unwrap();
    let before = status_bytes(own, "VmRSS");
    let mut running = world.launch(world.command(&["head", "-c", "300000000", "/dev/zero"])).await.unwrap();
    let started = std::time::Instant::now();
    assert_eq!(count(&mut running).await, (300_000_000, Exit::Code(0)));
    println!("300 MB took {:?}", started.elapsed());
    let (spawner, reader) = (status_bytes(world.spawner_pid().await, "VmHWM"), status_bytes(own, "VmRSS"));
    println!(
        "the spawner had {} KiB at most, the reader has {} KiB more",
        spawner / 1024,
        reader.saturating_sub(before) / 1024
    );
    assert!(spawner < 64 * MIB, "{spawner}");
    assert!(reader < before + 64 * MIB, "{reader} after {before}");
}

#[tokio::test]
async fn who_is_not_read_waits_and_nobody_waits_for_it() {
    let world = World::start().await;
    let mut slow = world.launch(world.command(&["head", "-c", "30000000", "/dev/zero"])).await.unwrap();
    for code in 0..20 {
        let ran = world.run(world.shell(&format!("echo {code}; exit {code}"))).await;
        assert_eq!((ran.stdout, ran.exit), (format!("{code}\n"), Exit::Code(code)));
    }
    let mut other = world.launch(world.command(&["head", "-c", "30000000", "/dev/zero"])).await.unwrap();
    assert_eq!(count(&mut other).await, (30_000_000, Exit::Code(0)));
    assert!(crate::spawner::world::is_alive(i32::try_from(slow.pid).unwrap()), "it waits in a write");
    assert_eq!(count(&mut slow).await, (30_000_000, Exit::Code(0)));
}

#[tokio::test]
async fn who_is_not_read_can_be_killed() {
    let world = World::start().await;
    let running = world.launch(world.command(&["yes"])).await.unwrap();
    running.signaller().kill();
    assert_eq!(ran(running).await.exit, Exit::Signal(9));
}

#[tokio::test]
async fn the_last_lines_come_before_the_end_and_streams_are_distinguished() {
    let world = World::start().await;
    let mut running = world.launch(world.shell("head -c 200000 /dev/zero; echo last >&2; exit 1")).await.unwrap();
    let (mut zeros, mut last) = (0, Vec::new());
    let exit = loop {
        match next(&mut running).await.unwrap() {
            Happened::Output { stream: Stream::Stdout, bytes } => zeros += bytes.len(),
            Happened::Output { stream: Stream::Stderr, bytes } => last.extend_from_slice(&bytes),
            Happened::Exited(exit) => break exit,
        }
    };
    assert_eq!((zeros, last.as_slice(), exit), (200_000, b"last\n".as_slice(), Exit::Code(1)));
}
