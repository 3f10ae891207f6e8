//! Which response a request for a file gets, by its conditions (RFC 9110, section 13.1).

use super::ranges;
use crate::service::http::wire::fields::{entity_tags, trim};
use crate::service::http::wire::{
    Conditions, FileResponse, HttpDate, ListField, Method, Representation, SingletonField, parse_date,
};

/// Evaluates the conditions in the order that RFC 9110 (section 13.2.2) prescribes, for a response with this Date. It allocates
/// only if several ranges are requested.
#[must_use]
pub fn decide(method: Method, conditions: &Conditions, file: &Representation, date: &HttpDate) -> FileResponse {
    if !may_proceed(conditions, file, date) {
        return FileResponse::PreconditionFailed;
    }
    if is_known(conditions, file, date) {
        return FileResponse::NotModified;
    }
    let response = match (method, conditions.range) {
        (Method::Get, SingletonField::Once(range)) if range_applies(conditions.if_range, file, date) => {
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

/// Whether If-Match, or in its absence If-Unmodified-Since, is true.
fn may_proceed(conditions: &Conditions, file: &Representation, date: &HttpDate) -> bool {
    match (conditions.if_match, conditions.if_unmodified_since) {
        (ListField::Absent, since) => date_of(since, date).is_none_or(|since| file.modified_at(date) <= since),
        (list, _) => matches(list, file, Comparison::Strong),
    }
}

/// Whether If-None-Match, or in its absence If-Modified-Since, is false: the client has this representation.
fn is_known(conditions: &Conditions, file: &Representation, date: &HttpDate) -> bool {
    match (conditions.if_none_match, conditions.if_modified_since) {
        (ListField::Absent, since) => date_of(since, date).is_some_and(|since| file.modified_at(date) <= since),
        (list, _) => matches(list, file, Comparison::Weak),
    }
}

/// The date of a field. A value that is no date, or a repeated field, is ignored (RFC 9110, section 13.1.3 and 13.1.4).
fn date_of(field: SingletonField, date: &HttpDate) -> Option<i64> {
    field.once().and_then(|value| parse_date(value, date.seconds()))
}

/// Whether Range applies: If-Range is absent, or it names this very representation. A date must be equal to Last-Modified, and is
/// a strong validator only if the second that it names is over (RFC 9110, section 13.1.5).
fn range_applies(if_range: SingletonField, file: &Representation, date: &HttpDate) -> bool {
    match if_range {
        SingletonField::Absent => true,
        SingletonField::Repeated => false,
        SingletonField::Once(value) if value.starts_with(b"\"") || value.starts_with(b"W/") => {
            value == file.metadata().etag.quoted().as_bytes()
        }
        SingletonField::Once(value) => {
            let modified = file.modified_at(date);
            modified < date.seconds() && parse_date(value, date.seconds()) == Some(modified)
        }
    }
}

/// How entity tags are compared (RFC 9110, section 8.8.3.2). Our own are strong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

fn matches(list: ListField, file: &Representation, comparison: Comparison) -> bool {
    let own = file.metadata().etag.quoted().as_bytes();
    let is_own =
        |value| entity_tags(value).any(|tag| tag.opaque == own && (!tag.weak || comparison == Comparison::Weak));
    // An asterisk must stand alone.
    matches!(list, ListField::Once(value) if trim(value) == b"*") || list.values().any(is_own)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
