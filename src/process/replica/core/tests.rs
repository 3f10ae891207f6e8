//! What the simulation would not show by itself: a step at a time.

use super::event::{Action, Control, Event, HardState, Refusal};
use super::log::Log;
use super::settings::Settings;
use super::state::{Core, LoadError, Loaded};
use super::status::Role;
use crate::base::vocab::Lsn;
use crate::process::replica::message::{EntryKind, EntryRange, Message, MessageKind};
use crate::store::cluster::{Change, ChangeKind, Member, Membership, NodeId, ReplicaId};

fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

fn members(many: u8) -> Membership {
    let member = |number: u8| Member {
        replica: ReplicaId::new(number).unwrap(),
        node: node(u64::from(number)),
        address: format!("127.0.0.1:{number}"),
    };
    Membership { voters: (1..=many).map(member).collect(), learners: Vec::new() }
}

fn operations(index: u64, term: u64, first: u64, last: u64) -> EntryRange {
    EntryRange { index, term, first: Lsn(first), last: Lsn(last), kind: EntryKind::Operations }
}

/// A node of `many` with two entries of term 3, of ten records.
fn loaded(many: u8, gate_is_open: bool) -> Loaded {
    let mut log = Log::new(0, 0, Lsn(0));
    log.push(EntryRange { kind: EntryKind::Term, ..operations(1, 3, 1, 1) }).unwrap();
    log.push(operations(2, 3, 2, 10)).unwrap();
    Loaded {
        state: HardState { term: 3, vote: Some(node(1)), commit: 1 },
        membership: members(many),
        membership_index: 0,
        log,
        are_older_to_come: false,
        generation: 7,
        committed: Lsn(1),
        executed: Lsn(if gate_is_open { 14 } else { 1 }),
        gate_is_open,
    }
}

fn core(many: u8, gate_is_open: bool) -> Core {
    Core::new(Settings::new(node(1), 1), loaded(many, gate_is_open)).unwrap()
}

fn actions(core: &mut Core) -> Vec<Action> {
    std::iter::from_fn(|| core.next_action()).collect()
}

fn sent(actions: &[Action], kind: MessageKind) -> Vec<Message> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(message) if message.kind == kind => Some(message.clone()),
        _ => None,
    });
    sent.collect()
}

fn reply(to: &Message, kind: MessageKind) -> Message {
    let entry = to.entries.last().map_or(to.index, |entry| entry.index);
    Message { kind, from: to.to, to: to.from, index: entry, log_term: 0, context: 0, entries: Vec::new(), ..to.clone() }
}

#[test]
fn a_primary_whose_replica_process_died_leads_again_at_once_and_loses_nothing() {
    let mut core = core(3, true);
    let first = actions(&mut core);
    let state = HardState { term: 4, vote: Some(node(1)), commit: 1 };
    assert!(first.contains(&Action::Save { state, sync: true }), "{first:?}");
    assert!(!first.contains(&Action::CloseGate), "{first:?}");
    let votes = sent(&first, MessageKind::RequestVote);
    assert!(votes.len() == 2 && votes.iter().all(|vote| vote.context == Message::CAMPAIGN_TRANSFER), "{first:?}");
    // Until somebody answers they are asked again, since the connections are new, too.
    core.handle(Event::Tick);
    assert_eq!(sent(&actions(&mut core), MessageKind::RequestVote), votes);
    core.handle(Event::Message(reply(&votes[0], MessageKind::RequestVoteResponse)));
    assert_eq!(actions(&mut core), [Action::AppendControl(Control::Term(4))]);
    // Meanwhile a worker has executed one more.
    core.handle(Event::Appended { lsn: Lsn(16) });
    let entry = EntryRange { kind: EntryKind::Term, ..operations(3, 4, 11, 16) };
    let next = actions(&mut core);
    assert!(next.contains(&Action::Append(vec![entry])), "{next:?}");
    let appends = sent(&next, MessageKind::Append);
    assert_eq!((appends.len(), core.status().role, core.status().term), (2, Role::Leader, 4));
    core.handle(Event::OnDisk { generation: 7, upto: Lsn(16) });
    core.handle(Event::Message(Message { index: 3, ..reply(&appends[0], MessageKind::AppendResponse) }));
    let last = actions(&mut core);
    assert!(last.contains(&Action::Commit(Lsn(16))), "{last:?}");
    assert!(!last.iter().any(|action| matches!(action, Action::CloseGate | Action::OpenGate { .. })), "{last:?}");
}

