//! Session of a command: transfers frames between client and process, and ends the process.
//!
//! A single task does all of this and never waits for the client alone: output beyond the client's window stays with
//! the process, blocked in its next write, while signals, timeouts and the end are still handled.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::{RunEnd, RunExit, TerminalSize};
use devanture_config::problem::{Code, Problem};
use devanture_config::run_stream::{ALIVE_S, ClientFrame, EdgeFrame, Frame, RunSignal, SILENCE_S_MAX, WINDOW_BYTES};
use devanture_config::text::counted;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{EndedRun, Once, window_size};
use crate::runner::persist::LOOK_EVERY;
use crate::runner::persisted::Excess;
use crate::runner::shared::ms;
use devanture_host::spawner::{AttachedSignaller, Exit, Happened, PassedSignal, Stream as Output};

/// Frames of a client, whose end is a disconnect.
pub type FrameSource = Pin<Box<dyn Stream<Item = ClientFrame> + Send>>;
/// Channel of frames for a client.
pub type FrameSender = mpsc::Sender<Bytes>;
/// Resolves with the reason for ending the command, for example a revoked token.
pub type EndedBy = Pin<Box<dyn Future<Output = Problem> + Send>>;

/// Longest wait for a client to read the last output of a command ended by the edge.
pub(super) const LAST_OUTPUT_MAX: Duration = Duration::from_secs(2);
/// Most client signals per [`SIGNALS_TIME`]: each is an order to the spawner, shared by all apps.
const SIGNALS_MAX: u32 = 200;
const SIGNALS_TIME: Duration = Duration::from_secs(1);
/// Most small client frames per [`FRAMES_TIME`]; later frames wait for the next window. A small frame costs the runner,
/// and mostly the spawner, as much as a large frame.
const FRAMES_MAX: u32 = 1_000;
const FRAMES_TIME: Duration = Duration::from_secs(1);
/// Bytes of input, or of acknowledged output, that make a frame large.
const LARGE_BYTES: usize = 4_096;
/// Shortest interval of terminal sizes; of several sizes the last applies.
const RESIZE_EVERY: Duration = Duration::from_millis(50);

/// Phase of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Runs,
    /// SIGTERM was sent; time of SIGKILL.
    Terminating(Instant),
    /// SIGKILL was sent; end of the wait for remaining output.
    Killed(Instant),
}

