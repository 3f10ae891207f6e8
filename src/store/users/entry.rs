//! The text of the users file: `name:argon2id hash:role`, one user per line; `#` begins a comment line. A line may end in `:uid=N`: then
//! the key-value service takes callers of that uid for this user.
//!
//! A hash in PHC form holds no colon and a name may not, so the two first colons part the fields, and the role may have
//! one of its own: `ada:$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH:customer:100-199:uid=1000`.

use std::collections::HashMap;

use argon2::Params;
use argon2::password_hash::{PasswordHash, PasswordHashString};

use super::role::{Role, RoleError};
use crate::base::limits::MAX_CREDENTIAL_BYTES;

/// The most memory that checking one password may take, KiB: 1 GiB. A slip in the file must not stop the machine.
const MAX_MEMORY_KIB: u32 = 1 << 20;
/// The most passes over that memory.
const MAX_PASSES: u32 = 64;
/// The most lanes, which the `argon2` crate computes one after the other.
const MAX_LANES: u32 = 64;

/// One user.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The line it stands on, counted from 1.
    pub line: usize,
    pub name: String,
    pub hash: PasswordHashString,
    pub role: Role,
    /// By which callers of the key-value service claim to be this user.
    pub uid: Option<u32>,
    /// The number by which records and keys know him.
    pub principal: u32,
}

impl Entry {
    /// How much work it is to check this user's password, in KiB written.
    pub fn work(&self) -> u64 {
        // Parsing has shown the parameters to be good, so the default never stands in.
        let params = Params::try_from(&self.hash.password_hash()).unwrap_or_default();
        u64::from(params.m_cost()) * u64::from(params.t_cost())
    }
}

/// A name that no user can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a user name: names have 1 to {MAX_CREDENTIAL_BYTES} characters \
     out of a-z, A-Z, 0-9 and the signs . _ - @"
)]
pub struct NameError(pub String);

/// What is wrong with one line of the users file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Fewer than three fields.
    #[error("a user is written as name:hash:role; make such lines with `vaultctl user add`")]
    Fields,
    /// The first field.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The second field; the text is not shown, because it is a secret of sorts.
    #[error("the hash of `{name}` is not an argon2id hash in PHC form ({reason}); remove the user and add it again")]
    Hash {
        /// The user.
        name: String,
        /// What does not hold.
        reason: String,
    },
    /// The third field.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The uid at the end is no number of 32 bits.
    #[error("`uid={0}` is none: a uid is a number from 0 to 4294967295")]
    Uid(String),
    /// A uid that an earlier line has.
    #[error("uid {uid} stands already on line {first}; remove one of the two")]
    DuplicateUid {
        /// The uid.
        uid: u32,
        /// The earlier line, counted from 1.
        first: usize,
    },
    /// A name that an earlier line has.
    #[error("the user `{name}` stands already on line {first}; remove one of the two")]
    Duplicate {
        /// The user.
        name: String,
        /// The earlier line, counted from 1.
        first: usize,
    },
}

/// Reads all users, in the order of the file; a refusal names the line, counted from 1.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, (usize, LineError)> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut lines_by_name: HashMap<&str, usize> = HashMap::new();
    let mut lines_by_uid: HashMap<u32, usize> = HashMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (name, hash, role, uid) = parse_line(content).map_err(|refusal| (line, refusal))?;
        if let Some(uid) = uid
            && let Some(first) = lines_by_uid.insert(uid, line)
        {
            return Err((line, LineError::DuplicateUid { uid, first }));
        }
        if let Some(first) = lines_by_name.insert(name, line) {
            return Err((line, LineError::Duplicate { name: name.to_owned(), first }));
        }
        let principal = crc32fast::hash(name.as_bytes());
        entries.push(Entry { line, name: name.to_owned(), hash, role, uid, principal });
    }
    Ok(entries)
}

fn parse_line(content: &str) -> Result<(&str, PasswordHashString, Role, Option<u32>), LineError> {
    let mut fields = content.splitn(3, ':');
    let (Some(name), Some(hash), Some(role)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(LineError::Fields);
    };
    check_name(name)?;
    let hash = parse_hash(hash).map_err(|reason| LineError::Hash { name: name.to_owned(), reason })?;
    let (role, uid) = match role.split_once(":uid=") {
        None => (role, None),
        Some((role, uid)) => (role, Some(uid.parse().map_err(|_| LineError::Uid(uid.to_owned()))?)),
    };
    Ok((name, hash, role.parse()?, uid))
}

/// Whether a user can have this name: what needs no quoting in the file, in a shell, or in a log.
pub(super) fn check_name(name: &str) -> Result<(), NameError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    if (1..=MAX_CREDENTIAL_BYTES).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(NameError(name.to_owned()))
    }
}

