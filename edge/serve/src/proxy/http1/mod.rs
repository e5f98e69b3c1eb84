//! HTTP/1.1 as it is spoken with backends: what stands on the wire (`codec`), and a connection that the request waiting
//! for it drives (`connection`), without a task or a channel of its own.

pub mod codec;
mod connection;
mod output;
mod request_sender;
mod stream;

pub use codec::Fault;
pub(crate) use connection::Connection;
pub(crate) use output::Output;
pub(crate) use request_sender::{BodyFraming, RequestSender, SendingRest};
pub(crate) use stream::{Early, Stream, Transport};
