use super::slot::Holder;
use super::test_support::{LARGE, slots, slots_of};
use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// The rings of the key-value service, and those of all others.
const SIZES: [RingBytes; 2] = [RingBytes::STANDARD, LARGE];

/// A client, and the server's end of its connection.
fn pair() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (client, listener.accept().unwrap().0.into())
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// What arrives within ten seconds, if so much does.
fn read_exactly(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut read = vec![0; count];
    client.read_exact(&mut read).unwrap();
    read
}

/// Receives until `count` bytes are unread.
fn receive_until(connection: &mut Connection<'_>, count: usize) -> Received {
    loop {
        let received = connection.receive();
        if connection.unread() >= count || matches!(received, Received::End | Received::Broken) {
            return received;
        }
        std::thread::yield_now();
    }
}

/// Writes `bytes` while `connection` receives, until it has `count` unread.
fn pass(client: &mut TcpStream, bytes: &[u8], connection: &mut Connection<'_>, count: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| client.write_all(bytes).unwrap());
        receive_until(connection, count);
    });
}

fn unread(connection: &Connection<'_>) -> Vec<u8> {
    let mut unread = vec![0; connection.unread()];
    assert_eq!(connection.copy_unread_at(0, &mut unread), unread.len());
    unread
}

#[test]
fn requests_are_received_and_consumed_in_order_over_the_end_of_the_ring() {
    for rings in SIZES {
        // The second slot, so that its rings are behind others.
        let slots = slots_of(&[SlotShape { count: 2, rings }]);
        let memory = slots.memory(1).unwrap();
        let (slot, size) = (memory.slot, rings.receive());
        slot.begin(Holder::Served(0), 1).unwrap();
        let (mut client, socket) = pair();
        let mut connection = Connection::new(socket, memory);
        assert_eq!((connection.index(), connection.receive()), (1, Received::Drained(0)));
        let sent = bytes(3 * size);
        let mut at = 0;
        // Never all of it, so that the rest and the next run over the end.
        for part in sent.chunks(size / 4 * 3) {
            let left = connection.unread();
            pass(&mut client, part, &mut connection, (left + part.len()).min(size));
            let there = unread(&connection);
            assert!(there == sent[at..at + there.len()]);
            connection.advance(there.len() - 100, &[]);
            at += there.len() - 100;
            assert_eq!(connection.unread(), 100);
            assert_eq!(slot.progress().consumed as usize, at);
            assert_eq!(slot.moved().0 as usize, at + 100);
        }
        connection.discard_unread();
        assert_eq!((connection.unread(), unread(&connection)), (0, vec![]));
    }
}

#[test]
fn a_part_of_what_is_unread_is_copied_without_the_rest() {
    for rings in SIZES {
        let slots = slots_of(&[SlotShape { count: 1, rings }]);
        let memory = slots.memory(0).unwrap();
        let (size, from) = (rings.receive(), rings.receive() / 2 + 1);
        memory.slot.begin(Holder::Served(0), 1).unwrap();
        let (mut client, socket) = pair();
        let mut connection = Connection::new(socket, memory);
        pass(&mut client, &bytes(from), &mut connection, from);
        connection.advance(from, &[]);
        let sent = bytes(size);
        pass(&mut client, &sent, &mut connection, size);
        let mut into = [0; 1000];
        for from in (0..=size).step_by(777) {
            let count = connection.copy_unread_at(from, &mut into);
            assert_eq!(count, (size - from).min(1000));
            assert!(into[..count] == sent[from..from + count], "from {from} of {size}");
        }
        for beyond in [size, size + 1, usize::MAX] {
            assert_eq!(connection.copy_unread_at(beyond, &mut into), 0);
        }
        let mut whole = [0; RECEIVE_BYTES];
        let begun = connection.copy_unread(&mut whole);
        assert!(begun == &sent[..RECEIVE_BYTES], "as much as there is room for");
    }
}

#[test]
fn a_full_ring_takes_no_more_until_something_is_consumed() {
    for rings in SIZES {
        let slots = slots_of(&[SlotShape { count: 1, rings }]);
        let memory = slots.memory(0).unwrap();
        let size = rings.receive();
        memory.slot.begin(Holder::Served(0), 1).unwrap();
        let (mut client, socket) = pair();
        let mut connection = Connection::new(socket, memory);
        pass(&mut client, &bytes(size - 1), &mut connection, size - 1);
        assert!(connection.has_room_for_bytes());
        assert_eq!(connection.receive(), Received::Drained(0), "there was room for one more");
        client.write_all(b"xy").unwrap();
        assert_eq!(receive_until(&mut connection, size), Received::Bytes(1), "there may be more");
        assert!(!connection.has_room_for_bytes());
        connection.advance(size, &[]);
        assert!(connection.has_room_for_bytes());
        receive_until(&mut connection, 1);
        assert_eq!(unread(&connection), b"y");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(receive_until(&mut connection, 2), Received::End);
    }
}

