//! HTTP/1.1 client for backends: the wire format (`codec`), and a connection driven by the request that awaits its
//! response (`connection`), without a task or a channel of its own.

pub mod codec;
mod connection;
mod output;
mod request_sender;
mod stream;

pub use codec::Fault;
pub(crate) use connection::Connection;
pub(crate) use output::Output;
pub(crate) use request_sender::{BodyFraming, RequestSender, SendingRest};
pub(crate) use stream::{BufferedStream, Stream, Transport};
