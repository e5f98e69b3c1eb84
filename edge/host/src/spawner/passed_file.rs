//! Passes open files along with the first byte of an order or an answer.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// Byte sent along with files: a blank, which is valid before JSON.
const BYTE: u8 = b' ';
/// Maximum files at once.
const FILES_MAX: usize = 3;

/// Sends one byte, with files if any.
///
/// # Errors
/// Errors of the socket, and [`io::ErrorKind::InvalidInput`] for too many files.
pub(super) fn send(to: impl AsFd, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(to, &[IoSlice::new(&[BYTE])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives the byte of [`send`] with at most one file.
///
/// # Errors
/// Errors of the socket; [`io::ErrorKind::UnexpectedEof`] at the end of the socket.
pub(super) fn receive(from: impl AsFd) -> io::Result<Option<OwnedFd>> {
    match receive_some(from, &mut [0])? {
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (_, files) => Ok(files.into_iter().next()),
    }
}

/// Receives bytes with their files; no bytes at the end.
///
/// # Errors
/// Errors of the socket.
pub(super) fn receive_some(from: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(from, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    Ok((received.bytes, files.flatten().collect()))
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
        send(&near, &[writer.as_fd()]).unwrap();
        drop(writer);
        near.write_all(b"{}").unwrap();
        let received = receive(&far).unwrap().unwrap();
        io::PipeWriter::from(received).write_all(b"hi").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        send(&near, &[]).unwrap();
        drop(near);
        let mut rest = [0; 2];
        far.read_exact(&mut rest).unwrap();
        assert_eq!((text.as_str(), &rest), ("hi", b"{}"));
        assert!(receive(&far).unwrap().is_none());
        assert_eq!(receive(&far).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn files_arrive_in_their_order_with_the_bytes_that_follow() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let pipes = [io::pipe().unwrap(), io::pipe().unwrap(), io::pipe().unwrap()];
        let sent = pipes.each_ref().map(|(reader, _)| reader.as_fd());
        let inode = |file: BorrowedFd<'_>| rustix::fs::fstat(file).unwrap().st_ino;
        send(&near, &sent).unwrap();
        near.write_all(b"{}").unwrap();
        drop(near);
        let (mut bytes, mut files) = (Vec::new(), Vec::new());
        loop {
            let mut buffer = [0; 8];
            let (count, came) = receive_some(&far, &mut buffer).unwrap();
            bytes.extend(buffer.iter().take(count));
            files.extend(came);
            if count == 0 {
                break;
            }
        }
        let found: Vec<u64> = files.iter().map(|file| inode(file.as_fd())).collect();
        assert_eq!((bytes.as_slice(), found), (&b" {}"[..], sent.map(inode).to_vec()));
    }
}
