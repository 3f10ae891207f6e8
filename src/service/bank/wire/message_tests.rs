use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::BodyError;
use crate::base::limits::{
    HEADER_BYTES, LSN_BYTES, MAX_CLUSTER_REPLY_BYTES, MAX_FRAME_BYTES, MAX_PEER_ADDRESS_BYTES, MAX_REPLICAS,
    MAX_STATEMENT_ENTRIES, STATEMENT_ENTRY_BYTES,
};
use crate::base::vocab::{AccountId, Cents, Lsn, ReplicaRole, SessionId};
use crate::service::bank::wire::{
    Cluster, ClusterMember, Decoder, Entry, Envelope, Flags, Frame, Header, Movement, Next, Opcode, Request, Response,
    Statement, Status, Step, Totals, UnknownStatus, XorKey, checksum,
};

/// A request with its texts owned.
#[derive(Debug, Clone)]
enum Owned {
    Login(Vec<u8>, Vec<u8>),
    Other(Request<'static>),
}

impl Owned {
    fn request(&self) -> Request<'_> {
        match self {
            Owned::Login(user, pass) => Request::Login { user, pass },
            Owned::Other(request) => *request,
        }
    }
}

fn any_request() -> impl Strategy<Value = Owned> {
    let account = || any::<u32>().prop_map(AccountId);
    let amount = || any::<i64>().prop_map(Cents);
    let login =
        (vec(any::<u8>(), 0..=255), vec(any::<u8>(), 0..=255)).prop_map(|(user, pass)| Owned::Login(user, pass));
    let other = prop_oneof![
        (account(), amount()).prop_map(|(account, amount)| Request::Deposit { account, amount }),
        (account(), amount()).prop_map(|(account, amount)| Request::Withdraw { account, amount }),
        (account(), account(), amount()).prop_map(|(from, to, amount)| Request::Transfer { from, to, amount }),
        account().prop_map(|account| Request::Balance { account }),
        (account(), any::<u64>(), any::<u16>()).prop_map(|(account, before, limit)| Request::History {
            account,
            before: Lsn(before),
            limit
        }),
        Just(Request::Ping),
        Just(Request::Totals),
        Just(Request::Cluster),
    ];
    prop_oneof![1 => login, 8 => other.prop_map(Owned::Other)]
}

fn any_response() -> impl Strategy<Value = Response> {
    let amount = || any::<i64>().prop_map(Cents);
    let totals = (any::<u32>(), amount(), amount(), amount(), any::<u64>()).prop_map(
        |(accounts, sum, deposited, withdrawn, lsn)| Totals { accounts, sum, deposited, withdrawn, lsn: Lsn(lsn) },
    );
    prop_oneof![
        any::<u32>().prop_map(|session| Response::Login { session: SessionId(session) }),
        amount().prop_map(|balance| Response::Deposit { balance }),
        amount().prop_map(|balance| Response::Withdraw { balance }),
        (amount(), amount()).prop_map(|(from_balance, to_balance)| Response::Transfer { from_balance, to_balance }),
        amount().prop_map(|balance| Response::Balance { balance }),
        any::<u64>().prop_map(|server_time_ms| Response::Ping { server_time_ms }),
        totals.prop_map(Response::Totals),
        (any::<u16>(), 1usize..15).prop_map(|(opcode, at)| Response::Error { opcode, status: Status::ALL[at] }),
    ]
}

fn any_statement() -> impl Strategy<Value = Statement> {
    let other = || (0..u32::MAX).prop_map(AccountId);
    let movement = prop_oneof![
        Just(Movement::Deposit),
        Just(Movement::Withdraw),
        other().prop_map(|to| Movement::TransferOut { to }),
        other().prop_map(|from| Movement::TransferIn { from }),
    ];
    let entry = (any::<u64>(), any::<u64>(), movement, 1..=i64::MAX, any::<i64>()).prop_map(
        |(lsn, time_ms, movement, amount, balance)| Entry {
            lsn: Lsn(lsn),
            time_ms,
            movement,
            amount: Cents(amount),
            balance_after: Cents(balance),
        },
    );
    let next =
        prop_oneof![Just(Next::Opening), Just(Next::Trimmed), (1..u64::MAX).prop_map(|lsn| Next::Before(Lsn(lsn)))];
    (vec(entry, 0..=MAX_STATEMENT_ENTRIES), next).prop_map(|(entries, next)| Statement { entries, next })
}

