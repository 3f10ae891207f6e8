//! `vaultctl inspect` and `vaultctl clean` as operators meet them: beside a server that runs, and after one that was killed.

#[path = "support/server.rs"]
mod server;

use server::Server;

#[test]
fn a_stop_leaves_nothing_and_sums_up() {
    let server = Server::start(&["--workers", "2"]);
    assert_eq!(server.workers.len(), 2);
    let output = server.stop();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("stopped: "), "{output:?}");
}

#[test]
fn a_killed_master_takes_its_workers_with_it() {
    let mut server = Server::start(&["--workers", "2"]);
    server.kill_master();
    assert!(!server.objects().is_empty());
}
