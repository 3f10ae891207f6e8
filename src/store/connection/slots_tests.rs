use super::*;
use crate::ipc::segment::unlink;
use crate::store::connection::test_support::{LARGE, names, slots_of};

fn shape(count: u32, rings: RingBytes) -> SlotShape {
    SlotShape { count, rings }
}

/// The place of a ring in memory.
fn place(ring: ByteRing<'_>, first: ByteRing<'_>) -> Range<usize> {
    let at = ring.address().wrapping_sub(first.address());
    at..at + ring.size()
}

#[test]
fn each_slot_has_its_own_rings_as_large_as_its_service_wants_them() {
    let uneven = RingBytes::new(64, 4096);
    let slots = slots_of(&[shape(2, RingBytes::STANDARD), shape(0, LARGE), shape(3, LARGE), shape(1, uneven)]);
    let wanted = [RingBytes::STANDARD, RingBytes::STANDARD, LARGE, LARGE, LARGE, uneven];
    assert_eq!(slots.all().len(), wanted.len());
    let all: Vec<_> = (0..6).map(|index| slots.memory(index).unwrap()).collect();
    let mut end = 0;
    for (index, (memory, bytes)) in all.iter().zip(wanted).enumerate() {
        let Rings { receive, transmit } = memory.rings;
        assert!(std::ptr::eq(memory.slot, &raw const slots.all()[index]) && memory.index as usize == index);
        assert_eq!((receive.size(), transmit.size()), (bytes.receive(), bytes.transmit()));
        assert_eq!(slots.ring_bytes(index), Some(bytes));
        // One behind the other, each beginning with a line of the cache.
        let [receive, transmit] = [receive, transmit].map(|ring| place(ring, all[0].rings.receive));
        assert_eq!((receive.start, transmit.start), (end, receive.end));
        assert_eq!(receive.start % GAP_BYTES, 0);
        end = transmit.end + GAP_BYTES;
    }
    assert_eq!(all[0].rings.receive.address() % GAP_BYTES, 0);
    assert_eq!(slots.rings.elements().len(), end, "and no more memory than that");
    assert!(slots.memory(6).is_none() && slots.memory(u32::MAX).is_none() && slots.ring_bytes(6).is_none());
    assert_eq!(slots.ranges()[..4], [0..2, 0..0, 2..5, 5..6]);
    assert_eq!(slots.of(ServiceId::new(2).unwrap()), 2..5);
}

#[test]
fn what_is_filled_in_one_ring_is_in_no_other() {
    let slots = slots_of(&[shape(2, RingBytes::STANDARD), shape(2, LARGE)]);
    let rings = |index| slots.memory(index).map(|memory| [memory.rings.receive, memory.rings.transmit]).unwrap();
    let all: Vec<_> = (0..4).flat_map(rings).collect();
    for (mark, ring) in (1..).zip(&all) {
        ring.copy_in(7, &vec![mark; ring.size()]);
    }
    for (mark, ring) in (1_u8..).zip(&all) {
        let mut there = vec![0; ring.size()];
        ring.copy_out(0, &mut there);
        assert!(there.iter().all(|byte| *byte == mark), "ring {mark}");
    }
}

#[test]
fn memory_is_what_the_services_need() {
    let (bank, kv) = (shape(1088, RingBytes::STANDARD), shape(192, LARGE));
    let [slots, rings] = Slots::bytes_for([bank, kv]);
    assert_eq!((slots, rings), (64 + 1280 * 384, 64 + 1088 * (32 * 1024 + 64) + 192 * (256 * 1024 + 64)));
    assert_eq!(Slots::bytes_for([shape(0, LARGE)]), [64, 64]);
}

#[test]
fn who_opens_them_finds_the_same_rings_or_says_why_not() {
    let names = names();
    let names = names.each_ref().map(String::as_str);
    let mut shapes: PerService<SlotShape> = [SlotShape::NONE; _];
    (shapes[0], shapes[1]) = (shape(1, RingBytes::STANDARD), shape(2, LARGE));
    let made = Slots::create(names, 1, 1, &shapes).unwrap();
    let opened = Slots::open(names, 1, &shapes, Access::Write).unwrap();
    made.memory(2).unwrap().rings.transmit.copy_in(100_000, b"reply");
    let mut read = [0; 5];
    opened.memory(2).unwrap().rings.transmit.copy_out(100_000, &mut read);
    assert_eq!(&read, b"reply");
    assert_eq!(opened.names(), names);

    let refusal = |change: fn(&mut PerService<SlotShape>)| {
        let mut others = shapes;
        change(&mut others);
        Slots::open(names, 1, &others, Access::Read).map(drop).unwrap_err().to_string()
    };
    for (refused, said) in [
        (refusal(|shapes| shapes[1].count = 3), "it has 3 elements, the services' connections need 4"),
        (refusal(|shapes| shapes[1].rings = RingBytes::STANDARD), "the services' connections need"),
        (refusal(|shapes| shapes[1].rings = RingBytes::from_words([100_000, 4096])), "no rings have the sizes"),
        (refusal(|shapes| shapes[0].rings = RingBytes::from_words([0, 4096])), "no rings have the sizes"),
        (refusal(|shapes| shapes[0].rings = RingBytes::from_words([4096, 1 << 31])), "no rings have the sizes"),
    ] {
        assert!(refused.contains(said), "{refused}");
    }
    assert!(Slots::open(names, 2, &shapes, Access::Read).is_err(), "of another layout");
    names.iter().for_each(|name| unlink(name).unwrap());
}