fn any_cluster() -> impl Strategy<Value = Cluster> {
    let role = || (0..ReplicaRole::ALL.len()).prop_map(|at| ReplicaRole::ALL[at]);
    let address = || "[ -~]{0,46}";
    let member = (any::<u8>(), any::<u64>(), role(), any::<u64>(), any::<u32>(), address(), address()).prop_map(
        |(replica, node, role, lsn, heard_ms, peer_address, client_address)| ClusterMember {
            replica,
            node,
            role,
            match_lsn: Lsn(lsn),
            heard_ms,
            peer_address,
            client_address,
        },
    );
    let numbers = (any::<u8>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u8>());
    (role(), numbers, address(), vec(member, 0..=MAX_REPLICAS.into())).prop_map(
        |(role, (replica, term, committed, applied, primary), primary_address, members)| Cluster {
            replica,
            role,
            term,
            committed: Lsn(committed),
            applied: Lsn(applied),
            primary,
            primary_address,
            members,
        },
    )
}

/// The one frame that `bytes` are, and its body decrypted, without the LSN before it.
fn open(bytes: &[u8], xor: Option<XorKey>, is_reply: bool) -> (Frame<'_>, Vec<u8>) {
    let (used, step) = Decoder::default().step(bytes);
    let Step::Frame(frame) = step else { panic!("{step:?}") };
    assert_eq!(used, bytes.len());
    assert_eq!(frame.header.flags.contains(Flags::XOR), xor.is_some());
    let mut body = if is_reply { frame.reply().1.to_vec() } else { frame.body.to_vec() };
    if let Some(xor) = xor {
        xor.apply(&mut body);
    }
    (frame, body)
}