#[test]
fn a_reply_is_sent_once_it_counts_and_up_to_where_it_may() {
    let slots = slots();
    let memory = slots.memory(0).unwrap();
    let slot = memory.slot;
    slot.begin(Holder::Served(0), 1).unwrap();
    let (mut client, socket) = pair();
    let mut connection = Connection::new(socket, memory);
    client.write_all(b"request").unwrap();
    receive_until(&mut connection, 7);
    let progress = connection.stage(4, b"hello");
    assert_eq!(progress, Progress { consumed: 4, queued: 5 });
    assert_eq!((connection.unsent(), connection.unread(), slot.progress()), (0, 7, Progress::default()));
    assert_eq!(connection.send(connection.queued()), Sent::All(0));
    slot.progress_word().store(progress.to_word(), std::sync::atomic::Ordering::Relaxed);
    connection.staged(progress);
    connection.advance(3, b" world");
    assert_eq!((connection.unsent(), connection.unread(), connection.queued()), (11, 0, 11));
    assert_eq!(connection.send(2), Sent::All(2));
    assert_eq!((connection.sent(), connection.unsent(), slot.moved().1), (2, 9, 2));
    assert_eq!(connection.send(connection.queued()), Sent::All(9));
    assert_eq!(read_exactly(&mut client, 11), b"hello world");
    assert_eq!((connection.sent(), connection.unsent(), slot.moved().1), (11, 0, 11));
}

#[test]
fn a_client_that_does_not_read_has_a_full_ring_and_misses_nothing() {
    SIZES.into_iter().for_each(a_client_does_not_read);
}

fn a_client_does_not_read(rings: RingBytes) {
    let slots = slots_of(&[SlotShape { count: 1, rings }]);
    let memory = slots.memory(0).unwrap();
    memory.slot.begin(Holder::Served(0), 1).unwrap();
    let (mut client, socket) = pair();
    let mut connection = Connection::new(socket, memory);
    let reply = bytes(rings.transmit() / 2);
    let mut replies = 0;
    let sent = loop {
        while connection.has_room_for_reply(reply.len()) {
            connection.advance(0, &reply);
            replies += 1;
        }
        match connection.send(connection.queued()) {
            Sent::All(_) => {}
            part => break part,
        }
    };
    assert!(matches!(sent, Sent::Part(count) if count < rings.transmit()), "{sent:?}");
    while connection.has_room_for_reply(1) {
        connection.advance(0, b"x");
    }
    assert_eq!(connection.unsent(), rings.transmit());
    assert!(connection.has_room_for_reply(0) && !connection.has_room_for_reply(1));
    // All of it comes, in order.
    let singles = connection.queued() as usize - replies * reply.len();
    let mut wanted: Vec<u8> = reply.iter().copied().cycle().take(replies * reply.len()).collect();
    wanted.extend(vec![b'x'; singles]);
    let mut got = Vec::new();
    while got.len() < wanted.len() {
        connection.send(connection.queued());
        let mut part = vec![0; 1 << 20];
        let count = client.read(&mut part).unwrap();
        got.extend_from_slice(&part[..count]);
    }
    assert!(got == wanted);
    assert_eq!(connection.unsent(), 0);
}

#[test]
fn a_broken_connection_is_said_to_be_broken() {
    let slots = slots();
    let memory = slots.memory(0).unwrap();
    memory.slot.begin(Holder::Served(0), 1).unwrap();
    let (client, socket) = pair();
    let mut connection = Connection::new(socket, memory);
    connection.advance(0, b"never read");
    connection.send(connection.queued());
    // Closing with unread bytes resets it.
    assert_eq!(client.peek(&mut [0; 1]).unwrap(), 1);
    drop(client);
    let received = loop {
        match connection.receive() {
            Received::Drained(0) => std::thread::yield_now(),
            other => break other,
        }
    };
    assert_eq!(received, Received::Broken);
    connection.advance(0, b"more");
    assert_eq!(connection.send(connection.queued()), Sent::Broken);
}

