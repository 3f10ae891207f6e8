//! A process at its limit of open files receives a descriptor. Alone in its file: the limit is the whole process'.

use std::os::fd::{AsFd, AsRawFd};

use bank_vault::ipc::fdpass;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[test]
fn a_receiver_at_its_limit_says_so_and_leaks_nothing() {
    let (near, far) = fdpass::pair().unwrap();
    fdpass::send(near.as_fd(), b"x", Some(near.as_fd())).unwrap();
    let lowest_free = near.try_clone().unwrap().as_raw_fd();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(lowest_free).unwrap(), hard).unwrap();
    let result = fdpass::receive(far.as_fd(), &mut [0; 8]);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(near.try_clone().unwrap().as_raw_fd(), lowest_free, "the lowest free descriptor is the same as before");
}
