//! Equal shares of a resource with limited concurrency, such as the disk or compression threads: work waits in lanes,
//! and the lane served least goes first, however much work waits in the rest (law 11).
//!
//! An idle lane saves nothing up: the lane begins at the level of the busy lanes. A lane that had more than its share
//! waits until the remaining lanes have had as much, even if empty in between.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Owner of work. The caller defines the meaning of a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Lane(u64);

impl Lane {
    /// Work of the edge itself.
    pub const EDGE: Self = Self(0);

    /// Returns the lane of a name, such as an app's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut bytes = [0; 8];
        blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
        // Never the lane of the edge.
        Self(u64::from_le_bytes(bytes).max(1))
    }
}

/// Waiting work by lane.
pub struct Lanes<T> {
    lanes: HashMap<Lane, Waiting<T>>,
    /// Amount had by the last served lane: the start for new lanes.
    now: u64,
    /// Number of pushes, so that among equal lanes the longest waiting lane goes first.
    pushed: u64,
}

struct Waiting<T> {
    /// Work with cost and push number, oldest first.
    queue: VecDeque<(T, u64, u64)>,
    /// Amount had so far.
    had: u64,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), now: 0, pushed: 0 }
    }
}

impl<T> Lanes<T> {
    /// Adds work of the given `cost`, in the unit common to all work of the lanes.
    pub fn push(&mut self, lane: Lane, cost: u64, work: T) {
        let (now, number) = (self.now, self.pushed);
        self.pushed = self.pushed.wrapping_add(1);
        let waiting = self.lanes.entry(lane).or_insert_with(|| Waiting { queue: VecDeque::new(), had: now });
        if waiting.queue.is_empty() {
            waiting.had = waiting.had.max(now);
        }
        waiting.queue.push_back((work, cost.max(1), number));
    }

    /// Takes the next work.
    pub fn take_next(&mut self) -> Option<T> {
        let waiting = self.lanes.values_mut().filter_map(|waiting| {
            let number = waiting.queue.front()?.2;
            Some((waiting.had, number, waiting))
        });
        let (had, _, waiting) = waiting.min_by_key(|(had, number, _)| (*had, *number))?;
        let (work, cost, _) = waiting.queue.pop_front()?;
        waiting.had = had.saturating_add(cost);
        self.now = self.now.max(had);
        // An empty lane is remembered as long as the lane had more than the rest.
        let now = self.now;
        self.lanes.retain(|_, waiting| !waiting.queue.is_empty() || waiting.had > now);
        Some(work)
    }
}

/// Limited number of concurrent turns.
pub struct Turns(Mutex<State>);

struct State {
    free: usize,
    waiting: Lanes<oneshot::Sender<Turn>>,
}

/// Turn, returned on drop.
#[must_use = "the turn ends when this is dropped"]
pub struct Turn(Option<Arc<Turns>>);

