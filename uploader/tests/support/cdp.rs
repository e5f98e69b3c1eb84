//! A client of the Chrome DevTools Protocol: commands with their answers, and events by session, over one WebSocket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

/// Time limit of a command. A hanging page must fail the test, not block the test; on a busy machine, a command takes
/// long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// A connection to a browser, for all its pages.
#[derive(Clone)]
pub(super) struct Client {
    commands: mpsc::UnboundedSender<String>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Value, String>>>,
    listening: HashMap<String, mpsc::UnboundedSender<Event>>,
}

/// An event of a page.
pub(super) struct Event {
    /// The name, such as `Page.loadEventFired`.
    pub(super) method: String,
    /// The parameters from the protocol.
    pub(super) parameters: Value,
}

impl Client {
    /// Connects to the address printed by the browser.
    pub(super) async fn connect(address: &str) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(address).await.expect("the browser takes a connection");
        let (mut sink, mut stream) = socket.split();
        let (commands, mut queue) = mpsc::unbounded_channel::<String>();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let reader_shared = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Some(command) = queue.recv().await {
                if sink.send(Message::text(command)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Text(text) = message {
                    reader_shared.lock().unwrap().receive(&text);
                }
            }
            // Dropping the channels tells all waiting callers that the browser is gone.
            *reader_shared.lock().unwrap() = Shared::default();
        });
        Self { commands, shared }
    }

    /// Sends a command, of a page if a session is given, and returns the result or the browser's error.
    pub(super) async fn try_call(
        &self,
        session: Option<&str>,
        method: &str,
        parameters: Value,
    ) -> Result<Value, String> {
        let (answer, answered) = oneshot::channel();
        let command = {
            let mut shared = self.shared.lock().unwrap();
            shared.last_id += 1;
            let id = shared.last_id;
            shared.waiting.insert(id, answer);
            let mut command = json!({ "id": id, "method": method, "params": parameters });
            if let Some(session) = session {
                command["sessionId"] = session.into();
            }
            command.to_string()
        };
        self.commands.send(command).map_err(|_closed| format!("{method}: the browser is gone"))?;
        match tokio::time::timeout(ANSWER_TIME_MAX, answered).await {
            Ok(Ok(result)) => result.map_err(|message| format!("{method}: {message}")),
            Ok(Err(_gone)) => Err(format!("{method}: the browser is gone")),
            Err(_late) => Err(format!("{method}: no answer within {ANSWER_TIME_MAX:?}")),
        }
    }

    /// Sends a command as [`Self::try_call`] does, and fails the test where the browser objects.
    pub(super) async fn call(&self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.try_call(session, method, parameters).await.unwrap_or_else(|message| panic!("{message}"))
    }

    /// The events of a session from now on.
    pub(super) fn events(&self, session: &str) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.lock().unwrap().listening.insert(session.to_owned(), sender);
        receiver
    }

    /// Ends the events of a session.
    pub(super) fn forget(&self, session: &str) {
        self.shared.lock().unwrap().listening.remove(session);
    }
}

impl Shared {
    fn receive(&mut self, text: &str) {
        let mut message: Value = serde_json::from_str(text).expect("the browser speaks JSON");
        if let Some(answer) = message["id"].as_u64().and_then(|id| self.waiting.remove(&id)) {
            let result = match message["error"]["message"].as_str() {
                Some(error) => Err(error.to_owned()),
                None => Ok(message["result"].take()),
            };
            // A caller of an ended test needs no answer.
            drop(answer.send(result));
        } else if let (Some(session), Some(method)) = (message["sessionId"].as_str(), message["method"].as_str())
            && let Some(listener) = self.listening.get(session)
        {
            let method = method.to_owned();
            // A closing page no longer listens.
            drop(listener.send(Event { method, parameters: message["params"].take() }));
        }
    }
}
