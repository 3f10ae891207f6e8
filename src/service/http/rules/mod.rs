//! The rules of HTTP/1.1 for a service of static files (RFC 9110, 9111, 9112, and 3986 for targets). Pure: no descriptor,
//! no clock, no thread; whoever reads sockets and files asks here what they mean and what to answer.
//!
//! The way of a request: [`parse`] takes the bytes that a client sent and gives a [`Request`], or the [`Rejection`] to answer.
//! [`Place::of`] makes its target a path that cannot leave the root. The path's file is looked for in a [`Cache`], which
//! knows it as a [`Sheet`]: its [`Entity`] with a head made beforehand. [`decide`] holds the request's conditions and ranges
//! against it, and the [`Answer`] writes its head and says which bytes of the file follow. Everything else (an error, a
//! directory without its slash) gets a small page, by [`write_error`] or [`write_redirect`].
//!
//! Requests are read strictly. Where two readers of the same bytes can disagree about where a request ends, a proxy in
//! front of this service can be made to see other requests than it does (request smuggling), so whatever is not plainly
//! right is answered with 400, and the connection ends.

mod answer;
mod authority;
mod cache;
mod date;
mod decide;
mod entity;
mod fields;
mod head;
mod page;
mod request;
mod start_line;
mod status;
mod target;

pub use answer::{Body, Piece, Tail};
pub use cache::{Cache, Counters, Hold, Refused};
pub use date::{DateText, parse_date};
pub use decide::{Answer, decide};
pub use entity::{ContentType, ETag, Entity, Sheet};
pub use fields::{Line, List};
pub use page::{Content, Made, write_error, write_made, write_redirect};
pub use request::{Conditions, Connection, Method, Rejection, Request, content_for, parse};
pub use status::Status;
pub use target::{Place, TargetError};
