//! Account files: what is read, and how each bad line is named.

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { accounts: 20, most: Cents(1_000_000) };

type Told = Result<Vec<(u32, i64)>, Vec<(u64, String)>>;

fn parse(text: impl AsRef<[u8]>, bounds: Bounds) -> Result<OpeningBalances, (Vec<BadLine>, u64)> {
    AccountFile::parse(text.as_ref(), bounds).unwrap()
}

fn told(text: impl AsRef<[u8]>) -> Told {
    match parse(text, BOUNDS) {
        Ok(list) => Ok(list.from(AccountId(0)).map(|(account, cents)| (account.0, cents.0)).collect()),
        Err((bad, count)) => {
            assert_eq!(bad.len() as u64, count);
            Err(bad.into_iter().map(|BadLine { line, why }| (line, why.to_string())).collect())
        }
    }
}

#[test]
fn a_file_is_read_as_people_write_it() {
    let text = "# the books of 1999\n\n  17, 1200.50\r\n\t3 ,7\t \n#4, 5.00\n0,0.1# no\u{2009}comment"
        .replace("# no\u{2009}comment", "");
    assert_eq!(told(text), Ok(vec![(0, 10), (3, 700), (17, 120_050)]));
    assert_eq!(told("5, 1.00 # Ada, of Ealing\n6, 2.00\t#\n   # nobody\n"), Ok(vec![(5, 100), (6, 200)]));
    assert_eq!(told("\u{feff}5, 1.00\n0007, +2\n8, -0.00"), Ok(vec![(5, 100), (7, 200), (8, 0)]));
    assert_eq!(told(b"# \xff\xfe in a comment\n5, 1.00\n"), Ok(vec![(5, 100)]));
    assert_eq!(told("19, 10000.00"), Ok(vec![(19, 1_000_000)]));
    for nothing in ["", "\n", "\r\n \t\n", "# 1, 2", "\u{feff}"] {
        assert_eq!(told(nothing), Ok(vec![]), "{nothing:?}");
    }
}

#[test]
fn a_bad_line_is_named_with_its_number_and_why() {
    let long = format!("1, {}", "0".repeat(usize::try_from(MAX_ACCOUNT_LINE_BYTES).unwrap()));
    for (line, why) in [
        ("17", "`17` is not of the form `account, balance`, such as `17, 1200.50`"),
        ("17 1200.50", "`17 1200.50` is not of the form"),
        ("17; 5", "`17; 5` is not of the form"),
        (", 5.00", "`` is not the number of an account"),
        ("-1, 5.00", "`-1` is not the number of an account"),
        ("+1, 5.00", "`+1` is not the number of an account"),
        ("1.0, 5.00", "`1.0` is not the number of an account"),
        ("0x1, 5.00", "`0x1` is not the number of an account"),
        ("1 7, 5.00", "`1 7` is not the number of an account"),
        ("\u{663}, 5.00", "`\u{663}` is not the number of an account"),
        ("20, 5.00", "there is no account 20: there are 20, numbered from 0"),
        ("4294967296, 5.00", "there is no account 4294967296: there are 20, numbered from 0"),
        ("17,", "`` is not an amount of money: write it like 12, 12.3 or 12.34"),
        ("17, 1.234", "`1.234` is not an amount of money"),
        ("17, 1,234.00", "`1,234.00` is not an amount of money"),
        ("17, 1e3", "`1e3` is not an amount of money"),
        ("17, $5", "`$5` is not an amount of money"),
        ("17, 12#00", "`12#00` is not an amount of money"),
        ("17, 5 \u{1b}[31m", "`5 \\x1b[31m` is not an amount of money"),
        ("17, 92233720368547758.08", "`92233720368547758.08` is beyond the largest amount, 92233720368547758.07"),
        ("17, -0.01", "`-0.01` is below zero"),
        ("17, 10000.01", "`10000.01` is more than an account can hold where there are 20: 10000.00"),
        (&long, "it has more than 1024 bytes"),
    ] {
        for (text, number) in [(format!("{line}\n1, 1.00"), 1), (format!("# books\n\n1, 1.00\r\n{line}"), 4)] {
            let Err(bad) = told(&text) else { panic!("{text} was read") };
            assert!(bad.len() == 1 && bad[0].0 == number && bad[0].1.starts_with(why), "{text:?}: {bad:?}");
        }
    }
    assert_eq!(
        told(b"1, 1.00\n17, \xff\n"),
        Err(vec![(2, "`\\xff` is not an amount of money: write it like 12, 12.3 or 12.34".to_owned())])
    );
}

#[test]
fn all_bad_lines_are_named_in_their_order_and_an_account_that_comes_again_with_where_it_came_first() {
    let text = "7, 1.00\n3, x\n7, 1.00\n5, 1.00\n7, 2.00\n99, 1.00\n5, 3.00\n";
    let lines = [
        (2, "`x` is not an amount of money: write it like 12, 12.3 or 12.34"),
        (3, "account 7 is listed already, in line 1"),
        (5, "account 7 is listed already, in line 1"),
        (6, "there is no account 99: there are 20, numbered from 0"),
        (7, "account 5 is listed already, in line 4"),
    ];
    assert_eq!(told(text), Err(lines.map(|(line, why)| (line, why.to_owned())).to_vec()));
}