/// Mutable state of a session.
struct State {
    phase: Phase,
    /// Reason of an end by the edge.
    because: Option<Problem>,
    /// Frames to be sent.
    waiting: VecDeque<Bytes>,
    /// The client no longer reads.
    is_deaf: bool,
    last_heard: Instant,
    last_said: Instant,
    /// Received bytes of input, and acknowledged bytes of input.
    input: u64,
    reported: u64,
    /// Unacknowledged bytes of output.
    untaken: usize,
    /// The client has ended its input.
    is_input_over: bool,
    /// The process has ended, and accepts no input.
    is_input_lost: bool,
    /// Start of the present window, and client signals within.
    signals: (Instant, u32),
    /// Start of the present window, and small client frames within.
    frames: (Instant, u32),
    /// Pending terminal size, and its earliest time.
    size: Option<TerminalSize>,
    next_resize: Instant,
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Runs,
            because: None,
            waiting: VecDeque::new(),
            is_deaf: false,
            last_heard: now,
            last_said: now,
            input: 0,
            reported: 0,
            untaken: 0,
            is_input_over: false,
            is_input_lost: false,
            signals: (now, 0),
            frames: (now, 0),
            size: None,
            next_resize: now,
        }
    }

    fn say(&mut self, frame: &EdgeFrame) {
        // Each is within the frame limit.
        if let Ok(bytes) = frame.bytes() {
            self.waiting.push_back(bytes.into());
        }
    }

    /// Returns true if output of the process fits the window.
    fn takes_output(&self) -> bool {
        self.is_deaf || self.waiting.is_empty() && self.untaken < WINDOW_BYTES
    }

    /// Returns true if consumed input is acknowledged. Without a reading client, input stays unacknowledged, which
    /// closes the client's window.
    fn reports_input(&self) -> bool {
        !self.is_deaf && !self.is_input_lost && self.waiting.is_empty()
    }

    /// Returns the time of the next timed action.
    fn deadline(&self, until: Instant) -> Instant {
        let phase = match self.phase {
            Phase::Runs => until.min(self.last_heard + Duration::from_secs(SILENCE_S_MAX)),
            Phase::Terminating(until) | Phase::Killed(until) => until,
        };
        let alive = self.last_said + Duration::from_secs(ALIVE_S);
        let resize = self.size.map(|_| self.next_resize);
        let heard = (!self.is_deaf && self.frames.1 >= FRAMES_MAX).then_some(self.frames.0 + FRAMES_TIME);
        resize.into_iter().chain(heard).fold(phase.min(alive), Instant::min)
    }

    /// Returns true if client frames are read at present.
    fn hears(&mut self, now: Instant) -> bool {
        if now >= self.frames.0 + FRAMES_TIME {
            self.frames = (now, 0);
        }
        !self.is_deaf && self.frames.1 < FRAMES_MAX
    }

    /// Counts a client frame.
    fn count(&mut self, frame: &ClientFrame) {
        let is_large = match frame {
            ClientFrame::Input(bytes) => !self.is_input_over && bytes.len() >= LARGE_BYTES,
            // Acknowledgements beyond the sent output are ignored.
            ClientFrame::Taken(count) => {
                usize::try_from(*count).is_ok_and(|count| count.min(self.untaken) >= LARGE_BYTES)
            }
            ClientFrame::Begin(_) | ClientFrame::Resize(_) | ClientFrame::Signal(_) | ClientFrame::Alive => false,
        };
        if !is_large {
            self.frames.1 = self.frames.1.saturating_add(1);
        }
    }

    /// Counts a client signal; false beyond the limit.
    fn may_signal(&mut self, now: Instant) -> bool {
        let (since, count) = self.signals;
        self.signals = if now < since + SIGNALS_TIME { (since, count.saturating_add(1)) } else { (now, 1) };
        self.signals.1 <= SIGNALS_MAX
    }

    /// Returns a pending terminal size that is due.
    fn due_size(&mut self, now: Instant) -> Option<TerminalSize> {
        let size = self.size.take_if(|_| now >= self.next_resize)?;
        self.next_resize = now + RESIZE_EVERY;
        Some(size)
    }
}

