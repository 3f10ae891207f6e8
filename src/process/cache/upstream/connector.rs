//! Connections as `ureq` makes them, with an eye on what comes after the content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Lets nothing but HTTP and HTTPS pass, wherever a redirection leads.
#[derive(Debug)]
pub struct HttpOnly;

impl<In: Transport> Connector<In> for HttpOnly {
    type Out = In;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<In>, Error> {
        match details.uri.scheme_str() {
            Some("http" | "https") => Ok(chained),
            _ => Err(Error::BadUri(details.uri.to_string())),
        }
    }
}

/// Whether more bytes have come on a connection than it had content, when it was given up or kept.
#[derive(Clone, Debug, Default)]
pub struct Excess(Arc<AtomicBool>);

impl Excess {
    /// Whether that was so since the last time.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Takes note of bytes that nobody has asked for.
#[derive(Debug)]
pub struct Watch(pub Excess);

/// A connection that is watched.
#[derive(Debug)]
pub struct Watched<T: Transport> {
    inner: T,
    excess: Excess,
}

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Watched<In>>, Error> {
        Ok(chained.map(|inner| Watched { inner, excess: self.0.clone() }))
    }
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<T: Transport> Drop for Watched<T> {
    fn drop(&mut self) {
        // `ureq` keeps no connection that has bytes left over, and drops it as soon as the content was read.
        if !self.inner.buffers().input().is_empty() {
            self.excess.0.store(true, Ordering::Relaxed);
        }
    }
}
