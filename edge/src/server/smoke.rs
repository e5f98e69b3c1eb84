//! The thread of smoke checks before a switch: with its own handler, so that no check occupies a serving thread, and
//! with the same code as for visitors.

use std::rc::Rc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::handler_parts::HandlerParts;
use devanture_control::switch::{PendingAnswer, Smoke};
use devanture_serve::handler::{SmokeAnswer, SmokeQuestion, Unanswered};

type Reply = oneshot::Sender<Result<SmokeAnswer, Unanswered>>;

/// Runner of smoke checks on a separate thread.
pub(super) struct Prober {
    questions: mpsc::UnboundedSender<(SmokeQuestion, Reply)>,
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Prober {
    pub(super) fn start(parts: HandlerParts) -> Result<Self, StartError> {
        let (questions, mut incoming) = mpsc::unbounded_channel::<(SmokeQuestion, Reply)>();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
        let work = async move || {
            let handler = Rc::new(parts.handler());
            while let Some((question, mut reply)) = incoming.recv().await {
                let handler = Rc::clone(&handler);
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        answer = handler.ask_ahead(question) => drop(reply.send(answer)),
                        // No caller waits for the result any more.
                        () = reply.closed() => {}
                    }
                });
            }
        };
        let run = move || {
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = work() => {}
                    () = stopped.cancelled() => {}
                }
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("smoke".to_owned()).spawn(run).map_err(StartError::Runtime)?;
        Ok(Self { questions, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread, and drops its state.
    pub(super) fn end(&self) {
        self.stop.cancel();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            thread.join().ok();
        }
    }
}

impl Smoke for Prober {
    fn ask(&self, question: SmokeQuestion) -> PendingAnswer {
        let (reply, answer) = oneshot::channel();
        let sent = self.questions.send((question, reply));
        Box::pin(async move {
            let ending = || Unanswered("the edge is about to end".to_owned());
            sent.map_err(|_ended| ending())?;
            answer.await.map_err(|_ended| ending())?
        })
    }
}
