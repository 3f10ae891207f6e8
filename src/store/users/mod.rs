//! Who may log in, and as what.
//!
//! Loading and checking take no lock and share no state, so one [`Users`] serves all threads of a worker. Checking a
//! password of a users file is slow on purpose (tens of milliseconds): never call [`Users::verify`] in an event loop.

mod entry;
mod error;
mod file;
mod role;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use argon2::Argon2;
use argon2::password_hash::{Output, PasswordHash, PasswordHashString, PasswordVerifier};

use entry::Entry;

pub use entry::{LineError, NameError};
pub use error::UsersError;
pub use file::{add, list, remove};
pub use role::{AccountRange, Role, RoleError};

/// The one user of demo mode.
const DEMO: &str = "demo";
/// The same in bytes.
const DEMO_NAME: &[u8] = DEMO.as_bytes();
/// That user's password.
const DEMO_PASSWORD: &[u8] = b"demo";
/// A hash of nobody's password with the costs that [`add`] uses; its salt and output are zeros.
const HASH_OF_NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The users that a server knows, as their file was when it was read.
///
/// Until they are [`numbered`](Users::numbered), each is known by the CRC-32 of the name, which two could share.
pub struct Users(Kind);

/// A user who has shown the right password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What he may do.
    pub role: Role,
    /// The number by which records and keys know him.
    pub principal: u32,
}

enum Kind {
    Demo {
        principal: u32,
    },
    File {
        users: HashMap<Vec<u8>, Entry>,
        /// What the password of an unknown user is compared with: as costly as a user's, and equal to nothing.
        stranger: PasswordHashString,
    },
}

impl Users {
    /// Demo mode: the teller `demo` with the password `demo`. Only for servers that listen on loopback.
    #[must_use]
    pub fn demo() -> Users {
        Users(Kind::Demo { principal: crc32fast::hash(DEMO_NAME) })
    }

    /// Reads a users file; logs a warning if others may read it, and refuses it if others may write it.
    pub fn load(path: &Path) -> Result<Users, UsersError> {
        Ok(Users::from_entries(file::read(path)?))
    }

    /// These users as the text of a users file, in no order; `None` in demo mode.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        let Kind::File { users, .. } = &self.0 else { return None };
        let uid_of = |uid: &Option<u32>| uid.map(|uid| format!(":uid={uid}")).unwrap_or_default();
        let line =
            |Entry { name, hash, role, uid, .. }: &Entry| format!("{name}:{}:{role}{}\n", hash.as_str(), uid_of(uid));
        Some(users.values().map(line).collect())
    }

    /// The users of a file with this text.
    ///
    /// # Errors
    /// The first line that is none, counted from 1, and what is wrong with it.
    pub fn from_text(text: &str) -> Result<Users, (usize, LineError)> {
        entry::parse(text).map(Users::from_entries)
    }

    fn from_entries(entries: Vec<Entry>) -> Users {
        let stranger = hash_of_nobody(entries.iter().max_by_key(|entry| entry.work()));
        let users = entries.into_iter().map(|entry| (entry.name.clone().into_bytes(), entry)).collect();
        Users(Kind::File { users, stranger })
    }

    /// Whether this is demo mode.
    #[must_use]
    pub fn is_demo(&self) -> bool {
        matches!(self.0, Kind::Demo { .. })
    }

    /// All names, in the order of the file.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        match &self.0 {
            Kind::Demo { .. } => vec![DEMO],
            Kind::File { users, .. } => {
                let mut entries: Vec<_> = users.values().collect();
                entries.sort_unstable_by_key(|entry| entry.line);
                entries.into_iter().map(|entry| entry.name.as_str()).collect()
            }
        }
    }

    /// The same users, known by the numbers that `number_of` gives. A user without one can log in after the next reload: he was
    /// added to the file after the numbers had been assigned.
    #[must_use]
    pub fn numbered(mut self, number_of: impl Fn(&str) -> Option<u32>) -> Users {
        match &mut self.0 {
            Kind::Demo { principal } => *principal = number_of(DEMO).unwrap_or(*principal),
            Kind::File { users, .. } => users.retain(|_, entry| match number_of(&entry.name) {
                Some(number) => {
                    entry.principal = number;
                    true
                }
                None => false,
            }),
        }
        self
    }

    /// The users for whom callers of the key-value service can be taken, by uid; `None` in demo mode, where everybody may call.
    #[must_use]
    pub fn by_uid(&self) -> Option<HashMap<u32, Known>> {
        let Kind::File { users, .. } = &self.0 else { return None };
        let known = |entry: &Entry| Known { role: entry.role, principal: entry.principal };
        Some(users.values().filter_map(|entry| Some((entry.uid?, known(entry)))).collect())
    }

    /// The role and the number of the user, if there is such a user with such a password.
    ///
    /// A wrong password and an unknown user get the same answer after the same work, so neither answer nor time tell
    /// which names exist. Where a file mixes parameters, unknown users cost as much as its costliest user.
    #[must_use]
    pub fn verify(&self, name: &[u8], password: &[u8]) -> Option<Known> {
        self.verify_with(name, password, argon2_matches)
    }

    /// The same with another way to compare, through which tests count the work.
    fn verify_with(
        &self,
        name: &[u8],
        password: &[u8],
        matches: impl Fn(&PasswordHashString, &[u8]) -> bool,
    ) -> Option<Known> {
        match &self.0 {
            Kind::Demo { principal } => {
                // `&` and not `&&`: both are compared whatever the first says.
                let right = equal_in_constant_time(name, DEMO_NAME) & equal_in_constant_time(password, DEMO_PASSWORD);
                right.then_some(Known { role: Role::Teller, principal: *principal })
            }
            Kind::File { users, stranger } => {
                let user = users.get(name);
                let right = matches(user.map_or(stranger, |user| &user.hash), password);
                user.filter(|_| right).map(|user| Known { role: user.role, principal: user.principal })
            }
        }
    }
}

/// Names no user and shows no hash, so that a log line cannot leak one.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Demo { .. } => f.write_str("Users(demo)"),
            Kind::File { users, .. } => write!(f, "Users({} from a file)", users.len()),
        }
    }
}

/// One argon2 computation with the parameters and the salt of `hash`; the outputs are compared in constant time.
fn argon2_matches(hash: &PasswordHashString, password: &[u8]) -> bool {
    Argon2::default().verify_password(password, &hash.password_hash()).is_ok()
}

/// A hash with the costs of `model` (or the usual ones, where there are no users) and an output of zeros.
///
/// Should a password ever come to zeros, nothing is won: the caller knows that there is no such user.
fn hash_of_nobody(model: Option<&Entry>) -> PasswordHashString {
    let Some(model) = model else {
        return PasswordHashString::new(HASH_OF_NOBODY).expect("the constant is well formed, which a test shows");
    };
    let hash = model.hash.password_hash();
    let zeros = |output: Output| Output::new(&vec![0; output.len()]).expect("as long as an output that was accepted");
    PasswordHash { hash: hash.hash.map(zeros), ..hash }.serialize()
}

/// Compares without telling by time where the first difference is; the lengths are no secret here.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |seen, (a, b)| seen | (a ^ b));
    // Opaque to the optimiser, which might otherwise stop at the first difference.
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests;