/// The worker before died after it had moved bytes and before it wrote that down.
#[test]
fn who_goes_on_finds_what_was_moved_and_not_written_down() {
    let slots = slots();
    let memory = slots.memory(0).unwrap();
    let slot = memory.slot;
    slot.begin(Holder::Served(0), 1).unwrap();
    let (mut client, socket) = pair();
    let dead = socket.try_clone().unwrap();
    let mut connection = Connection::new(socket, memory);
    client.write_all(b"first").unwrap();
    receive_until(&mut connection, 5);
    connection.advance(2, b"one two three");
    assert_eq!(connection.send(4), Sent::All(4));
    client.write_all(b"second").unwrap();
    while connection
        .rings
        .receive
        .receive(dead.as_fd(), 5, 6)
        .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    {
        std::thread::yield_now();
    }
    assert_eq!(memory.rings.transmit.send(dead.as_fd(), 4, 4).unwrap(), 4);
    assert_eq!(slot.moved(), (5, 4));
    drop(connection);

    let mut connection = Connection::resume(dead, memory).map_err(|(_, error)| error).unwrap();
    assert_eq!((connection.index(), slot.moved()), (0, (11, 8)));
    assert_eq!((unread(&connection).as_slice(), connection.unsent()), (b"rstsecond".as_slice(), 5));
    assert_eq!(connection.send(connection.queued()), Sent::All(5));
    assert_eq!(read_exactly(&mut client, 13), b"one two three");
    connection.advance(9, b"!");
    connection.send(connection.queued());
    assert_eq!(read_exactly(&mut client, 1), b"!", "and nothing twice");
}

/// As before, in the middle of a record of 100 KiB that runs over the end of the ring, and of a reply as long.
#[test]
fn who_goes_on_in_the_middle_of_a_large_record_and_its_reply_misses_no_byte() {
    const LONG: usize = 100 << 10;
    let slots = slots_of(&[SlotShape { count: 1, rings: LARGE }]);
    let memory = slots.memory(0).unwrap();
    let slot = memory.slot;
    slot.begin(Holder::Served(0), 1).unwrap();
    let (mut client, socket) = pair();
    let dead = socket.try_clone().unwrap();
    let mut connection = Connection::new(socket, memory);
    // One call before, so that all that follows stands in the middle of the rings.
    let first = bytes(70 << 10);
    pass(&mut client, &first, &mut connection, first.len());
    connection.advance(first.len(), &first);
    assert_eq!(connection.send(connection.queued()), Sent::All(first.len()));
    assert!(read_exactly(&mut client, first.len()) == first);

    let (record, reply): (Vec<u8>, Vec<u8>) = (bytes(LONG), bytes(LONG).into_iter().rev().collect());
    pass(&mut client, &record[..60 << 10], &mut connection, 60 << 10);
    connection.advance(0, &reply);
    assert_eq!(connection.send(connection.queued().wrapping_sub(90 << 10)), Sent::All(10 << 10));
    let (received, sent) = slot.moved();
    // Now it moves bytes and dies before it writes that down.
    client.write_all(&record[60 << 10..80 << 10]).unwrap();
    let mut lost = 0;
    while lost < 20 << 10 {
        let at = received.wrapping_add(u32::try_from(lost).unwrap());
        lost += memory.rings.receive.receive(dead.as_fd(), at, (20 << 10) - lost).unwrap_or(0);
    }
    let went = memory.rings.transmit.send(dead.as_fd(), sent, 50 << 10).unwrap();
    assert_eq!(slot.moved(), (received, sent));
    drop(connection);

    let mut connection = Connection::resume(dead, memory).map_err(|(_, error)| error).unwrap();
    assert_eq!((connection.unread(), connection.unsent()), (80 << 10, (90 << 10) - went));
    pass(&mut client, &record[80 << 10..], &mut connection, LONG);
    assert!(unread(&connection) == record, "the record is whole");
    connection.advance(LONG, &[]);
    let got = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_exactly(&mut client, LONG));
        while connection.unsent() > 0 {
            assert_ne!(connection.send(connection.queued()), Sent::Broken);
            std::thread::yield_now();
        }
        reader.join().unwrap()
    });
    assert!(got == reply, "the reply came once");
}

#[test]
fn counts_that_cannot_be_this_slot_s_are_refused() {
    SIZES.into_iter().for_each(counts_are_checked);
}

