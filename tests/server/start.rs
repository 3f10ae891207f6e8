//! Starts where something is short or cannot be used: refused in one line that says what, how much of it, and what to do, with nothing
//! left behind; and what the line proposes works.

use crate::{bank, group, mount, narrow, refusal, server};

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use bank::{Bank, deposit};
use bank_vault::service::bank::wire::Response;
use group::Group;
use mount::Mount;
use narrow::Wrapper;
use nix::sys::signal::Signal;
use refusal::{refused, refused_on};
use server::{Server, await_that, send, unused_name, unused_port};

const MASTER: &str = env!("CARGO_BIN_EXE_master");
/// Large enough to be short of something, and quick to make.
const ARGS: [&str; 8] = ["--workers", "2", "--http-port", "0", "--key-window", "500000", "--segment-records", "65536"];

/// `args` with the options that a refusal proposes in place of their own values.
fn as_proposed(args: &[&str], said: &str) -> Vec<String> {
    let (proposed, _) = said.split_once(" would fit").unwrap_or_else(|| panic!("nothing is proposed: {said}"));
    let proposed = proposed.rsplit(';').next().unwrap();
    let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let words: Vec<&str> = proposed.split_whitespace().collect();
    for pair in words.chunks(2) {
        match args.iter().position(|word| word == pair[0]) {
            Some(place) => pair[1].clone_into(&mut args[place + 1]),
            None => args.extend(pair.iter().map(ToString::to_string)),
        }
    }
    args
}

/// A server on this program that starts, and does an operation.
fn serves(program: &Path, args: &[impl AsRef<str>]) -> Server {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let server = Server::start_program(program, &args);
    does_an_operation(&server);
    server
}

fn does_an_operation(server: &Server) {
    let answer = Bank::demo(server.address).call(&deposit(1, 100)).unwrap();
    assert!(matches!(answer, Response::Deposit { .. }), "{answer:?}");
}

/// It is refused with these words in the line, and what the line proposes works.
fn refused_and_then_served(wrapper: &Wrapper, words: &[&str]) {
    let said = refused(&wrapper.path(), &ARGS);
    assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    let server = serves(&wrapper.path(), &as_proposed(&ARGS, &said));
    let output = server.stop();
    assert!(output.status.success(), "{output:?}");
}

