//! The fields that every response has, whatever it is about.

use super::date::HttpDate;

/// The field by which the server names itself.
pub(super) const SERVER: &str = "Server: bank-vault\r\n";

/// The Connection field of a response. It is omitted where the version implies what it would say (RFC 9112, section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionField {
    /// The connection of HTTP/1.1 stays open.
    Omitted,
    /// The connection of HTTP/1.0 stays open.
    KeepAlive,
    /// The connection is closed after this response.
    Close,
}

impl ConnectionField {
    /// The field line with its line end, or nothing.
    #[inline]
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            ConnectionField::Omitted => "",
            ConnectionField::KeepAlive => "Connection: keep-alive\r\n",
            ConnectionField::Close => "Connection: close\r\n",
        }
    }
}

/// The fields that end every head: they depend on the moment and on the connection, and not on what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralFields<'a> {
    /// When the response is made.
    pub date: &'a HttpDate,
    /// Whether the connection stays open.
    pub connection: ConnectionField,
}

impl GeneralFields<'_> {
    /// Appends Date, Connection and the empty line.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(self.date.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.connection.line().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
