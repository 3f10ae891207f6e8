//! Logging in, the work it takes, and changes to the file.

use super::*;
use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Params, Version};
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Barrier;

/// A hash with little memory, so that tests are quick; `passes` makes users tell apart by cost.
fn cheap_hash(password: &[u8], passes: u32) -> String {
    let params = Params::new(16, passes, 1, None).unwrap();
    let salt = SaltString::encode_b64(b"sixteen bytes :)").unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(password, &salt).unwrap().to_string()
}

fn users_of(text: &str) -> Users {
    Users::from_entries(entry::parse(text).unwrap())
}

fn in_new_directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data").join("users");
    (directory, path)
}

fn names(path: &Path) -> Vec<String> {
    list(path).unwrap().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_user_gets_his_role_for_his_password_only() {
    let users = users_of(&format!(
        "ada:{}:teller\nbob:{}:customer:5-6\n",
        cheap_hash(b"lovelace", 1),
        cheap_hash(b"\xff\x00 bytes", 1)
    ));
    let role = |known: Option<Known>| known.map(|known| known.role);
    assert_eq!(role(users.verify(b"ada", b"lovelace")), Some(Role::Teller));
    assert_eq!(role(users.verify(b"bob", b"\xff\x00 bytes")), "customer:5-6".parse().ok());
    let refused: [(&[u8], &[u8]); 6] = [
        (b"ada", b"\xff\x00 bytes"),
        (b"ada", b""),
        (b"ada", b"lovelace "),
        (b"Ada", b"lovelace"),
        (b"", b""),
        (b"demo", b"demo"),
    ];
    for (name, password) in refused {
        assert_eq!(users.verify(name, password), None);
    }
}

#[test]
fn demo_mode_knows_demo_alone() {
    let users = Users::demo();
    assert!(users.is_demo());
    assert_eq!(users.verify(b"demo", b"demo").unwrap().role, Role::Teller);
    let refused: [(&[u8], &[u8]); 5] =
        [(b"demo", b"Demo"), (b"demo", b""), (b"", b"demo"), (b"demo", b"demo1"), (b"dem", b"demo")];
    for (name, password) in refused {
        assert_eq!(users.verify(name, password), None);
    }
}

/// What one login computed: the parameters of each hash that a password was held against.
fn work_of(users: &Users, name: &[u8], password: &[u8]) -> (Option<Role>, Vec<String>) {
    let seen = RefCell::new(Vec::new());
    let known = users.verify_with(name, password, |hash, password| {
        seen.borrow_mut().push(hash.params().to_string());
        argon2_matches(hash, password)
    });
    (known.map(|known| known.role), seen.into_inner())
}

#[test]
fn every_login_is_one_computation_with_the_same_parameters() {
    let users = users_of(&format!("ada:{}:teller\n", cheap_hash(b"right", 3)));
    let cost = vec!["m=16,t=3,p=1".to_owned()];
    assert_eq!(work_of(&users, b"ada", b"right"), (Some(Role::Teller), cost.clone()));
    assert_eq!(work_of(&users, b"ada", b"wrong"), (None, cost.clone()));
    assert_eq!(work_of(&users, b"nobody", b"right"), (None, cost.clone()));
    assert_eq!(work_of(&users, b"", b""), (None, cost));
}

#[test]
fn strangers_cost_as_much_as_the_costliest_user() {
    let users = users_of(&format!("ada:{}:teller\nbob:{}:teller\n", cheap_hash(b"right", 1), cheap_hash(b"right", 5)));
    assert_eq!(work_of(&users, b"nobody", b"right").1, ["m=16,t=5,p=1"]);
}

#[test]
fn a_file_without_users_costs_strangers_the_usual_work() {
    let (role, work) = work_of(&users_of("# none yet\n"), b"nobody", b"x");
    let usual = format!("m={},t={},p=1", Params::DEFAULT_M_COST, Params::DEFAULT_T_COST);
    assert_eq!((role, work), (None, vec![usual]));
}

#[test]
fn the_strangers_hash_is_really_computed_and_never_opens() {
    // A hash that argon2 refuses would return at once: the work would be counted and not done.
    let users = users_of(&format!("ada:{}:teller\n", cheap_hash(b"right", 1)));
    let Kind::File { stranger, .. } = &users.0 else { panic!("not demo mode") };
    let refusal = Argon2::default().verify_password(b"right", &stranger.password_hash());
    assert_eq!(refusal, Err(argon2::password_hash::Error::Password));
    // Even where the comparison says yes to everything, there is no role to give.
    assert_eq!(users.verify_with(b"nobody", b"", |_, _| true), None);
}

#[test]
fn adding_listing_and_removing_keep_the_rest_of_the_file() {
    let (_directory, path) = in_new_directory();
    add(&path, "ada", b"one", Role::Teller).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("# people\n{}# end", text)).unwrap();
    add(&path, "bob", b"two", "customer:1-2".parse().unwrap()).unwrap();
    let listed = list(&path).unwrap();
    assert_eq!(listed, [("ada".to_owned(), Role::Teller), ("bob".to_owned(), "customer:1-2".parse().unwrap())]);

    let users = Users::load(&path).unwrap();
    assert_eq!(users.verify(b"ada", b"one").unwrap().role, Role::Teller);
    assert_eq!(users.verify(b"ada", b"two"), None);

    remove(&path, "ada").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# people\n# end\nbob:$argon2id$") && text.ends_with(":customer:1-2\n"), "{text}");
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["users"]);
}

