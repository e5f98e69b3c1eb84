//! Steps, turns and places, without sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

fn handshakes(total: usize, per_client: usize, stall: Duration) -> Rc<Handshakes> {
    let limits = HandshakeLimits { total, per_client, stall };
    Rc::new(Handshakes::new(limits, Gauge::noop(), Gauge::noop()))
}

fn client(last: u8) -> Client {
    SocketAddr::from(([192, 0, 2, last], 0))
}

/// The task of a connection, with the count of its wakes.
struct Task(Handshake, Arc<Woken>);

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    fn new(handshakes: &Rc<Handshakes>, client: Client) -> Self {
        Self(handshakes.enter(client).ok().unwrap(), Arc::default())
    }

    /// Polls a handshake that ends with a step, or waits for its client afterwards.
    fn poll(&self, ends: bool) -> Poll<Result<(), Displaced>> {
        let waker = Waker::from(Arc::clone(&self.1));
        let handshake = poll_fn(|_| if ends { Poll::Ready(()) } else { Poll::Pending });
        self.0.poll(pin!(handshake), &mut Context::from_waker(&waker))
    }

    fn woken(&self) -> usize {
        self.1.0.swap(0, Ordering::Relaxed)
    }
}

#[test]
fn clients_take_turns_at_the_steps() {
    let handshakes = handshakes(100, 0, Duration::ZERO);
    let many: Vec<Task> = (0..20).map(|_| Task::new(&handshakes, client(1))).collect();
    let one = Task::new(&handshakes, client(2));
    let began = many.iter().filter(|task| task.poll(true).is_ready()).count();
    assert!((1..=STEPS_PER_TURN).contains(&began), "{began}");
    assert!(one.poll(true).is_pending());
    handshakes.begin_turn();
    let granted = many.iter().position(|task| task.woken() > 0).unwrap();
    assert_eq!(many[granted].poll(true), Poll::Ready(Ok(())));
    handshakes.begin_turn();
    assert_eq!(one.woken(), 1, "it does not wait for all that came before it");
    assert_eq!(one.poll(true), Poll::Ready(Ok(())));
}

#[test]
fn a_step_that_is_not_taken_goes_to_the_next() {
    let handshakes = handshakes(100, 0, Duration::ZERO);
    let mut queued: Vec<Task> = (0..20).map(|_| Task::new(&handshakes, client(1))).collect();
    queued.retain(|task| task.poll(true).is_pending());
    drop(queued.remove(1));
    handshakes.begin_turn();
    assert_eq!(queued[0].woken(), 1);
    drop(queued.remove(0));
    handshakes.begin_turn();
    assert_eq!((queued[0].woken(), queued[1].woken()), (1, 0));
    assert!(queued[1].poll(true).is_pending());
    drop(queued);
    handshakes.begin_turn();
    let state = handshakes.state.borrow();
    assert_eq!((state.under_way, state.clients.len(), state.order.len(), state.stalled.len()), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_handshake_that_waits_for_its_client_gives_its_place() {
    let handshakes = handshakes(2, 0, Duration::from_secs(1));
    let (old, young) = (Task::new(&handshakes, client(1)), Task::new(&handshakes, client(2)));
    assert_eq!(handshakes.find_room(), Err(None), "neither waits for its client");
    assert!(young.poll(false).is_pending());
    // The first step of a turn is always granted, however slow the machine is.
    handshakes.begin_turn();
    assert!(old.poll(false).is_pending());
    let full = Instant::now() + Duration::from_secs(1);
    assert_eq!(handshakes.find_room(), Err(Some(full)));
    handshakes.room().await;
    assert_eq!(Instant::now(), full);
    assert_eq!((old.woken(), young.woken()), (1, 0));
    assert_eq!(old.poll(false), Poll::Ready(Err(Displaced)));
    let third = Task::new(&handshakes, client(3));
    drop(old);
    assert_eq!(handshakes.state.borrow().under_way, 2, "it was counted out once");
    drop((young, third));
    assert_eq!(handshakes.find_room(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_client_with_too_many_handshakes_displaces_its_own() {
    let handshakes = handshakes(100, 2, Duration::from_secs(1));
    let other = Task::new(&handshakes, client(1));
    let own = [Task::new(&handshakes, client(2)), Task::new(&handshakes, client(2))];
    for task in own.iter().chain([&other]) {
        handshakes.begin_turn();
        assert!(task.poll(false).is_pending());
    }
    assert_eq!(handshakes.enter(client(2)).err(), Some(TooMany));
    tokio::time::advance(Duration::from_secs(1)).await;
    let third = handshakes.enter(client(2)).ok().unwrap();
    assert_eq!((own[0].woken(), own[1].woken(), other.woken()), (1, 0, 0));
    assert!(handshakes.enter(client(3)).is_ok());
    drop(third);
}
