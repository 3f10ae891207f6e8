//! HTTP/1.1 messages as bytes (RFC 9110 and 9112, RFC 3986 for targets): requests are read, responses are written. Pure: no
//! descriptor, no clock, no thread.
//!
//! [`parse`] reads the bytes that a client sent and returns a [`Request`], or a [`Rejection`] with the status to answer.
//! [`TargetPath::parse`] makes its target a path that cannot leave the root. What [`rules`](super::rules) decide about a file is
//! a [`FileResponse`], which writes its head and says which bytes of the file follow. Everything else gets a small page, by
//! [`write_error`] or [`write_redirect`].
//!
//! Requests are read strictly. If two readers of the same bytes can disagree about where a request ends, then a proxy in front
//! of this service can be made to see other requests than this service does (request smuggling). Therefore a request that is
//! ambiguous in any way is answered with 400, and the connection is closed.

mod authority;
mod date;
pub(super) mod fields;
mod general_fields;
mod header_fields;
mod page;
mod representation;
mod request;
mod request_line;
mod response;
mod status;
mod target;

pub use date::{HttpDate, parse_date};
pub use fields::{ListField, SingletonField};
pub use general_fields::{ConnectionField, GeneralFields};
pub use header_fields::Conditions;
pub use page::{Generated, PageContent, write_error, write_generated, write_redirect};
pub use representation::{ETag, Representation, RepresentationMetadata};
pub use request::{Rejection, Request, content_for, parse};
pub use request_line::Method;
pub use response::{Body, BodyPart, FileResponse};
pub use status::Status;
pub use target::TargetPath;
