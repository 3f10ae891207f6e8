//! The examples hold what they claim: each ends with success only if what it shows is so.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;

use crate::cargo::cargo;

/// Builds and runs an example, as a reader would.
fn example(name: &str, arguments: &[&str]) -> Output {
    cargo().args(["run", "--quiet", "--example", name, "--"]).args(arguments).output().unwrap()
}

/// The standard output of an example that must succeed.
fn shown_by(name: &str, arguments: &[&str]) -> String {
    let output = example(name, arguments);
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_passed_descriptor_shares_its_offset() {
    let shown = shown_by("pass_fd", &[]);
    assert!(shown.contains("received it as fd ") && shown.contains("now at offset 7"), "{shown}");
    assert!(shown.ends_with("OK: two descriptors, one open file\n"), "{shown}");
}

#[test]
fn a_robust_mutex_is_inherited_repaired_and_lost() {
    let shown = shown_by("robust_mutex", &[]);
    for part in ["EOWNERDEAD", "found 70 + 0 = 70", "now   70 + 30 = 100", "EDEADLK", "ENOTRECOVERABLE", "OK: "] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
}

/// The objects that the ring example says it made, as files.
fn objects_of(shown: &str) -> Vec<String> {
    let name = shown.split_whitespace().find_map(|word| word.strip_prefix('/')).unwrap();
    let semaphores = ["slots", "items", "lock"].map(|semaphore| format!("/dev/shm/sem.{name}.{semaphore}"));
    [vec![format!("/dev/shm/{name}")], semaphores.to_vec()].concat()
}

#[test]
fn the_ring_loses_nothing_and_leaves_nothing() {
    let shown = shown_by("semaphore_ring", &[]);
    assert_eq!(shown.matches("= 50005000\n").count(), 2, "{shown}");
    assert!(shown.ends_with("OK: nothing lost, nothing twice\n"), "{shown}");
    for object in objects_of(&shown) {
        assert!(!Path::new(&object).exists(), "{object} is left");
    }
}

#[test]
fn the_ring_of_a_killed_producer_fails_and_leaves_nothing() {
    let output = example("semaphore_ring", &["--kill-producer"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("SIGKILL"), "{output:?}");
    for object in objects_of(&String::from_utf8_lossy(&output.stdout)) {
        assert!(!Path::new(&object).exists(), "{object} is left");
    }
}

#[test]
fn a_message_queue_outlives_a_receiver_and_is_gone_afterwards() {
    let shown = shown_by("message_queue", &[]);
    for part in ["killed with number 300", "took 301 to 1000, in order", "the urgent one came first"] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    assert!(shown.ends_with("OK: nothing lost but what the dead receiver had taken\n"), "{shown}");
    let name = shown.split_whitespace().find_map(|word| word.strip_suffix(':').filter(|word| word.starts_with('/')));
    let opened =
        nix::mqueue::mq_open(name.unwrap(), nix::mqueue::MQ_OFlag::O_RDONLY, nix::sys::stat::Mode::empty(), None);
    assert_eq!(opened.err(), Some(nix::errno::Errno::ENOENT), "{shown}");
}

#[test]
fn a_sealed_memfd_is_taken_and_stays_as_it_is() {
    let shown = shown_by("sealed_memfd", &[]);
    for part in [
        "refuses it, since it lacks F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE",
        "child:  takes it",
        "parent: a write fails with EPERM",
        "child:  a write fails with EPERM",
        "child:  shortening fails with EPERM",
        "child:  mapping it for writing fails with EPERM",
    ] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    assert!(shown.ends_with("OK: taken only with its seals, and then nobody could change it\n"), "{shown}");
}

/// Answers one PING as the protocol says: flags, then status, of the caller's choice; `spoil` is added to the checksum.
fn answer_ping(client: &mut TcpStream, flags: u8, body: &[u8], spoil: u32) {
    let mut request = [0; 18];
    client.read_exact(&mut request).unwrap();
    assert_eq!(request[..10], [0, 0, 0, 18, 0xC0, 0xDE, 1, 0, 0x00, 0xF0]);
    let sum = u32::from_be_bytes(request[14..].try_into().unwrap());
    request[14..].fill(0);
    assert_eq!(sum, crc32fast::hash(&request), "the example's own CRC differs from crc32fast's");

    let length = u32::try_from(18 + body.len()).unwrap();
    let mut answer = [&length.to_be_bytes(), &request[4..7], &[flags], &request[8..14], &[0; 4], body].concat();
    let sum = crc32fast::hash(&answer).wrapping_add(spoil);
    answer[14..18].copy_from_slice(&sum.to_be_bytes());
    // Two pieces, since TCP may cut anywhere.
    let (first, second) = answer.split_at(5);
    client.set_nodelay(true).unwrap();
    client.write_all(first).unwrap();
    client.write_all(second).unwrap();
}

/// Runs the frame example against a server that gives one such answer.
fn frame_example(flags: u8, body: &[u8], spoil: u32) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| answer_ping(&mut listener.accept().unwrap().0, flags, body, spoil));
        let output = example("hand_made_frame", &[&address]);
        // Should the example have failed before it connected, this ends the wait of the thread above.
        drop(TcpStream::connect(&address));
        output
    })
}

#[test]
fn a_hand_made_frame_is_answered_and_taken_apart() {
    let body = [&[0, 0][..], &1_700_000_000_123_u64.to_be_bytes()].concat();
    let output = frame_example(0, &body, 0);
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in ["magic          c0 de", "opcode         00 f0", "status         00 00", "OK: ", "1700000000123 ms"] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
}

#[test]
fn a_bad_answer_to_a_hand_made_frame_is_a_failure() {
    let good_body = [0; 10];
    for (flags, body, spoil, complaint) in [
        (0, &good_body[..], 1, "crc32"),
        (0b10, &[0, 6], 0, "status 6"),
        (0, &[0, 0], 0, "too short"),
        (0, &[0], 0, "too short"),
    ] {
        let output = frame_example(flags, body, spoil);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(complaint), "{output:?}");
    }
    assert_eq!(example("hand_made_frame", &[]).status.code(), Some(2));
}