proptest! {
    #[test]
    fn every_request_round_trips(
        owned in any_request(), seq: u32, key in option::of(any::<[u8; 16]>()), xor in option::of(any::<u32>()),
        after in option::of(any::<u64>()), asks_lsn: bool,
    ) {
        let request = owned.request();
        let xor = xor.map(XorKey::from_bits);
        let mut bytes = b"before".to_vec();
        let after = after.map(Lsn);
        request.encode_in(&Envelope { seq, key: key.as_ref(), after, asks_lsn, xor }, &mut bytes);
        let (frame, body) = open(&bytes[6..], xor, false);
        prop_assert_eq!((frame.header.seq, frame.key.copied(), frame.after), (seq, key, after));
        prop_assert_eq!(frame.header.flags.contains(Flags::LSN), asks_lsn);
        let opcode = Opcode::try_from(frame.header.opcode).unwrap();
        prop_assert_eq!(opcode, request.opcode());
        prop_assert_eq!(Request::decode(opcode, &body), Ok(request));
        // A key stands where something could be done twice, and nowhere else.
        let whole = if key.is_some() && !opcode.is_money() { Err(BodyError::Key(opcode)) } else { Ok(request) };
        prop_assert_eq!(Request::of_frame(&frame, &body), whole);
    }

    #[test]
    fn every_response_round_trips(
        response in any_response(), seq: u32, xor in option::of(any::<u32>()), lsn in option::of(any::<u64>()),
    ) {
        let (xor, lsn) = (xor.map(XorKey::from_bits), lsn.map(Lsn));
        let mut bytes = Vec::new();
        response.encode_as_of(seq, xor, lsn, &mut bytes);
        let (frame, body) = open(&bytes, xor, true);
        prop_assert_eq!(frame.header.seq, seq);
        let is_error = matches!(response, Response::Error { .. });
        prop_assert_eq!(frame.reply().0, lsn.filter(|_| !is_error), "an error carries none");
        prop_assert!(!is_error || bytes.len() == HEADER_BYTES + 2);
        prop_assert_eq!(Response::decode(&frame.header, &body), Ok(response));
    }

    #[test]
    fn every_statement_round_trips(
        statement in any_statement(), seq: u32, xor in option::of(any::<u32>()), lsn in option::of(any::<u64>()),
    ) {
        let (xor, lsn) = (xor.map(XorKey::from_bits), lsn.map(Lsn));
        let mut bytes = b"before".to_vec();
        statement.encode_as_of(seq, xor, lsn, &mut bytes);
        let (frame, body) = open(&bytes[6..], xor, true);
        prop_assert_eq!(frame.reply().0, lsn);
        prop_assert_eq!((frame.header.seq, frame.header.opcode), (seq, Opcode::History.code()));
        prop_assert_eq!(Statement::decode(&body), Ok(statement));
        // Nothing but a statement's own reader takes it, and no other length is one.
        prop_assert_eq!(Response::decode(&frame.header, &body), Err(BodyError::Page(Opcode::History)));
        let length = |got| Err(BodyError::Length { opcode: Opcode::History, got });
        prop_assert_eq!(Statement::decode(&body[..body.len() - 1]), length(body.len() - 1));
        let longer = [body.as_slice(), &[0]].concat();
        prop_assert_eq!(Statement::decode(&longer), length(longer.len()));
    }

    #[test]
    fn every_answer_to_cluster_round_trips(
        cluster in any_cluster(), seq: u32, xor in option::of(any::<u32>()), lsn in option::of(any::<u64>()),
    ) {
        let (xor, lsn) = (xor.map(XorKey::from_bits), lsn.map(Lsn));
        let mut bytes = b"before".to_vec();
        cluster.encode_as_of(seq, xor, lsn, &mut bytes);
        prop_assert!(bytes.len() - 6 <= MAX_CLUSTER_REPLY_BYTES);
        let (frame, body) = open(&bytes[6..], xor, true);
        prop_assert_eq!((frame.header.seq, frame.header.opcode, frame.reply().0), (seq, Opcode::Cluster.code(), lsn));
        prop_assert_eq!(Cluster::decode(&body), Ok(cluster));
        prop_assert_eq!(Response::decode(&frame.header, &body), Err(BodyError::Page(Opcode::Cluster)));
        for end in 0..body.len() {
            prop_assert!(Cluster::decode(&body[..end]).is_err());
        }
        let longer = [body.as_slice(), &[0]].concat();
        prop_assert_eq!(Cluster::decode(&longer), Err(BodyError::Length { opcode: Opcode::Cluster, got: longer.len() }));
    }

    #[test]
    fn no_body_is_a_panic(opcode in 0usize..9, flags in 0u8..32, body in vec(any::<u8>(), 0..64)) {
        let opcode = Opcode::ALL[opcode];
        let _ = Request::decode(opcode, &body);
        let _ = Statement::decode(&body);
        let _ = Cluster::decode(&body);
        let flags = Flags::from_bits(flags).unwrap();
        let _ = Response::decode(&Header { length: 0, flags, opcode: opcode.code(), seq: 0 }, &body);
    }

    #[test]
    fn a_checksum_counts_every_byte_but_its_own(frame in vec(any::<u8>(), HEADER_BYTES..300)) {
        let mut plain = frame.clone();
        plain[14..18].fill(0);
        prop_assert_eq!(checksum(&frame), crc32fast::hash(&plain));
    }
}

#[test]
fn a_body_of_another_length_is_refused() {
    for opcode in Opcode::ALL {
        let right: Vec<usize> = (0..200).filter(|&len| Request::decode(opcode, &vec![0; len]).is_ok()).collect();
        let wanted = match opcode {
            Opcode::Login => 2,
            Opcode::Deposit | Opcode::Withdraw => 12,
            Opcode::Transfer => 16,
            Opcode::Balance => 4,
            Opcode::History => 14,
            Opcode::Ping | Opcode::Totals | Opcode::Cluster => 0,
        };
        assert_eq!(right, [wanted], "{opcode}");
    }
}

#[test]
fn a_response_must_agree_with_its_error_flag() {
    let header = |flags| Header { length: 20, flags, opcode: Opcode::Deposit.code(), seq: 1 };
    let refused = Response::decode(&header(Flags::NONE), &[0, 5]);
    assert_eq!(refused, Err(BodyError::Contradiction(Status::Insufficient)));
    assert_eq!(Response::decode(&header(Flags::ERROR), &[0, 0]), Err(BodyError::Contradiction(Status::Ok)));
    assert_eq!(Response::decode(&header(Flags::ERROR), &[0, 99]), Err(BodyError::Status(UnknownStatus(99))));
    let busy = Response::decode(&header(Flags::ERROR), &[0, 6]).unwrap();
    assert_eq!(busy.status(), Status::Busy);
    // An error says no more than its status.
    let long = Response::decode(&header(Flags::ERROR), &[0, 6, 0]);
    assert_eq!(long, Err(BodyError::Length { opcode: Opcode::Deposit, got: 3 }));
}