#[test]
fn refused_changes_change_nothing() {
    let (_directory, path) = in_new_directory();
    assert!(matches!(remove(&path, "ada"), Err(UsersError::Read { .. })));
    assert!(matches!(add(&path, "a:b", b"x", Role::Teller), Err(UsersError::Name(_))));
    assert!(matches!(add(&path, "ada", b"", Role::Teller), Err(UsersError::PasswordLength(0))));
    assert!(matches!(add(&path, "ada", &[b'x'; 256], Role::Teller), Err(UsersError::PasswordLength(256))));
    assert!(!path.exists());

    add(&path, "ada", b"one", Role::Teller).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    assert!(matches!(add(&path, "ada", b"two", Role::Auditor), Err(UsersError::Exists { .. })));
    assert!(matches!(remove(&path, "bob"), Err(UsersError::NoSuchUser { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), before);

    fs::write(&path, "broken\n").unwrap();
    let refusal = add(&path, "bob", b"x", Role::Teller).unwrap_err().to_string();
    assert!(refusal.contains("line 1") && refusal.contains("users"), "{refusal}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "broken\n");
}

#[test]
fn concurrent_additions_all_land() {
    const WRITERS: usize = 8;
    let (_directory, path) = in_new_directory();
    let start = Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (path, start) = (&path, &start);
            scope.spawn(move || {
                start.wait();
                add(path, &format!("user{writer}"), b"x", Role::Auditor).unwrap();
            });
        }
    });
    let mut landed = names(&path);
    landed.sort();
    assert_eq!(landed, (0..WRITERS).map(|writer| format!("user{writer}")).collect::<Vec<_>>());
}

#[test]
fn a_file_that_others_may_write_is_not_trusted() {
    let (_directory, path) = in_new_directory();
    add(&path, "ada", b"one", Role::Teller).unwrap();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(Users::load(&path), Err(UsersError::WritableByOthers { .. })), "{mode:o}");
        assert!(matches!(remove(&path, "ada"), Err(UsersError::WritableByOthers { .. })), "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    Users::load(&path).unwrap();
    add(&path, "bob", b"two", Role::Teller).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "a change makes it private again");
}

#[test]
fn a_link_is_followed_and_stays() {
    let (directory, path) = in_new_directory();
    add(&path, "ada", b"one", Role::Teller).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    add(&link, "bob", b"two", Role::Teller).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(&path), ["ada", "bob"]);
}

#[test]
fn what_a_dead_writer_left_is_replaced() {
    let (_directory, path) = in_new_directory();
    add(&path, "ada", b"one", Role::Teller).unwrap();
    let left = path.with_file_name(".users.next");
    fs::write(&left, "half a li").unwrap();
    add(&path, "bob", b"two", Role::Teller).unwrap();
    assert_eq!(names(&path), ["ada", "bob"]);
    assert!(!left.exists());
}