impl Once {
    /// Runs the command to its end, reports and returns the outcome. The edge does not stop before the returned guard
    /// is dropped.
    pub async fn serve(mut self, mut from: FrameSource, to: FrameSender, ended_by: EndedBy) -> (RunEnd, EndedRun) {
        let mut state = State::new(Instant::now());
        if let Some(note) = self.note() {
            state.untaken = state.untaken.saturating_add(note.len());
            state.say(&EdgeFrame::Stderr(note.into_bytes()));
        }
        let exit = self.carry(&mut state, &mut from, &to, ended_by).await;
        let took = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let end = RunEnd { exit: exit_of(exit, state.because.take()), ms: took, version: self.wanted.version };
        state.say(&EdgeFrame::Ended(Box::new(end.clone())));
        // No process of the command is left, or may continue.
        let Self { shared, running, temporary, container, set_up, .. } = &mut self;
        running.signaller().kill();
        if let Some(container) = container {
            shared.remove_container(&container.name).await;
        }
        shared.remove_temporary(temporary, set_up.user.uid()).await;
        let rest = async {
            for bytes in state.waiting {
                if to.send(bytes).await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(LAST_OUTPUT_MAX, rest).await.ok();
        (end, EndedRun(self.under_way))
    }

    /// Transfers frames until the process has ended, or its remaining output is abandoned.
    async fn carry(
        &mut self,
        state: &mut State,
        from: &mut FrameSource,
        to: &FrameSender,
        mut ended_by: EndedBy,
    ) -> Exit {
        let (signaller, mut taken) = (self.running.attached(), self.running.input_taken());
        let stop = self.shared.stop.clone();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let runs = state.phase == Phase::Runs;
            let mut ends = pin!(self.under_way.ends());
            let hears = state.hears(Instant::now());
            let deadline = state.deadline(self.until());
            tokio::select! {
                permit = to.reserve(), if !state.waiting.is_empty() && !state.is_deaf => match permit {
                    Ok(permit) => {
                        state.last_said = Instant::now();
                        if let Some(bytes) = state.waiting.pop_front() {
                            permit.send(bytes);
                        }
                    }
                    Err(_closed) => self.client_gone(state, &signaller),
                },
                happened = self.running.next(), if state.takes_output() => match happened {
                    Some(Happened::Output { stream, bytes }) if !state.is_deaf => {
                        state.untaken = state.untaken.saturating_add(bytes.len());
                        state.say(&output(stream, &bytes));
                    }
                    Some(Happened::Output { .. }) => {}
                    Some(Happened::Exited(exit)) => return exit,
                    None => return Exit::Lost,
                },
                frame = from.next(), if hears => match frame {
                    Some(frame) => self.heard(state, frame, &signaller),
                    None => self.client_gone(state, &signaller),
                },
                changed = taken.changed(), if state.reports_input() => match changed {
                    Ok(()) => report_taken(state, &mut taken),
                    // The channel would now be ready forever, until the client has read the last output.
                    Err(_ended) => state.is_input_lost = true,
                },
                problem = &mut ended_by, if runs => self.end(state, problem, &signaller),
                () = &mut ends, if runs => self.end(state, edge_ends(), &signaller),
                () = stop.cancelled() => return Exit::Lost,
                _ = look.tick(), if runs && self.is_measured => {
                    if let Err(error) = self.shared.check_growth(&self.place, self.excess.as_ref()) {
                        let problem = Problem::new(Code::PersistFull, format!("The command was ended: {error}."));
                        self.kill(state, problem, &signaller);
                    }
                }
                () = sleep_until(deadline) => if !self.at_deadline(state, &signaller) {
                    return Exit::Lost;
                },
            }
        }
    }

    /// Returns the first note to the client, if the environment exceeds its storage.
    fn note(&self) -> Option<String> {
        let Excess { growth, why, .. } = self.excess.as_ref()?;
        // A raw terminal does not return to the first column by itself.
        let end = if self.has_terminal { "\r\n" } else { "\n" };
        Some(format!(
            "note: {why}; the command may remove files, and is ended where it adds more than {} bytes or {}{end}",
            growth.bytes,
            counted(growth.files, "file"),
        ))
    }

    /// Returns the deadline.
    fn until(&self) -> Instant {
        self.begun + self.time_max
    }

    /// Handles a client frame.
    fn heard(&self, state: &mut State, frame: ClientFrame, signaller: &AttachedSignaller) {
        state.last_heard = Instant::now();
        state.count(&frame);
        match frame {
            // Input after the end is ignored.
            ClientFrame::Input(_) if state.is_input_over => {}
            ClientFrame::Input(bytes) => {
                state.is_input_over = bytes.is_empty();
                state.input = state.input.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                let waiting = state.input.saturating_sub(state.reported);
                if waiting > u64::try_from(WINDOW_BYTES).unwrap_or(u64::MAX) {
                    let detail = format!("The client sent more than {WINDOW_BYTES} bytes of input ahead.");
                    return self.end(state, Problem::new(Code::BadRequest, detail), signaller);
                }
                signaller.input(bytes.into());
            }
            ClientFrame::Resize(size) if self.has_terminal => {
                state.size = Some(size);
                self.resize_if_due(state, signaller);
            }
            ClientFrame::Signal(signal) if state.may_signal(Instant::now()) => signaller.signal(passed(signal)),
            ClientFrame::Signal(_) => {
                let detail = format!("The client sent more than {SIGNALS_MAX} signals within a second.");
                self.end(state, Problem::new(Code::BadRequest, detail), signaller);
            }
            ClientFrame::Begin(_) => {
                let problem = Problem::new(Code::BadRequest, "The client began twice.");
                self.end(state, problem, signaller);
            }
            ClientFrame::Taken(count) => {
                state.untaken = state.untaken.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
            }
            ClientFrame::Resize(_) | ClientFrame::Alive => {}
        }
    }

    /// Applies a pending terminal size, if due.
    fn resize_if_due(&self, state: &mut State, signaller: &AttachedSignaller) {
        if let Some(size) = state.due_size(Instant::now()) {
            signaller.resize(window_size(size));
        }
    }

    /// Ends the command after a disconnect.
    fn client_gone(&self, state: &mut State, signaller: &AttachedSignaller) {
        state.is_deaf = true;
        let detail = "The client is gone, and the command was ended.";
        self.end(state, Problem::new(Code::RunEnded, detail), signaller);
    }

    /// Ends the command for a reason: by SIGTERM, and by SIGHUP as for a closed terminal, which ends interactive
    /// shells.
    fn end(&self, state: &mut State, problem: Problem, signaller: &AttachedSignaller) {
        if state.phase != Phase::Runs {
            return;
        }
        state.because.get_or_insert(problem);
        // SIGTERM first: SIGHUP may end the main process, and remaining processes get their time only after SIGTERM.
        signaller.signal(PassedSignal::Terminate);
        if self.has_terminal {
            signaller.signal(PassedSignal::Hangup);
        }
        state.phase = Phase::Terminating(Instant::now() + ms(self.shared.limits.run_stop_ms));
    }

    /// Kills the command, like an instance beyond its storage limit, since SIGTERM would allow further writes.
    fn kill(&self, state: &mut State, problem: Problem, signaller: &AttachedSignaller) {
        state.because.get_or_insert(problem);
        signaller.kill();
        state.phase = Phase::Killed(Instant::now() + LAST_OUTPUT_MAX);
    }

    /// Performs due actions; returns false once the process must be gone.
    fn at_deadline(&self, state: &mut State, signaller: &AttachedSignaller) -> bool {
        let now = Instant::now();
        self.resize_if_due(state, signaller);
        match state.phase {
            Phase::Runs if now >= self.until() => self.end(state, self.too_late(), signaller),
            Phase::Runs if now >= state.last_heard + Duration::from_secs(SILENCE_S_MAX) => {
                self.client_gone(state, signaller);
            }
            Phase::Terminating(until) if now >= until => {
                signaller.kill();
                state.phase = Phase::Killed(now + LAST_OUTPUT_MAX);
            }
            Phase::Killed(until) if now >= until => return false,
            _ => {}
        }
        if now >= state.last_said + Duration::from_secs(ALIVE_S) {
            state.last_said = now;
            // An unsent frame already says the same.
            if state.waiting.is_empty() {
                state.say(&EdgeFrame::Alive);
            }
        }
        true
    }

    fn too_late(&self) -> Problem {
        let ms = self.time_max.as_millis();
        Problem::new(Code::RunEnded, format!("The command was not done within {ms} ms, and was ended."))
            .hint("--timeout gives it another time, and `run_ms_max` in edge.toml is the longest one")
    }
}

fn edge_ends() -> Problem {
    Problem::new(Code::RunEnded, "The edge ends or is replaced, and the command was ended.")
        .hint("run it again; `drain.runs_ms` in edge.toml is the time that commands have then")
}

/// Acknowledges consumed input.
fn report_taken(state: &mut State, taken: &mut watch::Receiver<u64>) {
    let taken = *taken.borrow_and_update();
    let more = taken.saturating_sub(state.reported);
    state.reported = taken;
    if more > 0 {
        state.say(&EdgeFrame::Taken(u32::try_from(more).unwrap_or(u32::MAX)));
    }
}

fn output(stream: Output, bytes: &Bytes) -> EdgeFrame {
    match stream {
        Output::Stdout => EdgeFrame::Stdout(bytes.to_vec()),
        Output::Stderr => EdgeFrame::Stderr(bytes.to_vec()),
    }
}

// Mapped by variant: `config` does not depend on the spawner.
const fn passed(signal: RunSignal) -> PassedSignal {
    match signal {
        RunSignal::Hangup => PassedSignal::Hangup,
        RunSignal::Interrupt => PassedSignal::Interrupt,
        RunSignal::Quit => PassedSignal::Quit,
        RunSignal::Terminate => PassedSignal::Terminate,
    }
}

/// Returns the reported end: the edge's reason takes precedence over its signals' effect.
fn exit_of(exit: Exit, because: Option<Problem>) -> RunExit {
    if let Some(problem) = because {
        return RunExit::Problem(Box::new(problem));
    }
    let problem = |code, exit: &Exit| RunExit::Problem(Box::new(Problem::new(code, format!("The command {exit}."))));
    match exit {
        Exit::Code(code) => RunExit::Code(code),
        Exit::Signal(signal) => RunExit::Signal(signal),
        Exit::Missing(program) => RunExit::Missing(program),
        Exit::NotExecutable(program) => RunExit::NotExecutable(program),
        exit @ Exit::CannotStart(_) => problem(Code::InstanceFailed, &exit),
        exit => problem(Code::RunEnded, &exit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(rows: u16) -> TerminalSize {
        TerminalSize { rows, columns: 80 }
    }

    #[tokio::test(start_paused = true)]
    async fn more_signals_than_a_person_sends_are_too_many_for_a_second() {
        let now = Instant::now();
        let mut state = State::new(now);
        assert!((0..SIGNALS_MAX).all(|_| state.may_signal(now)));
        assert!(!state.may_signal(now + SIGNALS_TIME - Duration::from_millis(1)));
        assert!(state.may_signal(now + SIGNALS_TIME));
    }

    #[tokio::test(start_paused = true)]
    async fn small_frames_beyond_a_bound_wait_for_the_next_second_and_large_ones_do_not_count() {
        let (now, far) = (Instant::now(), Instant::now() + Duration::from_secs(5));
        let mut state = State::new(now);
        state.untaken = LARGE_BYTES;
        let (input, taken) =
            (ClientFrame::Input(vec![0; LARGE_BYTES]), ClientFrame::Taken(u32::try_from(LARGE_BYTES).unwrap()));
        for _ in 0..10 * FRAMES_MAX {
            state.count(&input);
            state.count(&taken);
        }
        assert!(state.hears(now));
        // Input after the end, and acknowledgements beyond the sent output, count as small.
        for frame in [ClientFrame::Alive, ClientFrame::Input(vec![0]), ClientFrame::Taken(0), input, taken] {
            state = State::new(now);
            state.is_input_over = true;
            for _ in 0..FRAMES_MAX {
                assert!(state.hears(now));
                state.count(&frame);
            }
            let next = now + FRAMES_TIME;
            assert!(!state.hears(next - Duration::from_millis(1)));
            assert_eq!(state.deadline(far), next);
            assert!(state.hears(next));
            assert_eq!(state.deadline(far), far);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_sizes_the_last_one_reaches_the_terminal() {
        let (now, far) = (Instant::now(), Instant::now() + Duration::from_secs(5));
        let mut state = State::new(now);
        state.size = Some(size(1));
        assert_eq!(state.due_size(now), Some(size(1)));
        for rows in 2..100 {
            state.size = Some(size(rows));
            assert_eq!(state.due_size(now), None);
        }
        assert_eq!(state.deadline(far), now + RESIZE_EVERY);
        assert_eq!((state.due_size(now + RESIZE_EVERY), state.size), (Some(size(99)), None));
        assert_eq!(state.deadline(far), far);
    }
}
