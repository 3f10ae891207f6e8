//! Lines of the access log: whatever a client sends, there is one line, and its fields are where they belong.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bank_vault::store::access_log::{Entry, LONGEST_LINE, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[seed, first, second], rest)) = data.split_first_chunk() else { return };
    let (request, rest) = rest.split_at(rest.len() * usize::from(first) / 256);
    let (referer, agent) = rest.split_at(rest.len() * usize::from(second) / 256);
    let some = |text| Some(text).filter(|_| seed % 2 == 0);
    let number = u64::from(seed) << 55;
    let mut stamp = Timestamp::default();
    let entry = Entry {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        time: stamp.at(number),
        request,
        status: 200,
        bytes: number,
        referer: some(referer),
        agent: some(agent),
        duration: Duration::from_micros(number),
        cache_status: (seed % 3 == 0).then_some("revalidated"),
    };
    let mut line = b"the line before\n".to_vec();
    let before = line.len();
    entry.write(&mut line);
    let line = &line[before..];
    assert!(line.len() <= LONGEST_LINE);
    let text = line.strip_suffix(b"\n").expect("a line ends");
    assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)));
    assert_eq!(text.iter().filter(|byte| **byte == b'"').count(), 6);
});