fn on_shm(mount: &Mount, more: &str) -> Wrapper {
    Wrapper::mounted(&format!("mount --bind {} /dev/shm {more}", mount.path.display()), Path::new(MASTER))
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn a_small_dev_shm_is_refused_and_what_is_proposed_fits() {
    let mount = Mount::tmpfs(64).unwrap();
    refused_and_then_served(
        &on_shm(&mount, ""),
        &["/dev/shm", "MiB are free of 64.0 MiB", "--key-window", "--shm-size"],
    );
    assert_eq!(fs::read_dir(&mount.path).unwrap().count(), 0, "nothing is left");
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn what_a_killed_server_left_in_a_small_dev_shm_is_no_reason_to_refuse_the_next() {
    let mount = Mount::tmpfs(64).unwrap();
    let wrapper = on_shm(&mount, "");
    let args = as_proposed(&ARGS, &refused(&wrapper.path(), &ARGS));
    let mut server = serves(&wrapper.path(), &args);
    server.kill_all();
    assert!(fs::read_dir(&mount.path).unwrap().count() > 10, "its objects are still there, and take all the room");
    server.start_again(&[]);
    does_an_operation(&server);
    assert!(server.stop().status.success());
}

#[test]
#[ignore = "needs root, to mount a file system, and mkfs.ext4"]
fn a_dev_shm_that_cannot_be_written_or_is_no_memory_is_refused() {
    let mount = Mount::tmpfs(64).unwrap();
    let said = refused(&on_shm(&mount, "&& mount -o remount,bind,ro /dev/shm").path(), &ARGS);
    assert!(said.contains("/dev/shm") && said.contains("Read-only"), "{said}");
    let disk = Mount::ext4(16).unwrap();
    let said = refused(&on_shm(&disk, "").path(), &ARGS);
    assert!(said.contains("is no tmpfs") && said.contains("mount -t tmpfs"), "{said}");
    let few = Wrapper::mounted("mount -t tmpfs -o nr_inodes=9 none /dev/shm", Path::new(MASTER));
    let said = refused(&few.path(), &ARGS);
    assert!(said.contains("nr_inodes"), "{said}");
    let gone = "mkdir DEV && mount -t tmpfs none DEV && mknod DEV/null c 1 3 && mount --move DEV /dev";
    let home = tempfile::tempdir().unwrap();
    let gone = gone.replace("DEV", home.path().join("dev").to_str().unwrap());
    let said = refused(&Wrapper::mounted(&gone, Path::new(MASTER)).path(), &ARGS);
    assert!(said.contains("/dev/shm") && said.contains("No such file"), "{said}");
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn a_machine_without_proc_is_refused() {
    let said = refused(&Wrapper::mounted("umount -l /proc", Path::new(MASTER)).path(), &ARGS);
    assert!(said.contains("/proc is not mounted"), "{said}");
}

#[test]
#[ignore = "needs root, to make a control group"]
fn a_memory_control_group_that_is_too_small_is_refused_and_what_is_proposed_fits() {
    let group = Group::of_memory(64 << 20);
    refused_and_then_served(&Wrapper::grouped(&group, Path::new(MASTER)), &["memory control group", "of 64.0 MiB"]);
}

#[test]
#[ignore = "needs root, to make a control group"]
fn too_few_tasks_are_refused_and_what_is_proposed_fits() {
    // Two workers take twelve, one takes eight.
    let group = Group::of_tasks(10);
    refused_and_then_served(&Wrapper::grouped(&group, Path::new(MASTER)), &["pids control group", "--workers 1"]);
}

#[test]
fn as_many_tasks_are_counted_as_there_are() {
    use bank_vault::base::config::Settings;
    use bank_vault::process::master::start::requirements::{Existing, Requirements};
    use bank_vault::service::table::SERVICES;
    for http in [false, true] {
        let args = ["--workers", "3", "--http-threads", "4"];
        let site = ["--http-port", &unused_port().to_string()].map(str::to_owned);
        let all: Vec<&str> = args.into_iter().chain(site.iter().map(String::as_str).filter(|_| http)).collect();
        let server = Server::start(&all);
        let mut settings = Settings { workers: 3, ..Settings::default() };
        settings.http.threads = 4;
        settings.http.port = u16::from(http);
        let needed = Requirements::of(SERVICES, &settings, Existing::default()).tasks;
        let pids = || [vec![server.master], server.workers_now(), server.journal_now().into_iter().collect()].concat();
        let threads = |pid: &u32| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) as u64;
        let mut most = 0;
        // One of the journal process' threads is there at times only.
        await_that("all threads are there", || {
            most = most.max(pids().iter().map(threads).sum());
            most + 1 >= needed
        });
        assert!(most <= needed, "{most} threads, {needed} computed");
    }
}

#[test]
fn as_much_shared_memory_is_computed_as_is_taken() {
    use bank_vault::base::config::Settings;
    use bank_vault::process::master::start::requirements::{Existing, Requirements};
    use bank_vault::service::table::SERVICES;
    let server = Server::start(&["--workers", "3", "--accounts", "777", "--http-port", &unused_port().to_string()]);
    let mut settings = Settings { workers: 3, accounts: 777, key_window: 10_000, ..Settings::default() };
    settings.http.port = 1;
    let needs = Requirements::of(SERVICES, &settings, Existing::default());
    let files: Vec<_> = server.objects().iter().map(|path| fs::metadata(path).unwrap()).collect();
    assert_eq!(needs.names, files.len() as u64);
    let taken: u64 = files.iter().map(|file| file.len().next_multiple_of(4096)).sum();
    assert_eq!(needs.shared_bytes(), taken);
}

#[test]
fn too_few_descriptors_are_refused_and_what_is_proposed_fits() {
    let wrapper = Wrapper::behind("prlimit --nofile=1000:1000", Path::new(MASTER));
    refused_and_then_served(&wrapper, &["RLIMIT_NOFILE", "hard limit is 1000", "ulimit -Hn 2432"]);
}

#[test]
fn files_that_may_not_be_as_large_are_refused_and_what_is_proposed_fits() {
    let wrapper = Wrapper::behind("prlimit --fsize=10000000", Path::new(MASTER));
    refused_and_then_served(&wrapper, &["RLIMIT_FSIZE", "the limit is 9.5 MiB", "ulimit -f"]);
}

#[test]
fn too_little_address_space_is_refused_and_what_is_proposed_fits() {
    let wrapper = Wrapper::behind("prlimit --as=120000000", Path::new(MASTER));
    refused_and_then_served(&wrapper, &["RLIMIT_AS", "the limit is 114.4 MiB", "ulimit -v"]);
}

#[test]
#[ignore = "needs root, to be another user"]
fn a_user_who_may_have_too_few_processes_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where another user may execute it.
    let program = home.path().join("program");
    fs::copy(MASTER, &program).unwrap();
    let as_user = "prlimit --nproc=4:4 setpriv --reuid=54321 --regid=54321 --clear-groups";
    let said = refused(&Wrapper::behind(as_user, &program).path(), &ARGS);
    assert!(said.contains("RLIMIT_NPROC") && said.contains("12 processes and threads"), "{said}");
    let low = Wrapper::behind("setpriv --reuid=54321 --regid=54321 --clear-groups", &program);
    let said = refused(&low.path(), &["--http-port", "0", "--port", "7"]);
    assert!(said.contains("127.0.0.1:7 ") && said.contains("CAP_NET_BIND_SERVICE"), "{said}");
}

#[test]
#[ignore = "needs root, to mount a file system, and strace"]
fn a_volume_below_one_segment_is_refused_and_what_is_proposed_fits() {
    let mount = Mount::tmpfs(4).unwrap();
    let data = mount.path.join("data");
    let said = refused_on(Path::new(MASTER), &data, &ARGS);
    assert!(said.contains("4.0 MiB are free of 4.0 MiB") && said.contains("--segment-records"), "{said}");
    let args = as_proposed(&ARGS, &said);
    let server = Server::start_on(&data, &args.iter().map(String::as_str).collect::<Vec<_>>());
    does_an_operation(&server);
    assert!(server.stop().status.success());
    // Room on the volume, and none for this user: what a quota makes of it.
    let inject = "strace -qq -o /dev/null -e trace=fallocate -e inject=fallocate:error=EDQUOT:when=1";
    let said = refused(&Wrapper::behind(inject, Path::new(MASTER)).path(), &ARGS);
    assert!(said.contains("9 MiB for the first segment") && said.contains("quota exceeded"), "{said}");
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn places_that_cannot_be_written_are_refused() {
    let mount = Mount::tmpfs(64).unwrap();
    fs::create_dir(mount.path.join("data")).unwrap();
    let read_only = format!("mount -o remount,bind,ro {0} {0}", mount.path.display());
    let wrapper = Wrapper::mounted(&read_only, Path::new(MASTER));
    for data in ["data", "new", "new/deeper"] {
        let said = refused_on(&wrapper.path(), &mount.path.join(data), &ARGS);
        assert!(said.contains("Read-only") && said.contains("--data"), "{said}");
    }
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let said = refused_on(Path::new(MASTER), &home.path().join("file"), &ARGS);
    assert!(said.contains("--data"), "{said}");
    let said = refused_on(Path::new(MASTER), &home.path().join("new"), &["--www", "/nonexistent", "--http-port", "1"]);
    assert!(said.contains("/nonexistent"), "{said}");
    for log in ["/nonexistent/access.log", "/dev/null", "/dev/shm"] {
        let args = ["--access-log", log, "--http-port", "1"];
        let said = refused_on(Path::new(MASTER), &home.path().join("new"), &args);
        assert!(said.contains(log) && said.contains("--access-log"), "{said}");
    }
}

#[test]
fn a_start_with_peers_names_what_is_missing() {
    let words = ["--replica-id", "1", "--peers", "1=127.0.0.1:7900", "--cluster-secret", "/nonexistent"];
    let said = refused(Path::new(MASTER), &words);
    assert!(said.contains("/nonexistent") && said.contains("vaultctl cluster secret"), "{said}");
    let said = refused(Path::new(MASTER), &words[..4]);
    assert!(said.contains("without cluster-secret"), "{said}");
}

#[test]
fn where_the_default_port_of_http_is_taken_the_bank_is_there_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let (name, host) = (unused_name(), "127.31.80.80");
    // Whoever has it: this test, or another run of it.
    let _taken = std::net::TcpListener::bind((host, 8080));
    let mut child = Command::new(MASTER)
        .args(["--instance", &name, "--host", host, "--port", "0", "--accounts", "10", "--segment-records", "4096"])
        .args(["--key-window", "1000", "--data"])
        .arg(home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    let address = ready.split_whitespace().nth(1).unwrap().parse().unwrap();
    let answered = Bank::demo(address).call(&deposit(1, 5));
    send(child.id(), Signal::SIGTERM);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(answered.unwrap(), Response::Deposit { .. }), "{said}");
    assert!(said.contains("no HTTP") && !said.contains("cannot go on"), "{said}");
    assert!(output.status.success(), "{said}");
}
