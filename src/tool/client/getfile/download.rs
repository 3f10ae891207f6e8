//! One file from the server: the request, the head of the response, and the content part by part.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use crate::service::getfile::wire::request::{MAX_REQUEST_BYTES, RequestPath};
use crate::service::getfile::wire::response::Response;
use crate::tool::client::connection::{Server, socket_timeout};
use crate::tool::client::getfile::failure::Failure;
use crate::tool::client::interrupt;

/// Bytes of the buffer that a download needs: the most that is read at once, and far more than a head.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// A response whose head was read, with its content still to come from `stream`.
pub struct Download<'b, S = TcpStream> {
    stream: S,
    timeout: Duration,
    buffer: &'b mut [u8],
    /// Where in the buffer content is that was not handed out yet.
    unread: Range<usize>,
    length: u64,
    received: u64,
}

impl<'b> Download<'b> {
    /// Connects, asks for `path`, and reads the head of the response. A status other than OK is a failure.
    pub fn start(server: &Server, path: RequestPath<'_>, buffer: &'b mut [u8]) -> Result<Download<'b>, Failure> {
        let mut stream = server.connect().map_err(Failure::NoConnection)?;
        let mut request = Vec::with_capacity(MAX_REQUEST_BYTES);
        path.write_request(&mut request);
        stream.write_all(&request).map_err(Failure::Lost)?;
        Download::read_head(stream, server.target.timeout, buffer)
    }
}

impl<'b, S: Read> Download<'b, S> {
    /// Reads the head of a response. Reads of the stream must themselves end after [`socket_timeout`].
    fn read_head(mut stream: S, timeout: Duration, buffer: &'b mut [u8]) -> Result<Download<'b, S>, Failure> {
        let mut filled = 0;
        loop {
            match read(&mut stream, &mut buffer[filled..], timeout)? {
                0 => {
                    return Err(Failure::Lost(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "it ended without a whole response",
                    )));
                }
                count => filled += count,
            }
            match Response::parse(&buffer[..filled]).map_err(Failure::Malformed)? {
                None => {}
                Some((Response::Ok(length), head)) => {
                    return Ok(Download { stream, timeout, buffer, unread: head..filled, length, received: 0 });
                }
                Some((other, _)) => return Err(Failure::Status(other)),
            }
        }
    }

    /// How many bytes the content has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next part of the content; `None` after its last byte. What follows that is not read.
    pub fn next_part(&mut self) -> Result<Option<&[u8]>, Failure> {
        let most = usize::try_from(self.length - self.received).unwrap_or(usize::MAX);
        if most == 0 {
            return Ok(None);
        }
        if self.unread.is_empty() {
            let room = most.min(self.buffer.len());
            self.unread = 0..read(&mut self.stream, &mut self.buffer[..room], self.timeout)?;
            if self.unread.is_empty() {
                return Err(Failure::Short { received: self.received, length: self.length });
            }
        }
        let end = self.unread.start + most.min(self.unread.len());
        let part = self.unread.start..end;
        self.unread.start = end;
        self.received += part.len() as u64;
        Ok(Some(&self.buffer[part]))
    }
}

/// Reads once; 0 bytes at the end of the stream. Waits until `timeout`, or until the grace after an interruption is over.
fn read(stream: &mut impl Read, into: &mut [u8], timeout: Duration) -> Result<usize, Failure> {
    let mut waited = Duration::ZERO;
    loop {
        // Also where bytes keep coming: a large file must not hold up the end of the run.
        if interrupt::grace_is_over() {
            return Err(Failure::Interrupted);
        }
        match stream.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                waited += socket_timeout(timeout);
                if waited >= timeout {
                    return Err(Failure::Timeout(timeout));
                }
            }
            done => return done.map_err(Failure::Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that brings these pieces, then ends.
    struct Pieces<'p>(Vec<&'p [u8]>);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(first) = self.0.first_mut() else { return Ok(0) };
            let count = first.read(into)?;
            if first.is_empty() {
                self.0.remove(0);
            }
            Ok(count)
        }
    }

    /// What is had of a response that comes in these pieces.
    fn content(pieces: Vec<&[u8]>, buffer: usize) -> Result<Vec<u8>, Failure> {
        let mut buffer = vec![0; buffer];
        let mut download = Download::read_head(Pieces(pieces), Duration::from_secs(1), &mut buffer)?;
        let mut content = Vec::new();
        while let Some(part) = download.next_part()? {
            content.extend_from_slice(part);
        }
        Ok(content)
    }

    #[test]
    fn content_is_whole_however_it_comes() {
        let response = b"GETFILE OK 10\r\n\r\n0123456789 and what follows";
        for buffer in [128, BUFFER_BYTES] {
            for cut in 0..response.len() {
                let (first, second) = response.split_at(cut);
                let pieces = [first, second].into_iter().filter(|piece| !piece.is_empty()).collect();
                assert_eq!(content(pieces, buffer).unwrap(), b"0123456789", "cut at {cut}");
            }
            assert_eq!(content(response.chunks(1).collect(), buffer).unwrap(), b"0123456789");
        }
        assert_eq!(content(vec![b"GETFILE OK 0\r\n\r\nno content"], 128).unwrap(), b"");
    }

    #[test]
    fn an_early_end_is_seen_wherever_it_is() {
        let response = b"GETFILE OK 10\r\n\r\n0123456789";
        let head = response.len() - 10;
        for cut in 1..response.len() {
            let failure = content(vec![&response[..cut]], 128).unwrap_err();
            match failure {
                Failure::Lost(_) => assert!(cut < head, "cut at {cut}"),
                Failure::Short { received, length: 10 } => assert_eq!(received, (cut - head) as u64),
                other => panic!("cut at {cut}: {other}"),
            }
        }
        let endless = content(vec![b"GETFILE OK 18446744073709551615\r\n\r\nx"], 128);
        assert!(matches!(endless, Err(Failure::Short { received: 1, length: u64::MAX })));
    }

    #[test]
    fn silence_ends_after_the_timeout() {
        struct Silent(u32);
        impl Read for Silent {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let mut silent = Silent(0);
        let failure = read(&mut silent, &mut [0; 8], Duration::from_secs(1)).unwrap_err();
        assert!(matches!(failure, Failure::Timeout(_)) && silent.0 == 10, "{failure} after {} reads", silent.0);
    }
}
