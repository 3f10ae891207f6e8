//! One request to the upstream, on the thread that carries it out.

use std::io::Read;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderValue, Response, header};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};
use ureq::{Agent, Body};

use super::connector::{Excess, HttpOnly, Watch};

use crate::base::config::Roots;
use crate::base::limits::{
    MAX_UPSTREAM_HEAD_BYTES, MAX_UPSTREAM_REDIRECTS, MAX_VALIDATOR_BYTES, UPSTREAM_CHUNK_BYTES, UPSTREAM_IDLE_SECONDS,
};
use crate::process::cache::core::{Head, Validators};
use crate::process::cache::origin::Failure;

/// A client of HTTP that keeps one connection.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    excess: Excess,
    /// Whether it may have a connection of an earlier fetch.
    pub is_used: bool,
}

/// What is to be fetched.
#[derive(Debug)]
pub struct Wanted {
    /// From where.
    pub url: String,
    /// What is known of it.
    pub validators: Validators,
}

/// An answer whose content, if it has any, is still to be read.
pub struct Answered {
    /// What is said of it.
    pub head: Head,
    response: Response<Body>,
}

impl Client {
    /// One that has no connection yet. `timeout` is for connecting, for the head, and for each wait for more content.
    pub fn new(timeout: Duration, roots: &Roots) -> Client {
        let timeout = Some(timeout);
        // There is no time-out for looking up the name: `ureq` would need a thread for it, and panic without one. The resolver's own
        // holds (`resolv.conf(5)`).
        let config = Agent::config_builder()
            .timeout_connect(timeout)
            .timeout_send_request(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .timeout_per_write(timeout)
            .http_status_as_error(false)
            .max_redirects(MAX_UPSTREAM_REDIRECTS)
            .max_redirects_will_error(true)
            .max_response_header_size(MAX_UPSTREAM_HEAD_BYTES)
            .input_buffer_size(2 * UPSTREAM_CHUNK_BYTES)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(Duration::from_secs(UPSTREAM_IDLE_SECONDS))
            // What is in the environment is not what the operator has told the server.
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots.certificates()).build())
            .user_agent("bank-vault")
            .accept_encoding("identity")
            .build();
        let excess = Excess::default();
        let connector =
            HttpOnly.chain(TcpConnector::default()).chain(RustlsConnector::default()).chain(Watch(excess.clone()));
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Client { agent, excess, is_used: false }
    }

    /// What shuts its connections down, from another thread.
    pub fn handle(&self) -> Agent {
        self.agent.clone()
    }

    /// Sends the request, and reads the head of the answer.
    pub fn ask(&mut self, wanted: &Wanted) -> Result<Answered, Failure> {
        self.is_used = true;
        let mut request = self.agent.get(&wanted.url);
        let conditions = [
            (header::IF_NONE_MATCH, &wanted.validators.etag),
            (header::IF_MODIFIED_SINCE, &wanted.validators.last_modified),
        ];
        for (name, value) in conditions {
            if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_bytes(value).ok()) {
                request = request.header(name, value);
            }
        }
        let response = request.call().map_err(|error| Failure::of_head(&error))?;
        // What a redirection has left over is not this content's.
        self.excess.take();
        let head = head(&response, !wanted.validators.is_empty())?;
        Ok(Answered { head, response })
    }

    /// Reads the content, and gives it to `take` piece by piece, until that returns `false`. Returns whether it came to its end.
    pub fn read(&self, answered: Answered, mut take: impl FnMut(&[u8]) -> bool) -> Result<bool, Failure> {
        let Head::Found { length, .. } = answered.head else { return Ok(true) };
        let mut reader = answered.response.into_body().into_reader();
        let mut buffer = vec![0; UPSTREAM_CHUNK_BYTES];
        let mut read = 0;
        loop {
            let bytes = reader.read(&mut buffer).map_err(Failure::of_content)?;
            if bytes == 0 {
                break;
            }
            read += bytes as u64;
            if !take(&buffer[..bytes]) {
                return Ok(false);
            }
        }
        match length {
            Some(length) if length != read => Err(Failure::WrongLength),
            _ if self.excess.take() => Err(Failure::WrongLength),
            _ => Ok(true),
        }
    }
}

/// What the head of an answer says.
fn head(response: &Response<Body>, was_conditional: bool) -> Result<Head, Failure> {
    match response.status().as_u16() {
        200 => found(response),
        304 if was_conditional => Ok(Head::NotModified),
        403 | 404 | 410 => Ok(Head::NotFound),
        status => Err(Failure::Status(status)),
    }
}

fn found(response: &Response<Body>) -> Result<Head, Failure> {
    let headers = response.headers();
    if let Some(coding) = headers.get_all(header::CONTENT_ENCODING).iter().find(|value| !is(value, "identity")) {
        return Err(Failure::Coded(told(coding)));
    }
    let lengths: Vec<&HeaderValue> = headers.get_all(header::CONTENT_LENGTH).iter().collect();
    let codings: Vec<&HeaderValue> = headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let length = match (&lengths[..], &codings[..]) {
        ([], [coding]) if is(coding, "chunked") => None,
        ([], []) => return Err(Failure::Endless),
        ([length, others @ ..], []) if others.iter().all(|other| other == length) => {
            let length = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = length.and_then(|text| text.parse().ok());
            Some(length.ok_or_else(|| Failure::Malformed("no such length".to_owned()))?)
        }
        ([], [coding, ..]) => return Err(Failure::Coded(told(coding))),
        _ => return Err(Failure::Malformed("two lengths".to_owned())),
    };
    let validators = Validators {
        etag: validator(headers, &header::ETAG),
        last_modified: validator(headers, &header::LAST_MODIFIED),
    };
    Ok(Head::Found { length, validators })
}

fn is(value: &HeaderValue, word: &str) -> bool {
    value.to_str().is_ok_and(|text| text.trim().eq_ignore_ascii_case(word))
}

/// A value in a message, not longer than that is worth.
fn told(value: &HeaderValue) -> String {
    let text = value.as_bytes();
    text[..text.len().min(40)].escape_ascii().to_string()
}

fn validator(headers: &HeaderMap, name: &header::HeaderName) -> Option<Box<[u8]>> {
    let value = headers.get(name)?.as_bytes();
    (!value.is_empty() && value.len() <= MAX_VALIDATOR_BYTES).then(|| value.into())
}