#[test]
fn so_many_bad_lines_are_named_and_the_others_counted() {
    let most = u64::try_from(MAX_BAD_LINES).unwrap();
    for (line, lines) in [("x\n", most), ("x\n", most + 1), ("x\n", 5 * most)] {
        let (bad, count) = parse(line.repeat(usize::try_from(lines).unwrap()), BOUNDS).unwrap_err();
        assert_eq!((bad.len() as u64, count), (lines.min(most), lines));
        assert!(bad.iter().zip(1..).all(|(bad, number)| bad.line == number));
        let error = AccountFileError::Lines { path: "books.txt".into(), bad, count };
        let named: Vec<String> = error.details().collect();
        assert!(named[0].starts_with("books.txt, line 1: `x` is not of the form"), "{}", named[0]);
        let unnamed = format!("books.txt: {} more lines cannot be used either", lines - lines.min(most));
        assert_eq!((named.len() as u64, named.last() == Some(&unnamed)), (lines.min(most + 1), lines > most));
        let end = format!("{lines} lines of the account file books.txt cannot be used, so nothing was begun");
        assert_eq!(error.to_string(), end);
    }
    let one = AccountFileError::Lines { path: "b".into(), bad: parse("x", BOUNDS).unwrap_err().0, count: 1 };
    assert_eq!(one.to_string(), "1 line of the account file b cannot be used, so nothing was begun");
    // Of repeated accounts it is the same, whatever order they come in.
    let many = Bounds { accounts: 10_000, most: Cents(100) };
    let text: String = (0..10_000).map(|n| format!("{}, 1\n", (10_000 - n) / 2)).collect();
    let (bad, count) = parse(&text, many).unwrap_err();
    assert_eq!((bad.len(), count), (MAX_BAD_LINES, 4_999));
    assert!(bad.iter().zip(1..).all(|(bad, n)| bad.line == 2 * n + 1), "{:?}", &bad[..3]);
}

#[test]
fn an_endless_file_is_not_read_to_its_end() {
    /// Gives the same line for ever.
    struct Endless<'a>(&'a [u8], usize);
    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.iter_mut().for_each(|byte| {
                *byte = self.0[self.1 % self.0.len()];
                self.1 += 1;
            });
            Ok(buffer.len())
        }
    }
    let mut reader = BufReader::new(Endless(b"1, 1\n", 0));
    let (bad, count) = AccountFile::parse(&mut reader, BOUNDS).unwrap().unwrap_err();
    assert_eq!((bad.len(), count), (20, 20), "21 balances of 20 accounts");
}

#[test]
fn what_cannot_be_read_is_named() {
    let home = tempfile::tempdir().unwrap();
    for path in [home.path().to_owned(), home.path().join("none")] {
        let said = AccountFile::read(&path, BOUNDS).unwrap_err().to_string();
        assert!(said.starts_with(&format!("cannot read the account file {}: ", path.display())), "{said}");
    }
    let path = home.path().join("books");
    std::fs::write(&path, "3, 4.00\n").unwrap();
    assert_eq!(AccountFile::read(&path, BOUNDS).unwrap().of(AccountId(3)), Some(Cents(400)));
}

proptest! {
    #[test]
    fn what_is_written_is_read(balances in prop::collection::btree_map(any::<u32>(), 0..=i64::MAX, 0..50)) {
        let balances: OpeningBalances =
            balances.into_iter().map(|(account, cents)| (AccountId(account % (1 << 30)), Cents(cents))).collect();
        let mut text = Vec::new();
        for (account, balance) in balances.from(AccountId(0)) {
            write_line(&mut text, account, balance).unwrap();
        }
        let bounds = Bounds { accounts: 1 << 30, most: Cents(i64::MAX) };
        prop_assert_eq!(parse(&text, bounds), Ok(balances));
    }

    #[test]
    fn no_text_is_a_panic_and_what_is_read_is_within_the_bounds(text in "([0-9]{1,3}|[ ,.#x\n\r-]){0,60}") {
        match parse(&text, BOUNDS) {
            Ok(list) => {
                let within = |(account, cents): (AccountId, Cents)| {
                    account.0 < BOUNDS.accounts && (Cents::ZERO..=BOUNDS.most).contains(&cents)
                };
                prop_assert!(list.from(AccountId(0)).all(within));
            }
            Err((bad, count)) => {
                prop_assert_eq!(bad.len() as u64, count);
                let lines = text.split('\n').count() as u64;
                prop_assert!(bad.iter().all(|bad| (1..=lines).contains(&bad.line)));
                prop_assert!(bad.is_sorted_by(|one, other| one.line < other.line));
            }
        }
    }
}
