//! Passes at most one open file beside the first byte of an order.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// The byte that files come with: a blank, which JSON begins with as well as without.
const BYTE: u8 = b' ';

/// Sends one byte, with a file beside it if there is one.
///
/// # Errors
/// Errors of the socket.
pub(super) fn send(to: impl AsFd, file: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = file.map(AsFd::as_fd).into_iter().collect();
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(to, &[IoSlice::new(&[BYTE])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives what [`send`] sent.
///
/// # Errors
/// Errors of the socket; [`io::ErrorKind::UnexpectedEof`] where nothing was sent.
pub(super) fn receive(from: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    Ok(files.flatten().next())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_file_arrives_before_the_bytes_that_follow_it() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(&near, Some(&OwnedFd::from(writer))).unwrap();
        near.write_all(b"{}").unwrap();
        let received = receive(&far).unwrap().unwrap();
        io::PipeWriter::from(received).write_all(b"hi").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        send(&near, None).unwrap();
        drop(near);
        let mut rest = [0; 2];
        far.read_exact(&mut rest).unwrap();
        assert_eq!((text.as_str(), &rest), ("hi", b"{}"));
        assert!(receive(&far).unwrap().is_none());
        assert_eq!(receive(&far).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