impl Turns {
    /// Creates `count` free turns.
    #[must_use]
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free: count, waiting: Lanes::default() })))
    }

    /// Waits for a turn of `lane` with the given `cost`.
    pub async fn take(self: &Arc<Self>, lane: Lane, cost: u64) -> Turn {
        loop {
            let turn = {
                let mut state = self.0.lock();
                // No work waits while a turn is free.
                if state.free > 0 {
                    state.free -= 1;
                    return Turn(Some(Arc::clone(self)));
                }
                let (sender, turn) = oneshot::channel();
                state.waiting.push(lane, cost, sender);
                turn
            };
            // A waiting caller stays in the list until a turn is assigned.
            if let Ok(turn) = turn.await {
                return turn;
            }
        }
    }

    /// Returns the number of waiting callers.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.lanes.values().map(|waiting| waiting.queue.len()).sum()
    }

    fn give_back(self: Arc<Self>) {
        let mut state = self.0.lock();
        while let Some(next) = state.waiting.take_next() {
            match next.send(Turn(Some(Arc::clone(&self)))) {
                Ok(()) => return,
                // The caller stopped waiting; dropping the turn here would return the turn under the lock.
                Err(mut turn) => drop(turn.0.take()),
            }
        }
        state.free = state.free.saturating_add(1);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drained(lanes: &mut Lanes<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| lanes.take_next()).collect()
    }

    #[test]
    fn law_11_nine_modest_lanes_are_served_after_one_piece_of_the_greedy_one_for_each_of_theirs() {
        let mut lanes = Lanes::default();
        for _ in 0..1_000 {
            lanes.push(Lane::of("greedy"), 1, "greedy");
        }
        for _ in 0..100 {
            lanes.take_next().unwrap();
        }
        let modest = ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];
        for name in modest {
            for _ in 0..3 {
                lanes.push(Lane::of(name), 1, name);
            }
        }
        let order = drained(&mut lanes);
        let last = order.iter().rposition(|name| *name != "greedy").unwrap();
        let greedy_before = order[..last].iter().filter(|name| **name == "greedy").count();
        assert!(greedy_before <= 3, "{greedy_before} pieces of the greedy one went before the last of the others");
        assert_eq!(order.len(), 900 + 27);
        assert!(lanes.lanes.len() <= 1, "what is over is forgotten");
    }

    #[test]
    fn a_lane_pays_for_what_it_takes_and_saves_nothing_up() {
        let mut lanes = Lanes::default();
        lanes.push(Lane::of("large"), 10, "large");
        assert_eq!(lanes.take_next(), Some("large"));
        // The lane was empty in between, and has nevertheless had its share.
        for _ in 0..2 {
            lanes.push(Lane::of("large"), 10, "large");
        }
        for _ in 0..12 {
            lanes.push(Lane::of("small"), 1, "small");
        }
        let order = drained(&mut lanes);
        assert_eq!(order.iter().position(|name| *name == "large"), Some(10), "{order:?}");
        // Work after a long rest begins at the level of the busy lanes.
        for _ in 0..3 {
            lanes.push(Lane::of("rested"), 1, "rested");
            lanes.push(Lane::of("small"), 1, "small");
        }
        assert_eq!(drained(&mut lanes), ["rested", "small", "rested", "small", "rested", "small"]);
    }

    proptest! {
        #[test]
        fn lanes_that_wait_had_as_much_but_for_one_piece(costs in prop::collection::vec((0u64..4, 1u64..20), 1..200)) {
            let mut lanes = Lanes::default();
            let mut left = [0_usize; 4];
            for (lane, cost) in &costs {
                lanes.push(Lane(*lane), *cost, (*lane, *cost));
                left[usize::try_from(*lane).unwrap()] += 1;
            }
            let mut had = [0_u64; 4];
            while let Some((lane, cost)) = lanes.take_next() {
                let lane = usize::try_from(lane).unwrap();
                // No waiting lane had less than the served lane.
                for other in (0..4).filter(|other| left[*other] > 0) {
                    prop_assert!(had[lane] <= had[other], "{had:?}");
                }
                had[lane] += cost;
                left[lane] -= 1;
            }
            prop_assert_eq!(left, [0; 4]);
        }
    }

    #[tokio::test]
    async fn turns_go_round_and_those_that_nobody_waits_for_are_passed_on() {
        let turns = Turns::new(1);
        let first = turns.take(Lane::EDGE, 1).await;
        let order: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let mut waiting = Vec::new();
        for name in ["greedy", "greedy", "gone", "greedy", "modest"] {
            let (its_turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let turn = its_turns.take(Lane::of(name), 1).await;
                order.lock().push(name);
                drop(turn);
            }));
            // One after the other, to fix the order of arrival.
            while turns.0.lock().waiting.pushed < u64::try_from(waiting.len()).unwrap() {
                tokio::task::yield_now().await;
            }
        }
        waiting[2].abort();
        while !waiting[2].is_finished() {
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in waiting {
            task.await.ok();
        }
        assert_eq!(*order.lock(), ["greedy", "modest", "greedy", "greedy"]);
        assert_eq!(turns.0.lock().free, 1);
    }
}
