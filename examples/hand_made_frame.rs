//! A request made by hand, byte by byte, sent to a server; and its answer taken apart again.
//!
//!     cargo run --bin master                                          (in one terminal)
//!     cargo run --example hand_made_frame -- 127.0.0.1:7777           (in another)
//!
//! It uses the standard library and nothing else, so it is also a recipe for a client in any language. The request is
//! PING, the one that needs no login:
//!
//!     bytes   field    meaning (all numbers big-endian)
//!     0..4    length   of the whole frame, these four bytes included
//!     4..6    magic    0xC0DE
//!     6       version  1
//!     7       flags    bit 0 body is XOR-encrypted, bit 1 error response, bit 2 an idempotency key precedes the body,
//!                      bit 3 the last LSN seen does, bit 4 the answer is to carry an LSN (all 0 here)
//!     8..10   opcode   0x00F0 is PING
//!     10..14  seq      any number; the answer repeats it
//!     14..18  crc32    over header and body, computed with zeros in this place
//!     18..    body     none in a PING; in its answer a status (u16) and the server's clock (u64, ms since 1970)

use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HEADER_BYTES: usize = 18;
const MAGIC: u16 = 0xC0DE;
const VERSION: u8 = 1;
const FLAG_ERROR: u8 = 0b10;
const PING: u16 = 0x00F0;
/// No answer is longer than this; a length beyond it is a mistake, and must not make us wait or allocate.
const MAX_FRAME_BYTES: usize = 4096;
/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let Some(server) = env::args().nth(1) else {
        eprintln!("usage: hand_made_frame HOST:PORT, for example 127.0.0.1:7777");
        return ExitCode::from(2);
    };
    match run(&server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hand_made_frame: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(server: &str) -> Result<()> {
    let seq = std::process::id();
    let request = ping(seq);
    print_frame("request", &request);

    let mut connection = TcpStream::connect(server).map_err(|e| format!("cannot connect to {server}: {e}"))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(&request)?;
    let answer = read_frame(&mut connection).map_err(|e| format!("no whole answer from {server}: {e}"))?;
    print_frame("answer", &answer);

    check_answer(&answer, seq)?;
    let milliseconds = u64::from_be_bytes(field(&answer, HEADER_BYTES + 2)?);
    println!("OK: the server's clock says {milliseconds} ms since 1970");
    Ok(())
}

/// The eighteen bytes of a PING.
fn ping(seq: u32) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES);
    frame.extend_from_slice(&18_u32.to_be_bytes());
    frame.extend_from_slice(&MAGIC.to_be_bytes());
    frame.push(VERSION);
    frame.push(0); // no flags
    frame.extend_from_slice(&PING.to_be_bytes());
    frame.extend_from_slice(&seq.to_be_bytes());
    // The checksum covers its own place as zeros; only then is it put there.
    frame.extend_from_slice(&[0; 4]);
    let sum = crc32(&frame);
    frame[14..18].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Reads one frame: TCP keeps no message apart, so first the header, then as much as its length says.
fn read_frame(connection: &mut TcpStream) -> Result<Vec<u8>> {
    let mut frame = vec![0; HEADER_BYTES];
    connection.read_exact(&mut frame)?;
    let length = usize::try_from(u32::from_be_bytes(field(&frame, 0)?))?;
    if !(HEADER_BYTES..=MAX_FRAME_BYTES).contains(&length) {
        return Err(format!("the answer claims to have {length} bytes").into());
    }
    frame.resize(length, 0);
    connection.read_exact(&mut frame[HEADER_BYTES..])?;
    Ok(frame)
}

/// Whether this is the good answer to our PING; each complaint names the field.
fn check_answer(frame: &[u8], seq: u32) -> Result<()> {
    let told = u32::from_be_bytes(field(frame, 14)?);
    let mut zeroed = frame.to_vec();
    zeroed[14..18].fill(0);
    let computed = crc32(&zeroed);
    let checks = [
        ("crc32", told == computed),
        ("magic", u16::from_be_bytes(field(frame, 4)?) == MAGIC),
        ("version", frame[6] == VERSION),
        ("opcode", u16::from_be_bytes(field(frame, 8)?) == PING),
        ("seq", u32::from_be_bytes(field(frame, 10)?) == seq),
    ];
    if let Some((name, _)) = checks.iter().find(|(_, right)| !right) {
        return Err(format!("the answer's {name} is wrong").into());
    }
    let status = u16::from_be_bytes(field(frame, HEADER_BYTES)?);
    if frame[7] & FLAG_ERROR != 0 || status != 0 {
        return Err(format!("the server refused with status {status}").into());
    }
    Ok(())
}

/// CRC-32 as in IEEE 802.3, bit by bit: slow, and short enough to check by eye. Each bit that falls out at the low end
/// takes the (mirrored) polynomial off what is left.
fn crc32(bytes: &[u8]) -> u32 {
    let mut rest = u32::MAX;
    for byte in bytes {
        rest ^= u32::from(*byte);
        for _ in 0..8 {
            let fell_out = rest & 1;
            rest >>= 1;
            if fell_out == 1 {
                rest ^= 0xEDB8_8320;
            }
        }
    }
    !rest
}

/// The bytes of a number that begins at `start`.
fn field<const BYTES: usize>(frame: &[u8], start: usize) -> Result<[u8; BYTES]> {
    let bytes = frame.get(start..start + BYTES).ok_or("the answer is too short")?;
    Ok(bytes.try_into()?)
}

fn print_frame(title: &str, frame: &[u8]) {
    println!("{title}, {} bytes:", frame.len());
    let fields = [
        ("length", 0..4),
        ("magic", 4..6),
        ("version", 6..7),
        ("flags", 7..8),
        ("opcode", 8..10),
        ("seq", 10..14),
        ("crc32", 14..18),
        ("status", 18..20),
        ("server_time_ms", 20..28),
    ];
    for (name, place) in fields {
        if let Some(bytes) = frame.get(place) {
            let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("  {name:<14} {}", hex.join(" "));
        }
    }
}
