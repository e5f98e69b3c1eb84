//! Woken streams of a connection, by number.

use std::sync::Arc;
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// Woken streams of a connection. No memory is allocated before the first waker.
#[derive(Debug)]
pub(super) struct Wakes<I>(Option<Arc<Shared<I>>>);

#[derive(Debug)]
struct Shared<I> {
    state: Mutex<State<I>>,
}

#[derive(Debug)]
struct State<I> {
    woken: Vec<I>,
    /// Task of the connection.
    task: Option<Waker>,
}

/// Waker of a connection for one of the streams.
#[derive(Debug)]
struct StreamWake<I> {
    id: I,
    wakes: Arc<Shared<I>>,
}

impl<I: Copy + PartialEq + Send + Sync + 'static> Wakes<I> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Returns the waker of one stream.
    pub(super) fn waker(&mut self, id: I) -> Waker {
        let new = || Arc::new(Shared { state: Mutex::new(State { woken: Vec::new(), task: None }) });
        let wakes = Arc::clone(self.0.get_or_insert_with(new));
        Waker::from(Arc::new(StreamWake { id, wakes }))
    }

    /// Takes the numbers of the woken streams, and stores the task for the next wakes.
    #[inline]
    pub(super) fn take(&self, task: &Waker) -> Vec<I> {
        self.0.as_ref().map_or_else(Vec::new, |wakes| wakes.take(task))
    }
}

impl<I> Shared<I> {
    fn take(&self, task: &Waker) -> Vec<I> {
        let mut state = self.state.lock();
        if !state.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            state.task = Some(task.clone());
        }
        std::mem::take(&mut state.woken)
    }
}

impl<I: Copy + PartialEq + Send + Sync + 'static> Wake for StreamWake<I> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = {
            let mut state = self.wakes.state.lock();
            if !state.woken.contains(&self.id) {
                state.woken.push(self.id);
            }
            state.task.take()
        };
        // The task registers again in its next turn.
        if let Some(task) = task {
            task.wake();
        }
    }
}