#[test]
fn a_primary_that_is_not_elected_again_closes_its_gate_and_remakes_its_books() {
    let mut core = core(3, true);
    let votes = sent(&actions(&mut core), MessageKind::RequestVote);
    let refused = Message { reject: true, term: 5, ..reply(&votes[0], MessageKind::RequestVoteResponse) };
    core.handle(Event::Message(refused));
    assert_eq!(actions(&mut core).first(), Some(&Action::CloseGate));
    core.handle(Event::GateClosed { executed: Lsn(15) });
    assert_eq!(actions(&mut core).last(), Some(&Action::Remake { keep: Lsn(10) }));
    core.handle(Event::Tick);
    assert!(core.has_ended() && actions(&mut core).is_empty());
}

fn append(term: u64, index: u64, log_term: u64, entries: Vec<EntryRange>) -> Message {
    let heartbeat = Message {
        kind: MessageKind::Append,
        from: node(2),
        to: node(1),
        term,
        log_term,
        index,
        commit: 0,
        commit_term: 0,
        reject: false,
        reject_hint: 0,
        request_snapshot: 0,
        priority: 0,
        context: 0,
        entries: Vec::new(),
        snapshot: None,
    };
    Message { entries, ..heartbeat }
}

#[test]
fn nothing_is_appended_or_acknowledged_until_a_cut_is_done() {
    let mut core = core(3, false);
    actions(&mut core);
    let entry = operations(2, 5, 2, 4);
    core.handle(Event::Message(append(5, 1, 3, vec![entry.clone()])));
    let cut = actions(&mut core);
    assert!(cut.contains(&Action::Truncate { after: Lsn(1), generation: 8 }), "{cut:?}");
    assert!(!core.is_done_with_message() && !cut.iter().any(|action| matches!(action, Action::Append(_))));
    core.handle(Event::OnDisk { generation: 7, upto: Lsn(10) });
    assert_eq!(actions(&mut core), []);
    core.handle(Event::Truncated { generation: 8 });
    assert_eq!(actions(&mut core), [Action::Append(vec![entry])]);
    core.handle(Event::OnDisk { generation: 7, upto: Lsn(4) });
    assert_eq!(actions(&mut core), [], "a report from before the cut");
    core.handle(Event::OnDisk { generation: 8, upto: Lsn(4) });
    let acknowledged = sent(&actions(&mut core), MessageKind::AppendResponse);
    assert!(acknowledged.len() == 1 && acknowledged[0].index == 2 && !acknowledged[0].reject);
}

/// A loss of power takes away what DATA/raft says of what is committed, but for the last vote, and leaves the log.
#[test]
fn a_node_whose_log_is_full_learns_what_of_it_is_committed_and_has_room_then() {
    let settings = Settings { entries_kept: 1, ..Settings::new(node(1), 1) };
    let state = HardState { commit: 0, ..loaded(3, false).state };
    let forgot = Loaded { state, committed: Lsn(0), executed: Lsn(0), ..loaded(3, false) };
    let mut core = Core::new(settings, forgot).unwrap();
    actions(&mut core);
    let entry = operations(3, 5, 11, 12);
    let message = Message { commit: 3, ..append(5, 2, 3, vec![entry.clone()]) };
    core.handle(Event::Message(message.clone()));
    let full = actions(&mut core);
    assert!(!full.iter().any(|action| matches!(action, Action::Append(_))), "{full:?}");
    let answers = sent(&full, MessageKind::AppendResponse);
    assert!(matches!(answers[..], [Message { index: 2, reject: false, .. }]), "{full:?}");
    assert!(full.contains(&Action::Commit(Lsn(10))), "{full:?}");
    core.handle(Event::Applied(Lsn(10)));
    core.handle(Event::Message(message));
    let next = actions(&mut core);
    assert!(next.contains(&Action::Append(vec![entry])), "{next:?}");
}

