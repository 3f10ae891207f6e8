//! GetFile's protocol: bytes to messages and back, as `docs/GETFILE.md` has it. It knows no sockets and no files.

pub mod request;
#[cfg(test)]
mod request_tests;
pub mod response;
#[cfg(test)]
mod response_tests;

/// What ends the head of a request and of a response.
pub const END: &[u8] = b"\r\n\r\n";
