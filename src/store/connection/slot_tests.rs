use super::*;
use crate::store::connection::test_support::slots;

const HOLDERS: [(Holder, u64, Option<u16>); 6] = [
    (Holder::Free, 0, None),
    (Holder::Handed(3), 0x1_0003, Some(3)),
    (Holder::Served(63), 0x2_003f, Some(63)),
    (Holder::Closed(NOBODY_YET), 0x3_ffff, Some(NOBODY_YET)),
    (Holder::Returned(1), 0x4_0001, Some(1)),
    (Holder::Resumed(2), 0x5_0002, Some(2)),
];

/// Programs of one version share them, and those of two during an upgrade.
#[test]
fn words_are_these_and_are_read_as_written() {
    for (holder, low, worker) in HOLDERS {
        for generation in [0, 1, u32::MAX] {
            let claim = Claim { holder, generation };
            assert_eq!(claim.to_word(), u64::from(generation) << 32 | low);
            assert_eq!(Claim::from_word(claim.to_word()), claim);
        }
        assert_eq!(holder.worker(), worker);
    }
    assert_eq!(Claim::from_word(0x7_0006_0005), Claim { holder: Holder::Free, generation: 7 }, "an unknown state");
    let progress = Progress { consumed: u32::MAX - 1, queued: 7 };
    assert_eq!(progress.to_word(), 0xffff_fffe_0000_0007);
    assert_eq!(Progress::from_word(progress.to_word()), progress);
    let framing = Framing { decoder: 4096, strikes: u8::MAX };
    assert_eq!(framing.to_word(u32::MAX), 0xffff_ffff_0010_00ff);
    assert_eq!(Framing::from_word(framing.to_word(u32::MAX)), (u32::MAX, framing));
    let wide = Framing { decoder: u32::MAX, strikes: 0 };
    let kept = Framing { decoder: (1 << Framing::DECODER_BITS) - 1, strikes: 0 };
    assert_eq!(Framing::from_word(wide.to_word(6)), (6, kept), "what is too wide does not run over into the rest");
}

#[test]
fn a_slot_is_passed_on_only_by_its_holder_in_its_life() {
    let slots = slots();
    let slot = &slots.all()[0];
    let first = slot.begin(Holder::Handed(1), 10).unwrap();
    assert_eq!(first, Claim { holder: Holder::Handed(1), generation: 1 });
    assert_eq!((slot.claim(), slot.opened_ns()), (first, 10));
    assert_eq!(slot.begin(Holder::Handed(2), 11), None, "it is taken");
    assert!(!slot.pass(Claim { generation: 2, ..first }, Holder::Served(1)), "of another life");
    assert!(!slot.pass(Claim { holder: Holder::Handed(2), ..first }, Holder::Served(2)), "of another worker");
    assert_eq!((slot.claim(), slot.opened_ns()), (first, 10));
    assert!(slot.pass(first, Holder::Served(1)));
    assert!(!slot.pass(first, Holder::Closed(1)), "passed on already");
    assert_eq!(slot.claim(), Claim { holder: Holder::Served(1), generation: 1 });
    slot.free();
    assert_eq!(slot.claim(), Claim { holder: Holder::Free, generation: 1 });
    assert_eq!(slot.begin(Holder::Handed(7), 12), Some(Claim { holder: Holder::Handed(7), generation: 2 }));
    slot.claim.store(Claim { holder: Holder::Free, generation: u32::MAX }.to_word(), Ordering::Relaxed);
    assert_eq!(slot.begin(Holder::Handed(7), 12).map(|claim| claim.generation), Some(0));
}

#[test]
fn nothing_of_the_connection_before_is_left_in_a_slot() {
    let slots = slots();
    let slot = &slots.all()[0];
    slot.begin(Holder::Served(1), 1).unwrap();
    assert_eq!((slot.session(), slot.user()), (None, String::new()));
    let words = SessionWords { session: 1, xor_key: 2, role: 3, principal: 4 };
    slot.set_session(words, "alice");
    assert_eq!((slot.session(), slot.user().as_str()), (Some(words), "alice"));
    slot.set_received(5);
    slot.set_sent(6);
    assert_eq!(slot.moved(), (5, 6));
    let progress = Progress { consumed: 4, queued: 7 };
    slot.set_framing(4, Framing { decoder: 8, strikes: 1 });
    slot.progress_word().store(progress.to_word(), Ordering::Relaxed);
    slot.set_framing(5, Framing { decoder: 9, strikes: 2 });
    assert_eq!((slot.progress(), slot.framing().strikes), (progress, 1));
    slot.free();
    slot.begin(Holder::Served(1), 2).unwrap();
    assert_eq!((slot.session(), slot.user(), slot.moved()), (None, String::new(), (0, 0)));
    assert_eq!((slot.progress(), slot.framing()), (Progress::default(), Framing::default()));
    for consumed in 0..10 {
        let progress = Progress { consumed, queued: 0 };
        slot.progress_word().store(progress.to_word(), Ordering::Relaxed);
        assert_eq!(slot.framing(), Framing::default(), "at {consumed}");
    }
    assert_eq!(slot.xor_key.load(Ordering::Relaxed), 0);
    assert_eq!(slot.role.load(Ordering::Relaxed), 0);
}

#[test]
fn framing_changes_with_the_progress_that_it_was_written_for() {
    let slots = slots();
    let slot = &slots.all()[0];
    slot.begin(Holder::Served(1), 1).unwrap();
    let consume = |consumed| slot.progress_word().store(Progress { consumed, queued: 1 }.to_word(), Ordering::Relaxed);
    let framing = |decoder| Framing { decoder, strikes: 1 };
    // Over the end of the positions, and more often than there are places.
    let mut at = u32::MAX - 25;
    consume(at);
    slot.set_framing(at, framing(0));
    // That state is of the position where the connection stands, and holds at once.
    assert_eq!(slot.framing(), framing(0));
    for number in 1..=10 {
        let next = at.wrapping_add(10);
        slot.set_framing(next, framing(99));
        assert_eq!(slot.framing(), framing(number - 1), "nothing was consumed yet");
        slot.set_framing(next, framing(number));
        assert_eq!(slot.framing(), framing(number - 1), "written again, as after a death");
        consume(at.wrapping_add(9));
        assert_eq!(slot.framing(), framing(number - 1), "a byte too early");
        consume(next);
        assert_eq!(slot.framing(), framing(number));
        at = next;
    }
    consume(at.wrapping_add(i32::MAX.cast_unsigned()));
    assert_eq!(slot.framing(), framing(10));
    consume(at.wrapping_add(1 << 31));
    assert_eq!(slot.framing(), Framing::default(), "too old to be told from one that is ahead");
}