#[test]
fn what_cannot_be_is_refused_and_does_nothing() {
    let gap = vec![operations(3, 5, 12, 13)];
    let other = vec![operations(2, 3, 2, 9)];
    let committed = vec![operations(1, 5, 1, 1)];
    let heartbeat = Message { kind: MessageKind::Heartbeat, commit: 3, ..append(5, 0, 0, Vec::new()) };
    let stranger = Message { to: node(9), ..append(5, 2, 3, Vec::new()) };
    let term = Message { term: 0, ..append(5, 2, 3, Vec::new()) };
    let messages =
        [append(5, 2, 3, gap), append(5, 1, 3, other), append(5, 0, 0, committed), heartbeat, stranger, term];
    for message in messages {
        let mut core = core(3, false);
        actions(&mut core);
        core.handle(Event::Message(message.clone()));
        let done = actions(&mut core);
        assert!(matches!(done[..], [Action::Malformed { .. }]), "{message:?}: {done:?}");
    }
}

#[test]
fn a_node_that_has_lost_what_it_promised_does_not_start() {
    let mut lost = loaded(3, false);
    lost.state.commit = 3;
    assert!(matches!(Core::new(Settings::new(node(1), 1), lost), Err(LoadError::Committed { commit: 3, .. })));
    let mut lost = loaded(3, false);
    lost.state.term = 2;
    assert!(matches!(Core::new(Settings::new(node(1), 1), lost), Err(LoadError::Term { log: 3, known: 2 })));
}

/// A leader of which a peer needs entry 1, while it knows entries from 2 on.
fn leader_with_a_tail() -> Core {
    let mut tail = Log::new(1, 3, Lsn(1));
    tail.push(operations(2, 3, 2, 10)).unwrap();
    let loaded = Loaded { log: tail, are_older_to_come: true, ..loaded(3, true) };
    let mut core = Core::new(Settings::new(node(1), 1), loaded).unwrap();
    let votes = sent(&actions(&mut core), MessageKind::RequestVote);
    core.handle(Event::Message(reply(&votes[0], MessageKind::RequestVoteResponse)));
    actions(&mut core);
    core.handle(Event::Appended { lsn: Lsn(15) });
    let appends = sent(&actions(&mut core), MessageKind::Append);
    core.handle(Event::OnDisk { generation: 7, upto: Lsn(15) });
    let [to_two, to_three] = &appends[..] else { panic!("{appends:?}") };
    core.handle(Event::Message(Message { index: 3, ..reply(to_two, MessageKind::AppendResponse) }));
    actions(&mut core);
    let has_nothing =
        Message { reject: true, index: 2, reject_hint: 0, ..reply(to_three, MessageKind::AppendResponse) };
    core.handle(Event::Message(has_nothing));
    core
}

fn beat(core: &mut Core) -> Vec<Action> {
    let alive =
        Message { kind: MessageKind::HeartbeatResponse, from: node(3), index: 0, ..append(4, 0, 0, Vec::new()) };
    core.handle(Event::Message(alive));
    actions(core)
}

#[test]
fn a_peer_that_is_a_little_behind_waits_for_older_entries_and_gets_no_snapshot() {
    let mut core = leader_with_a_tail();
    let first = actions(&mut core);
    assert!(
        sent(&first, MessageKind::Append).is_empty() && sent(&first, MessageKind::Snapshot).is_empty(),
        "{first:?}"
    );
    let later = beat(&mut core);
    assert!(
        sent(&later, MessageKind::Append).is_empty() && sent(&later, MessageKind::Snapshot).is_empty(),
        "{later:?}"
    );
    assert_eq!(core.log_base(), (1, Lsn(1)));
    let mut older = Log::new(0, 0, Lsn(0));
    older.push(EntryRange { kind: EntryKind::Term, ..operations(1, 3, 1, 1) }).unwrap();
    core.handle(Event::Older { log: older, more: false });
    assert!(!core.are_older_to_come() && core.log_base() == (0, Lsn(0)));
    let appends = sent(&beat(&mut core), MessageKind::Append);
    assert_eq!(appends.iter().map(|append| append.entries.len()).sum::<usize>(), 3, "{appends:?}");
}