#[test]
fn a_full_page_is_the_most_that_a_frame_can_hold() {
    let entry =
        Entry { lsn: Lsn(1), time_ms: 2, movement: Movement::Deposit, amount: Cents(3), balance_after: Cents(4) };
    let mut bytes = Vec::new();
    Statement { entries: vec![entry; MAX_STATEMENT_ENTRIES], next: Next::Opening }.encode(1, None, &mut bytes);
    assert!(bytes.len() <= MAX_FRAME_BYTES && bytes.len() + STATEMENT_ENTRY_BYTES > MAX_FRAME_BYTES);
}

#[test]
fn a_full_page_fits_behind_an_lsn() {
    let entry =
        Entry { lsn: Lsn(1), time_ms: 2, movement: Movement::Deposit, amount: Cents(3), balance_after: Cents(4) };
    let mut bytes = Vec::new();
    let page = Statement { entries: vec![entry; MAX_STATEMENT_ENTRIES], next: Next::Opening };
    page.encode_as_of(1, None, Some(Lsn(u64::MAX)), &mut bytes);
    let (frame, body) = open(&bytes, None, true);
    assert_eq!((frame.reply().0, Statement::decode(&body)), (Some(Lsn(u64::MAX)), Ok(page)));
}

#[test]
fn the_largest_cluster_is_as_long_as_its_bound() {
    let address = "x".repeat(MAX_PEER_ADDRESS_BYTES);
    let member =
        ClusterMember { peer_address: address.clone(), client_address: address.clone(), ..ClusterMember::default() };
    let members = vec![member; MAX_REPLICAS.into()];
    let full = Cluster { primary_address: address, members, ..Cluster::default() };
    let encode = |cluster: &Cluster| {
        let mut bytes = Vec::new();
        cluster.encode_as_of(1, None, Some(Lsn(1)), &mut bytes);
        bytes
    };
    assert_eq!(encode(&full).len(), MAX_CLUSTER_REPLY_BYTES);
    // What is beyond the bounds is left out, and a reader takes none of it.
    let mut beyond = full.clone();
    beyond.primary_address.push('y');
    beyond.members.push(ClusterMember::default());
    assert_eq!(encode(&beyond), encode(&full));
    let body = encode(&full)[HEADER_BYTES + LSN_BYTES..].to_vec();
    let with = |at: usize, byte: u8| {
        let mut body = body.clone();
        body[at] = byte;
        Cluster::decode(&body).unwrap_err()
    };
    assert_eq!(with(3, 5), BodyError::Role(5));
    assert_eq!(with(1, 4), BodyError::Contradiction(Status::NoAccount));
    assert_eq!(with(29 + 1 + MAX_PEER_ADDRESS_BYTES, MAX_REPLICAS + 1), BodyError::Members(8));
    assert_eq!(with(29, 47), BodyError::Members(47));
    assert_eq!(with(30, 0xff), BodyError::Members(46), "no text");
}

#[test]
fn a_reply_too_short_for_its_lsn_is_no_reply() {
    for body in [vec![], vec![0; 7]] {
        let header = Header { length: 18, flags: Flags::LSN, opcode: Opcode::Balance.code(), seq: 1 };
        let frame = Frame { header, key: None, after: None, body: &body };
        assert_eq!(frame.reply(), (None, &[][..]));
        let length = BodyError::Length { opcode: Opcode::Balance, got: 0 };
        assert_eq!(Response::decode(&header, frame.reply().1), Err(length));
    }
}

#[test]
fn an_account_gains_by_what_comes_in() {
    let (to, from) = (AccountId(1), AccountId(2));
    let movements =
        [Movement::Deposit, Movement::Withdraw, Movement::TransferOut { to }, Movement::TransferIn { from }];
    assert_eq!(movements.map(Movement::is_gain), [true, false, false, true]);
}

