//! Turns of connections that send continuously, on one thread: only one such connection continues between two polls for
//! input, so that a short response waits for one connection at most, however many exist. Lanes have equal shares of the
//! turns (law 11).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use tokio::task::{spawn_local, yield_now};

use devanture_base::fair::{Lane, Lanes};

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::default();
}

/// Connections that wait for turns.
#[derive(Default)]
struct Waiting {
    lanes: Lanes<(Rc<Part>, Waker)>,
    /// True while a task grants the turns.
    are_given: bool,
}

/// A connection's state in the turns; `None` after an output shorter than a whole turn.
#[derive(Default)]
pub(in super::super) struct LongAnswers(Option<Rc<Part>>);

struct Part {
    lane: Lane,
    state: Cell<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// May produce the next output.
    Turn,
    /// The peer did not accept the output of a whole turn at once: the connection has to wait before more output.
    Full,
    /// Waits for a turn.
    Waits,
}

impl LongAnswers {
    /// Returns true if output may be produced now; otherwise, the connection is woken later.
    pub(in super::super) fn may_put(&self, waker: &Waker) -> bool {
        let Some(part) = &self.0 else { return true };
        if let State::Full = part.state.get() {
            enqueue(part, waker);
        }
        matches!(part.state.get(), State::Turn)
    }

    /// Records an output: `is_full` if the output filled a whole turn, `is_sent` if the peer accepted all bytes.
    /// Returns true if more output may be produced at once.
    pub(in super::super) fn has_put(&mut self, is_full: bool, is_sent: bool, lane: Lane) -> bool {
        if !is_full {
            self.0 = None;
            return false;
        }
        let part = self.0.get_or_insert_with(|| Rc::new(Part { lane, state: Cell::new(State::Full) }));
        part.state.set(if is_sent { State::Turn } else { State::Full });
        is_sent
    }

    /// Makes the connection wait for the turns of other connections. Returns false if the last output was shorter than
    /// a whole turn, and the connection need not wait.
    pub(in super::super) fn wait(&self, waker: &Waker) -> bool {
        if let Some(part) = &self.0 {
            enqueue(part, waker);
        }
        self.0.is_some()
    }
}

/// Queues a connection in its lane, unless queued already.
fn enqueue(part: &Rc<Part>, waker: &Waker) {
    if let State::Waits = part.state.replace(State::Waits) {
        return;
    }
    let are_given = WAITING.with_borrow_mut(|waiting| {
        waiting.lanes.push(part.lane, 1, (Rc::clone(part), waker.clone()));
        std::mem::replace(&mut waiting.are_given, true)
    });
    if !are_given {
        spawn_local(give_turns(TurnGuard));
    }
}

/// Grants turns until no connection waits.
async fn give_turns(_given: TurnGuard) {
    loop {
        // The thread polls for input first.
        yield_now().await;
        let Some((part, waker)) = next() else { return };
        part.state.set(State::Turn);
        waker.wake();
    }
}

/// Returns the next connection; skips dropped connections.
fn next() -> Option<(Rc<Part>, Waker)> {
    WAITING.with_borrow_mut(|waiting| {
        loop {
            let next = waiting.lanes.take_next()?;
            if Rc::strong_count(&next.0) > 1 {
                return Some(next);
            }
        }
    })
}

/// Guard while turns are granted. If the task is dropped early, the queue is cleared.
struct TurnGuard;

impl Drop for TurnGuard {
    fn drop(&mut self) {
        WAITING.try_with(|waiting| waiting.take()).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;
    use tokio::task::LocalSet;

    use super::*;

    type Log = Rc<RefCell<Vec<&'static str>>>;

    /// Produces `count` full outputs, two in a row.
    async fn puts(name: &'static str, lane: Lane, count: usize, log: Log) {
        let (mut long, mut put) = (LongAnswers::default(), 0);
        poll_fn(|cx| {
            for _ in 0..2 {
                if put == count {
                    return Poll::Ready(());
                }
                if !long.may_put(cx.waker()) {
                    return Poll::Pending;
                }
                put += 1;
                log.borrow_mut().push(name);
                assert!(long.has_put(true, true, lane));
            }
            assert!(long.wait(cx.waker()));
            Poll::Pending
        })
        .await;
    }

    fn run(work: impl AsyncFnOnce(Log)) -> Vec<&'static str> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = Log::default();
        LocalSet::new().block_on(&runtime, work(Rc::clone(&log)));
        log.take()
    }

    #[test]
    fn law_11_lanes_have_equal_shares_of_the_turns_however_many_wait_in_one() {
        let put = run(async |log| {
            let greedy: Vec<_> =
                (0..9).map(|_| spawn_local(puts("greedy", Lane::of("greedy"), 40, Rc::clone(&log)))).collect();
            let modest = spawn_local(puts("modest", Lane::of("modest"), 40, Rc::clone(&log)));
            modest.await.unwrap();
            drop(greedy);
        });
        let of_greedy = put.iter().filter(|name| **name == "greedy").count();
        // The first outputs of each connection need no wait.
        assert!((35..=60).contains(&of_greedy), "{of_greedy} of the greedy one beside 40");
    }

    #[test]
    fn what_came_in_is_looked_at_between_two_turns() {
        let put = run(async |log| {
            let (mut here, mut there) = UnixStream::pair().unwrap();
            let long: Vec<_> = (0..50).map(|_| spawn_local(puts("long", Lane::EDGE, 200, Rc::clone(&log)))).collect();
            there.write_all(b"!").await.unwrap();
            here.read_u8().await.unwrap();
            log.borrow_mut().push("short");
            drop(long);
        });
        let before = put.iter().take_while(|name| **name == "long").count();
        assert!(before <= 110, "{before} outputs before a short answer, where 50 have two that wait for nobody");
    }

    #[test]
    fn one_that_is_gone_takes_no_turn() {
        let put = run(async |log| {
            let gone = spawn_local(puts("gone", Lane::of("gone"), 1_000, Rc::clone(&log)));
            yield_now().await;
            gone.abort();
            puts("stays", Lane::of("stays"), 20, Rc::clone(&log)).await;
        });
        assert!(put.iter().filter(|name| **name == "gone").count() <= 8, "{put:?}");
        assert_eq!(put.iter().filter(|name| **name == "stays").count(), 20);
    }
}