#[test]
fn a_peer_gets_a_snapshot_where_no_older_entries_are() {
    let mut core = leader_with_a_tail();
    actions(&mut core);
    // What does not join the log changes nothing of it.
    core.handle(Event::Older { log: Log::new(0, 0, Lsn(1)), more: false });
    assert!(!core.are_older_to_come() && core.log_base() == (1, Lsn(1)));
    let snapshots = sent(&beat(&mut core), MessageKind::Snapshot);
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
}

#[test]
fn a_learner_without_a_log_gets_a_snapshot_of_what_was_before_the_founding() {
    // As of the founding: entry 1 is what was before; and as an earlier version founded clusters, where it is none.
    for (base, term) in [(1, 1), (0, 0)] {
        let mut membership = members(1);
        membership.learners = members(2).voters.split_off(1);
        let state = HardState { term: 1, vote: None, commit: base };
        let log = Log::new(base, term, Lsn(500));
        let founder = Loaded { state, membership, log, committed: Lsn(500), executed: Lsn(500), ..loaded(1, false) };
        let mut founder = Core::new(Settings::new(node(1), 1), founder).unwrap();
        while founder.status().role != Role::Leader {
            founder.handle(Event::Tick);
            if actions(&mut founder).iter().any(|action| matches!(action, Action::AppendControl(_))) {
                founder.handle(Event::Appended { lsn: Lsn(501) });
            }
        }
        founder.handle(Event::OnDisk { generation: 7, upto: Lsn(501) });
        founder.handle(Event::Applied(Lsn(501)));
        actions(&mut founder);
        let own = Loaded { state: HardState::default(), log: Log::new(0, 0, Lsn(0)), ..loaded(1, false) };
        let own = Loaded { membership: founder.status().membership, committed: Lsn(0), executed: Lsn(0), ..own };
        let mut learner = Core::new(Settings::new(node(2), 2), own).unwrap();
        let promotion = Change { kind: ChangeKind::Promote, member: founder.status().membership.learners[0].clone() };
        let snapshot = (0..200).find_map(|_| {
            learner.handle(Event::Tick);
            let mut said = Vec::new();
            for event in [Event::Change(promotion.clone()), Event::Tick] {
                founder.handle(event);
                said.extend(actions(&mut founder));
            }
            let refused = |action: &Action| matches!(action, Action::ChangeRefused { why: Refusal::Behind, .. });
            assert!(said.iter().any(refused), "it has nothing: {said:?}");
            let mut snapshot = None;
            while let Some(action) = said.pop() {
                match action {
                    Action::Send(message) if message.kind == MessageKind::Snapshot => snapshot = message.snapshot,
                    Action::Send(message) => learner.handle(Event::Message(message)),
                    _ => {}
                }
                for action in actions(&mut learner) {
                    assert!(!matches!(action, Action::Append(_) | Action::Malformed { .. }), "{action:?}");
                    if let Action::Send(message) = action {
                        founder.handle(Event::Message(message));
                        said.extend(actions(&mut founder));
                    }
                }
            }
            snapshot
        });
        let snapshot = snapshot.expect("no snapshot was sent");
        assert_eq!((snapshot.index, snapshot.last), (base + 1, Lsn(501)));
    }
}

#[test]
fn an_entry_ends_where_an_operation_does_as_near_to_its_bound_as_can_be() {
    let noted = |ends: &[u64], upto: u64| {
        let settings = Settings { entry_records: 10, ..Settings::new(node(1), 1) };
        // The log ends with record 10.
        let mut core = Core::new(settings, loaded(3, true)).unwrap();
        ends.iter().for_each(|end| core.note_end(Lsn(*end)));
        core.next_cut(Lsn(upto)).0
    };
    let ends = [9, 12, 13, 19, 22, 31, 60];
    assert_eq!([15, 20, 21, 60].map(|upto| noted(&ends, upto)), [15, 20, 19, 19]);
    assert_eq!(noted(&[12, 20, 21, 60], 60), 20);
    // An operation that has more records than an entry is to have.
    assert_eq!([noted(&[31, 60], 60), noted(&[31], 25), noted(&[], 60)], [31, 25, 60]);
}