#[test]
fn an_entry_must_make_sense() {
    let movement = Movement::TransferIn { from: AccountId(7) };
    let entry = Entry { lsn: Lsn(1), time_ms: 2, movement, amount: Cents(3), balance_after: Cents(4) };
    let mut bytes = Vec::new();
    Statement { entries: vec![entry], next: Next::Opening }.encode(1, None, &mut bytes);
    let body = &bytes[HEADER_BYTES..];
    let with = |kind: u8, counterparty: u32| {
        let mut body = body.to_vec();
        body[4 + 16] = kind;
        body[4 + 25..4 + 29].copy_from_slice(&counterparty.to_be_bytes());
        Statement::decode(&body).map(|statement| statement.entries[0].movement)
    };
    let of = |amount: i64| {
        let mut body = body.to_vec();
        body[4 + 17..4 + 25].copy_from_slice(&amount.to_be_bytes());
        Statement::decode(&body).map(|statement| statement.entries[0].amount.0)
    };
    assert_eq!(of(i64::MAX), Ok(i64::MAX));
    for amount in [0, -1, i64::MIN] {
        assert_eq!(of(amount), Err(BodyError::Amount(Cents(amount))), "it would be shown with its sign turned round");
    }
    let nobody = u32::MAX;
    assert_eq!(with(4, 7), Ok(movement));
    assert_eq!(with(1, nobody), Ok(Movement::Deposit));
    for (kind, counterparty) in [(0, nobody), (1, 7), (2, 7), (3, nobody), (4, nobody), (5, 7), (255, nobody)] {
        assert_eq!(with(kind, counterparty), Err(BodyError::Entry { kind, counterparty }));
    }
    assert_eq!(Statement::decode(&[&[0, 4], &body[2..]].concat()), Err(BodyError::Contradiction(Status::NoAccount)));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The worked examples of docs/PROTOCOL.md are what this code sends.
#[test]
fn the_document_shows_true_bytes() {
    let document = include_str!("../../../../docs/PROTOCOL.md");
    let session = SessionId(0x5EED_0001);
    let xor = XorKey::derive(b"demo", session);
    let deposit = Request::Deposit { account: AccountId(12), amount: Cents(2500) };
    let deposited = Response::Deposit { balance: Cents(102_500) };
    let refused = Response::Error { opcode: Opcode::Withdraw.code(), status: Status::Insufficient };
    let mut frames = Vec::new();
    let mut show = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        frames.push(hex(&bytes));
    };
    show(&|out| Request::Login { user: b"demo", pass: b"demo" }.encode(1, None, None, out));
    show(&|out| Response::Login { session }.encode(1, None, out));
    show(&|out| deposit.encode(2, None, None, out));
    show(&|out| deposited.encode(2, None, out));
    show(&|out| deposit.encode(3, None, Some(xor), out));
    show(&|out| refused.encode(4, None, out));
    let key: [u8; 16] = std::array::from_fn(|at| 0xA0 | u8::try_from(at).unwrap());
    show(&|out| deposit.encode(5, Some(&key), None, out));
    show(&|out| Request::History { account: AccountId(12), before: Lsn(0), limit: 1 }.encode(6, None, None, out));
    let entry = Entry {
        lsn: Lsn(300),
        time_ms: 1_735_689_600_000,
        movement: Movement::Deposit,
        amount: Cents(2500),
        balance_after: Cents(102_500),
    };
    show(&|out| Statement { entries: vec![entry], next: Next::Before(Lsn(17)) }.encode(6, None, out));
    let envelope = Envelope { seq: 7, key: Some(&key), after: Some(Lsn(299)), asks_lsn: true, xor: None };
    show(&|out| deposit.encode_in(&envelope, out));
    show(&|out| deposited.encode_as_of(7, None, Some(Lsn(300)), out));
    show(&|out| Request::Cluster.encode(8, None, None, out));
    let address = "127.0.0.1:7777".to_owned();
    let itself = ClusterMember { match_lsn: Lsn(300), client_address: address.clone(), ..ClusterMember::default() };
    let cluster = Cluster {
        committed: Lsn(300),
        applied: Lsn(300),
        primary_address: address,
        members: vec![itself],
        ..Cluster::default()
    };
    show(&|out| cluster.encode_as_of(8, None, None, out));
    for frame in frames {
        assert!(document.contains(&frame), "docs/PROTOCOL.md lacks {frame}");
    }
    let key = format!("{:08x}", xor.to_bits());
    assert!(document.contains(&key), "docs/PROTOCOL.md lacks the key {key}");
}
