//! Fetches by HTTPS. The key in `test_certificates/` is known to everybody, and protects nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Settings, Upstream};
use crate::base::config::{BadRoots, BaseUrl, Roots};
use crate::process::cache::core::{Head, Validators};
use crate::process::cache::origin::{Failure, Said, Transfer};

const AUTHORITY: &[u8] = include_bytes!("test_certificates/authority.pem");
const SERVER: &[u8] = include_bytes!("test_certificates/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("test_certificates/server_key.pem");

/// An upstream that speaks TLS, and answers every request with these bytes.
fn upstream_saying(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let certificate = CertificateDer::from_pem_slice(SERVER).unwrap();
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                    if stream.write_all(answer).and_then(|()| stream.flush()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// What one fetch brings.
fn fetch(url: &str, roots: Roots) -> Result<(Head, Vec<u8>), Failure> {
    let (wake, woken) = unbounded();
    let settings = Settings { url: BaseUrl::new(url).unwrap(), timeout: Duration::from_secs(5), roots, threads: 1 };
    let upstream = Upstream::new(settings, Arc::new(move || _ = wake.send(())));
    let transfer = upstream.fetch(b"/a", Validators::default())?;
    let Some(head) = next(&transfer, &woken)? else { panic!("no head") };
    let Said::Head(head) = head else { panic!("{head:?}") };
    let mut content = Vec::new();
    while let Some(said) = next(&transfer, &woken)? {
        let Said::Chunk(bytes) = said else { panic!("{said:?}") };
        content.extend_from_slice(&bytes);
    }
    Ok((head, content))
}

/// What is said next, until all is.
fn next(transfer: &Transfer, woken: &Receiver<()>) -> Result<Option<Said>, Failure> {
    loop {
        match transfer.next() {
            Some(Said::Whole) => return Ok(None),
            Some(Said::Failed(failure)) => return Err(failure),
            Some(said) => return Ok(Some(said)),
            None => woken.recv_timeout(Duration::from_secs(10)).expect("nothing is said"),
        }
    }
}

#[test]
fn an_upstream_is_believed_that_is_certified_and_no_other() {
    let address = upstream_saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let url = format!("https://{address}");
    let head = Head::Found { length: Some(5), validators: Validators::default() };
    let trusted = || Roots::from_pem(AUTHORITY).unwrap();
    assert_eq!(fetch(&url, trusted()), Ok((head, b"hello".into())));
    // By nobody who is known, and then for an address, but not for this name.
    let elsewhere = format!("https://localhost:{}", address.port());
    for (url, roots) in [(&url, Roots::default()), (&elsewhere, trusted())] {
        let failure = fetch(url, roots).unwrap_err();
        assert!(failure.to_string().contains("invalid peer certificate"), "{failure}");
    }
}

#[test]
fn content_that_is_longer_than_it_says_is_seen_through_tls_too() {
    let address = upstream_saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello");
    let roots = Roots::from_pem(AUTHORITY).unwrap();
    assert_eq!(fetch(&format!("https://{address}"), roots), Err(Failure::WrongLength));
}

#[test]
fn certificates_that_cannot_be_used_are_refused() {
    assert_eq!(Roots::from_pem(b"").unwrap_err(), BadRoots::Empty);
    assert_eq!(Roots::from_pem(SERVER_KEY).unwrap_err(), BadRoots::Empty);
    let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert!(matches!(Roots::from_pem(broken), Err(BadRoots::Malformed(_))));
}
