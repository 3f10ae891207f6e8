//! Which response a request for a file gets.

use super::{preconditions, ranges};
use crate::service::http::wire::{Conditions, FileResponse, HttpDate, Method, Representation, SingletonField};

/// Evaluates the conditions in the order that RFC 9110 (section 13.2.2) prescribes, for a response with this Date. It allocates
/// only if several ranges are requested.
#[must_use]
pub fn decide(method: Method, conditions: &Conditions, file: &Representation, date: &HttpDate) -> FileResponse {
    if !preconditions::may_proceed(conditions, file, date) {
        return FileResponse::PreconditionFailed;
    }
    if preconditions::is_known(conditions, file, date) {
        return FileResponse::NotModified;
    }
    let response = match (method, conditions.range) {
        (Method::Get, SingletonField::Once(range)) if preconditions::range_applies(conditions.if_range, file, date) => {
            ranges::select(range, file.metadata().length)
        }
        _ => FileResponse::Full,
    };
    match response {
        // Content-Encoding would apply to all parts together, with their delimiters.
        FileResponse::Multipart(_) if file.metadata().gzipped => FileResponse::Full,
        response => response,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
