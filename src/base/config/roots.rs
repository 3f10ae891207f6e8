//! Whom an upstream of HTTPS is to be certified by.

use std::path::Path;

use thiserror::Error;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Why certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadRoots {
    /// It is not PEM.
    #[error("not PEM: {0}")]
    Malformed(String),
    /// There is none.
    #[error("there is no certificate in it")]
    Empty,
}

/// Authorities of certification: by default those that Mozilla trusts, as of when the program was built.
#[derive(Clone, Debug)]
pub struct Roots(RootCerts);

impl Default for Roots {
    fn default() -> Self {
        Roots(RootCerts::WebPki)
    }
}

impl Roots {
    /// Those of the file at `path`, and no others; without a path the default.
    ///
    /// # Errors
    /// The file cannot be read or used; in words that name it.
    pub fn read(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Roots::default()) };
        let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Roots::from_pem(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// As the client of HTTP takes them.
    #[must_use]
    pub fn certificates(&self) -> RootCerts {
        self.0.clone()
    }

    /// Those of a text in the format PEM, and no others.
    ///
    /// # Errors
    /// It is not PEM, or has no certificate.
    pub fn from_pem(text: &[u8]) -> Result<Self, BadRoots> {
        let mut certificates: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(text) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| BadRoots::Malformed(error.to_string()))? {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() { Err(BadRoots::Empty) } else { Ok(Roots(RootCerts::from(certificates))) }
    }
}
