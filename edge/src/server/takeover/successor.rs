//! The side of the new edge: finds the running one, takes its sockets and the catalog, and reports that it serves.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::SOCKET_NAME;
use super::wire::{self, Answer, Listener, Listening, PROTOCOL, Request, Sent};
use crate::catalog::{Catalog, Committed};
use crate::server::error::StartError;

/// Longest wait for an answer of the running edge. It lets deploys end before it releases the catalog.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// The connection to the running edge.
pub(crate) struct Successor {
    stream: UnixStream,
    /// The running edge's process.
    pid: u32,
}

/// The sockets of the running edge.
#[derive(Default)]
pub(crate) struct Inherited(Vec<(Listening, TcpListener)>);

impl Successor {
    /// Connects to the edge that runs over this data folder, and takes copies of its sockets. `None` where none runs.
    ///
    /// # Errors
    /// [`StartError::TakeOver`] where it refuses.
    pub(crate) fn find(data_dir: &Path) -> Result<Option<(Self, Inherited)>, StartError> {
        // Where no edge runs there is no socket, or one that nobody listens on.
        let Ok(stream) = UnixStream::connect(data_dir.join(SOCKET_NAME)) else { return Ok(None) };
        let failed = |error: io::Error| StartError::TakeOver { reason: error.to_string() };
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(failed)?;
        let mut successor = Self { stream, pid: 0 };
        let (pid, sockets) = match successor.ask(&Request::Begin { protocol: PROTOCOL, pid: std::process::id() }) {
            Ok(Answer::Sockets { pid, sockets }) => (pid, sockets),
            Ok(Answer::Refused { pid, reason }) => return Err(refused(pid, &reason)),
            Ok(Answer::Released) => return Err(failed(io::ErrorKind::InvalidData.into())),
            Err(error) => return Err(failed(error)),
        };
        successor.pid = pid;
        let mut descriptors = Vec::with_capacity(sockets.len());
        while descriptors.len() < sockets.len() {
            descriptors.extend(wire::receive_descriptors(&successor.stream).map_err(failed)?);
        }
        let sockets = sockets.into_iter().zip(descriptors.into_iter().map(TcpListener::from));
        Ok(Some((successor, Inherited(sockets.collect()))))
    }

    /// Has the running edge release the catalog.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn take_catalog(&mut self) -> Result<(), StartError> {
        match self.ask(&Request::Release) {
            Ok(Answer::Released) => {
                tracing::info!(pid = self.pid, "the catalog was taken over from the running edge");
                Ok(())
            }
            Ok(Answer::Refused { pid, reason }) => Err(refused(pid, &reason)),
            Ok(Answer::Sockets { .. }) => Err(refused(self.pid, "it answered something else")),
            Err(error) => Err(refused(self.pid, &error.to_string())),
        }
    }

    /// Reports that this edge serves, upon which the other one drains, and passes on to it what is committed from
    /// `commits`, which began when the catalog was opened.
    ///
    /// # Errors
    /// [`StartError::TakeOver`] where the running edge is gone, which may have taken the catalog back.
    pub(crate) fn serve(
        mut self,
        control: &Runtime,
        commits: Receiver<Committed>,
        catalog: &Arc<dyn Catalog>,
    ) -> Result<(), StartError> {
        catalog.check_in_place()?;
        let failed = |error: io::Error| StartError::TakeOver { reason: error.to_string() };
        self.stream.write_all(&wire::frame(&Request::Serving).map_err(failed)?).map_err(failed)?;
        self.stream.set_nonblocking(true).map_err(failed)?;
        tracing::info!(pid = self.pid, "this edge serves, and the other one drains");
        let _inside = control.enter();
        let stream = tokio::net::UnixStream::from_std(self.stream).map_err(failed)?;
        control.spawn(pass_on(stream, commits));
        Ok(())
    }

    fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.stream.write_all(&wire::frame(request)?)?;
        wire::read(&self.stream)
    }
}

fn refused(pid: u32, reason: &str) -> StartError {
    StartError::TakeOver { reason: format!("process {pid}: {reason}") }
}

/// Passes commits on until the other edge has drained.
async fn pass_on(mut to: tokio::net::UnixStream, mut commits: Receiver<Committed>) {
    loop {
        match commits.recv().await {
            Ok(committed) => {
                let Ok(frame) = wire::frame(&Request::Committed(Sent::from(&committed))) else { continue };
                if to.write_all(&frame).await.is_err() {
                    return;
                }
            }
            // It goes on with what it knows, for as long as it drains.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

impl Inherited {
    /// Takes the sockets of a listener that is configured to listen on `address`: those of the same address, and for
    /// a port that the system chose, those of the same IP address.
    pub(crate) fn take(&mut self, listener: Listener, address: SocketAddr) -> Vec<TcpListener> {
        let is_meant = |listening: &Listening| {
            let same = listening.address == address || (address.port() == 0 && listening.address.ip() == address.ip());
            listening.listener == listener && same
        };
        self.0.extract_if(.., |(listening, _)| is_meant(listening)).map(|(_, socket)| socket).collect()
    }
}
