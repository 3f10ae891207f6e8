//! What rpcbind is asked and answers (RFC 1833): pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::base::onc_rpc::{Reader, Sink, XdrError};

/// The program of rpcbind, and of the portmapper before it.
pub const RPCBIND: u32 = 100_000;
/// Versions of rpcbind that know netids; what is asked here is the same in both.
pub const RPCBIND_VERSIONS: [u32; 2] = [4, 3];
/// The version that is called portmapper.
pub const PORTMAPPER_VERSION: u32 = 2;

/// Make an entry: the same procedure in all versions.
pub const SET: u32 = 1;
/// Take an entry away: the same in all versions.
pub const UNSET: u32 = 2;
/// Of the portmapper: which port a program has; 0 for none.
pub const GETPORT: u32 = 3;
/// All entries: the same in all versions, in other words.
pub const DUMP: u32 = 4;

/// The number of TCP in the portmapper's entries.
const TCP: u32 = 6;
/// Bytes of a text of rpcbind's; more is none of its.
const MAX_TEXT_BYTES: usize = 1024;

/// What is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its number.
    pub program: u32,
    /// Its version.
    pub version: u32,
}

/// One registration: a program by one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The program.
    pub program: Program,
    /// How it is reached: "tcp" or "tcp6".
    pub netid: &'static str,
    /// Where.
    pub address: SocketAddr,
}

impl Entry {
    /// Those of a program that listens at `address`: by which transports it is reached there. Who listens at :: is reached by both.
    pub fn all(program: Program, address: SocketAddr) -> Vec<Entry> {
        let entry = |netid, host| Entry { program, netid, address: SocketAddr::new(host, address.port()) };
        match address.ip().to_canonical() {
            host @ IpAddr::V4(_) => vec![entry("tcp", host)],
            host @ IpAddr::V6(_) if host.is_unspecified() => {
                vec![entry("tcp6", host), entry("tcp", Ipv4Addr::UNSPECIFIED.into())]
            }
            host @ IpAddr::V6(_) => vec![entry("tcp6", host)],
        }
    }

    /// The address as rpcbind has it (RFC 5665, section 5.2.3): the host, and the two bytes of the port behind points.
    pub fn universal_address(&self) -> String {
        let [high, low] = self.address.port().to_be_bytes();
        format!("{}.{high}.{low}", self.address.ip())
    }

    /// Whether the portmapper can have it.
    pub fn is_old(&self) -> bool {
        self.netid == "tcp"
    }

    /// Writes it as rpcbind takes it, with the number of who registers it.
    pub fn write(&self, owner: u32, sink: &mut impl Sink) {
        sink.put_u32(self.program.program);
        sink.put_u32(self.program.version);
        for text in [self.netid, &self.universal_address(), &owner.to_string()] {
            sink.put_opaque(text.as_bytes());
        }
    }

    /// Writes it as the portmapper takes it.
    pub fn write_old(&self, sink: &mut impl Sink) {
        for number in [self.program.program, self.program.version, TCP, u32::from(self.address.port())] {
            sink.put_u32(number);
        }
    }

    /// The addresses at which the same program is registered by the same transport, from all that rpcbind has.
    ///
    /// # Errors
    /// [`XdrError`]: it is no such list.
    pub fn addresses_in(&self, results: &[u8]) -> Result<Vec<String>, XdrError> {
        let (mut reader, mut found) = (Reader::new(results), Vec::new());
        // Each entry takes bytes, so there are no more than fit.
        while reader.boolean()? {
            let program = Program { program: reader.u32()?, version: reader.u32()? };
            let (netid, address) = (reader.opaque(MAX_TEXT_BYTES)?, reader.opaque(MAX_TEXT_BYTES)?);
            let _owner = reader.opaque(MAX_TEXT_BYTES)?;
            if program == self.program && netid == self.netid.as_bytes() {
                found.push(String::from_utf8_lossy(address).escape_debug().to_string());
            }
        }
        reader.end().map(|()| found)
    }
}

/// Whether it was done, as SET and UNSET answer.
///
/// # Errors
/// [`XdrError`]: it is no such answer.
pub fn read_done(results: &[u8]) -> Result<bool, XdrError> {
    let mut reader = Reader::new(results);
    let done = reader.boolean()?;
    reader.end().map(|()| done)
}

/// The port, as GETPORT answers.
///
/// # Errors
/// [`XdrError`]: it is no such answer.
pub fn read_port(results: &[u8]) -> Result<Option<u16>, XdrError> {
    let mut reader = Reader::new(results);
    let port = reader.u32()?;
    reader.end()?;
    let port = u16::try_from(port).map_err(|_| XdrError::Unknown { what: "port", value: port })?;
    Ok((port != 0).then_some(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_reached_by_the_transports_of_its_address() {
        let program = Program { program: 7, version: 1 };
        let all = |address: &str| -> Vec<(String, String)> {
            let entries = Entry::all(program, address.parse().unwrap()).into_iter();
            entries.map(|entry| (entry.netid.to_owned(), entry.universal_address())).collect()
        };
        let pair = |netid: &str, address: &str| (netid.to_owned(), address.to_owned());
        assert_eq!(all("127.0.0.1:9001"), [pair("tcp", "127.0.0.1.35.41")]);
        assert_eq!(all("0.0.0.0:1"), [pair("tcp", "0.0.0.0.0.1")]);
        assert_eq!(all("[::1]:65535"), [pair("tcp6", "::1.255.255")]);
        assert_eq!(all("[::ffff:127.0.0.1]:256"), [pair("tcp", "127.0.0.1.1.0")]);
        assert_eq!(all("[::]:9001"), [pair("tcp6", "::.35.41"), pair("tcp", "0.0.0.0.35.41")]);
    }

    #[test]
    fn an_entry_has_the_bytes_of_the_rfc() {
        let program = Program { program: 0x3123_0018, version: 1 };
        let entry = &Entry::all(program, "127.0.0.1:9001".parse().unwrap())[0];
        let mut bytes = Vec::new();
        entry.write(1000, &mut bytes);
        let wanted = b"\x31\x23\0\x18\0\0\0\x01\0\0\0\x03tcp\0\0\0\0\x0f127.0.0.1.35.41\0\0\0\0\x041000";
        assert_eq!(bytes, wanted);
        let list = [b"\0\0\0\x01".as_slice(), &bytes, b"\0\0\0\0"].concat();
        assert_eq!(entry.addresses_in(&list), Ok(vec!["127.0.0.1.35.41".to_owned()]));
        for length in 0..list.len() {
            assert!(entry.addresses_in(&list[..length]).is_err(), "{length}");
        }
        let mut old = Vec::new();
        entry.write_old(&mut old);
        assert_eq!(old, b"\x31\x23\0\x18\0\0\0\x01\0\0\0\x06\0\0\x23\x29");
        assert_eq!((read_port(&[0, 0, 0x23, 0x29]), read_port(&[0; 4])), (Ok(Some(9001)), Ok(None)));
        assert_eq!(read_port(&[0, 1, 0, 0]), Err(XdrError::Unknown { what: "port", value: 65_536 }));
        assert_eq!((read_done(&[0; 4]), read_done(&[0; 8])), (Ok(false), Err(XdrError::Trailing(4))));
    }
}