fn counts_are_checked(rings: RingBytes) {
    let room = rings.receive();
    // The slot has room for all that it receives, and nothing is queued but what it says.
    for (received, consumed, queued, read, written, fits) in [
        (0, 0, 0, room, 0, true),
        (0, 0, 0, room + 1, 0, false),
        (1, 1, 0, room + 1, 0, true),
        (10, 0, 0, room, 0, true),
        (10, 0, 0, room + 1, 0, false),
        (0, 0, 3, 0, 3, true),
        (0, 0, 3, 0, 4, false),
        (0, 0, 0, 0, 1, false),
    ] {
        let slots = slots_of(&[SlotShape { count: 1, rings }]);
        let memory = slots.memory(0).unwrap();
        let slot = memory.slot;
        slot.begin(Holder::Served(0), 1).unwrap();
        let (mut client, socket) = pair();
        let mut server = TcpStream::from(socket);
        let all = std::thread::scope(|scope| {
            scope.spawn(|| client.write_all(&bytes(read)).unwrap());
            read_exactly(&mut server, read)
        });
        server.write_all(&bytes(written)).unwrap();
        let progress = Progress { consumed, queued };
        slot.set_received(received);
        slot.progress_word().store(progress.to_word(), std::sync::atomic::Ordering::Relaxed);
        let resumed = Connection::resume(server.into(), memory);
        let what = format!("{progress:?}, {received} received, {read} read, {written} written");
        match resumed {
            Ok(connection) => {
                assert!(fits, "{what}");
                assert_eq!((connection.unread(), connection.unsent()), (all.len() - consumed as usize, 0), "{what}");
            }
            Err((connection, error)) => {
                assert!(!fits && error.kind() == io::ErrorKind::InvalidData, "{what}: {error}");
                assert_eq!((connection.index(), slot.moved()), (0, (received, 0)), "{what}: left as it was");
            }
        }
    }
}

#[test]
fn what_was_sent_past_the_ring_is_neither_queued_nor_sent_again() {
    let slots = slots();
    let memory = slots.memory(0).unwrap();
    let slot = memory.slot;
    slot.begin(Holder::Served(0), 1).unwrap();
    let (mut client, socket) = pair();
    let mut past = TcpStream::from(socket.try_clone().unwrap());
    let mut connection = Connection::new(socket, memory);
    client.write_all(b"GET").unwrap();
    receive_until(&mut connection, 3);
    past.write_all(b"file").unwrap();
    connection.advance_past(2, 4);
    assert_eq!((connection.unread(), connection.unsent(), connection.sent(), connection.queued()), (1, 0, 4, 4));
    assert_eq!((slot.progress(), slot.moved()), (Progress { consumed: 2, queued: 4 }, (3, 4)));
    connection.advance(1, b"next");
    assert_eq!(connection.send(connection.queued()), Sent::All(4));
    assert_eq!(read_exactly(&mut client, 8), b"filenext");
    let resumed = Connection::resume(past.into(), memory);
    assert!(resumed.is_ok_and(|resumed| resumed.unsent() == 0));
    // An answer of more than 4 GiB: positions are modulo 2^32.
    connection.advance_past(0, (1 << 32) + 5);
    assert_eq!((connection.unsent(), connection.sent(), slot.moved().1), (0, 13, 13));
}

#[test]
fn framing_is_kept_for_the_bytes_that_are_consumed_next() {
    let slots = slots();
    let memory = slots.memory(0).unwrap();
    let slot = memory.slot;
    slot.begin(Holder::Served(0), 1).unwrap();
    let (mut client, socket) = pair();
    let mut connection = Connection::new(socket, memory);
    client.write_all(&bytes(10)).unwrap();
    receive_until(&mut connection, 10);
    connection.advance(4, &[]);
    let framing = Framing { decoder: 5, strikes: 1 };
    connection.keep_framing(6, framing);
    assert_eq!(slot.framing(), Framing::default());
    connection.advance(6, &[]);
    assert_eq!(slot.framing(), framing);
}

#[test]
fn a_client_is_told_that_nothing_more_comes_although_others_have_the_socket() {
    let slots = slots();
    let memory = slots.memory(0).unwrap();
    let slot = memory.slot;
    slot.begin(Holder::Served(0), 1).unwrap();
    let (mut client, socket) = pair();
    let _duplicate = socket.try_clone().unwrap();
    let mut connection = Connection::new(socket, memory);
    connection.finish_sending();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    client.write_all(b"bye").unwrap();
    receive_until(&mut connection, 3);
    assert_eq!(unread(&connection), b"bye", "the other direction is open");
    connection.shut_down();
    assert_eq!(connection.receive(), Received::End);
}