fn parse_hash(text: &str) -> Result<PasswordHashString, String> {
    let hash = PasswordHash::new(text).map_err(|e| e.to_string())?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("its algorithm is {}", hash.algorithm));
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("its salt or its output is missing".to_owned());
    }
    // Before the crate calculates with them, which overflows from 2^29 lanes on.
    for (name, value) in hash.params.iter() {
        let most = match name.as_str() {
            "m" => MAX_MEMORY_KIB,
            "t" => MAX_PASSES,
            "p" => MAX_LANES,
            _ => continue,
        };
        if value.decimal().is_ok_and(|value| value > most) {
            return Err(format!("{name}={value} is beyond {name}={most}"));
        }
    }
    Params::try_from(&hash).map_err(|e| e.to_string())?;
    Ok(hash.serialize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA";

    fn refusal(text: &str) -> (usize, LineError) {
        parse(text).unwrap_err()
    }

    #[test]
    fn users_are_read_in_order_with_their_lines() {
        let text =
            format!("# tellers\n\nada:{HASH}:teller\n  bob@home:{HASH}:customer:1-2  \n#x\nc.d_e-f:{HASH}:auditor");
        let users: Vec<_> = parse(&text).unwrap().into_iter().map(|e| (e.line, e.name, e.role.to_string())).collect();
        let expected = [(3, "ada", "teller"), (4, "bob@home", "customer:1-2"), (6, "c.d_e-f", "auditor")];
        assert_eq!(users, expected.map(|(line, name, role)| (line, name.to_owned(), role.to_owned())));
    }

    #[test]
    fn a_refusal_names_its_line() {
        assert_eq!(refusal("\nada"), (2, LineError::Fields));
        assert_eq!(refusal(&format!("ada:{HASH}")), (1, LineError::Fields));
        assert_eq!(refusal(&format!("#\n#\nä:{HASH}:teller")), (3, NameError("ä".to_owned()).into()));
        assert_eq!(refusal(&format!(":{HASH}:teller")), (1, NameError(String::new()).into()));
        assert_eq!(refusal(&format!("ada:{HASH}:boss")), (1, RoleError("boss".to_owned()).into()));
        let twice = format!("ada:{HASH}:teller\nbob:{HASH}:teller\nada:{HASH}:auditor\n");
        assert_eq!(refusal(&twice), (3, LineError::Duplicate { name: "ada".to_owned(), first: 1 }));
    }

    #[test]
    fn a_line_may_end_in_the_uid_of_its_user() {
        let text = format!("ada:{HASH}:teller:uid=0\nbob:{HASH}:customer:1-2:uid=4294967295\neve:{HASH}:auditor");
        let users: Vec<_> = parse(&text).unwrap().into_iter().map(|e| (e.role.to_string(), e.uid)).collect();
        let expected = [("teller", Some(0)), ("customer:1-2", Some(u32::MAX)), ("auditor", None)];
        assert_eq!(users, expected.map(|(role, uid)| (role.to_owned(), uid)));
        for uid in ["", "-1", "x", "4294967296", "1:uid=2"] {
            assert_eq!(refusal(&format!("ada:{HASH}:teller:uid={uid}")), (1, LineError::Uid(uid.to_owned())));
        }
        let twice = format!("ada:{HASH}:teller:uid=7\nbob:{HASH}:teller:uid=7");
        assert_eq!(refusal(&twice), (2, LineError::DuplicateUid { uid: 7, first: 1 }));
    }

    #[test]
    fn only_bounded_argon2id_is_a_hash() {
        for (hash, reason) in [
            ("secret", "missing field"),
            ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", "argon2i"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21l", "missing"),
            ("$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", "m=4194304"),
            ("$argon2id$v=19$m=8,t=65,p=1$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", "t=65"),
            ("$argon2id$v=19$m=8,t=0,p=1$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", ""),
            ("$argon2id$v=19$m=1048576,t=1,p=65$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", "p=65"),
            ("$argon2id$v=19$m=8,t=1,p=536870912$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", "p=536870912"),
            ("$argon2id$v=19$m=8,t=1,p=4294967295$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", "p=4294967295"),
            ("$argon2id$v=19$m=8,t=1,p=4294967296$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", ""),
            ("$argon2id$v=19$m=8,t=1,p=1,p=536870912$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", ""),
            ("$argon2id$v=19$p=536870912,m=8,t=1$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", "p=536870912"),
            ("$argon2id$v=19$m=4294967295,t=1,p=536870911$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA", "m=4294967295"),
        ] {
            let (_, LineError::Hash { name, reason: told }) = refusal(&format!("ada:{hash}:teller")) else {
                panic!("{hash} was not refused as a hash");
            };
            assert_eq!(name, "ada");
            assert!(told.contains(reason), "{hash}: {told}");
        }
    }
}
