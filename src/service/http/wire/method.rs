//! The methods that this service implements.

/// A method that files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The file is sent.
    Get,
    /// Only the head of the response to GET is sent.
    Head,
}
