//! What three instances that are one ledger show of their cluster: each in its pages, on the wire, and to the tools.

use crate::{bank, cluster, server};

use bank::{Bank, deposit};
use bank_vault::service::bank::wire::ClusterMember;
use bank_vault::status::{Sample, Unready, metrics, readiness};
use cluster::Cluster;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use server::await_that;

/// What `stats.json` of a member says of its cluster.
fn stats(cluster: &Cluster, index: usize) -> Value {
    let json = Sample::take(&cluster.member(index).stats()).json();
    serde_json::from_str::<Value>(&json).unwrap()["cluster"].take()
}

fn vaultctl(words: &[&str]) -> String {
    let output = assert_cmd::Command::cargo_bin("vaultctl").unwrap().args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What stats.json should say of a member of which the wire says `told`, but for what changes by itself.
fn member(told: &ClusterMember) -> Value {
    json!([told.replica, format!("{:016x}", told.node), told.role.name(), told.peer_address, told.client_address])
}

#[test]
fn what_three_members_show_agrees_with_the_wire() {
    let cluster = Cluster::start(3, &[]);
    let primary = cluster.primary();
    let mut bank = Bank::demo(cluster.addresses()[primary]);
    for account in 0..50 {
        bank.call(&deposit(account, 100)).unwrap();
    }
    for index in 0..3 {
        await_that("the primary knows that all have all, and they know it and each other", || {
            let shown = &stats(&cluster, index);
            let members = shown["members"].as_array().unwrap();
            let is_whole = members.iter().all(|member| member["client_address"] != "" && !member["heard_ms"].is_null());
            let lags_none = index != primary || members.iter().all(|member| member["lag"] == 0);
            members.len() == 3
                && is_whole
                && lags_none
                && shown["committed_lsn"].as_u64() >= Some(50)
                && shown["apply_lag"] == 0
        });
    }
    for index in 0..3 {
        let told = Bank::demo(cluster.addresses()[index]).cluster().unwrap();
        let shown = &stats(&cluster, index);
        assert_eq!(shown["replica"], told.replica);
        assert_eq!((&shown["role"], &shown["term"]), (&json!(told.role.name()), &json!(told.term)));
        assert_eq!(
            (&shown["primary"], &shown["primary_address"]),
            (&json!(told.primary), &json!(told.primary_address))
        );
        assert_eq!(told.primary, u8::try_from(primary + 1).unwrap());
        assert_eq!(
            (&shown["committed_lsn"], &shown["applied_lsn"]),
            (&json!(told.committed.0), &json!(told.applied.0))
        );
        let mut members = told.members.clone();
        members.sort_by_key(|member| member.replica);
        let of = |shown: &Value| {
            json!([shown["replica"], shown["node"], shown["role"], shown["peer_address"], shown["client_address"]])
        };
        let shown_members = shown["members"].as_array().unwrap();
        assert_eq!(shown_members.iter().map(of).collect::<Vec<_>>(), members.iter().map(member).collect::<Vec<_>>());
        for (shown, told) in shown_members.iter().zip(&members) {
            let is_known = index == primary || usize::from(told.replica) == index + 1;
            assert_eq!(shown["match_lsn"], if is_known { json!(told.match_lsn.0) } else { Value::Null });
            assert!(shown["heard_ms"].as_u64().unwrap() < 2000 && told.heard_ms < 2000, "{shown}");
        }
        let instance = cluster.member(index).stats();
        await_that("it is ready", || readiness(&instance) == Ok(()));
        assert!(shown["peers"]["connected"].as_u64().unwrap() >= 2, "{shown}");
        let metrics = metrics(&Sample::take(&instance));
        let role = format!("vault_cluster_role{{role=\"{}\"}} 1", told.role.name());
        assert!(metrics.lines().any(|line| line == role), "{role} in {metrics}");
        let name = &cluster.member(index).instance;
        let report: Value = serde_json::from_str(&vaultctl(&["inspect", "--instance", name, "--json"])).unwrap();
        assert_eq!(report["cluster"]["members"].as_array().unwrap().len(), 3);
        let text = vaultctl(&["inspect", "--instance", name]);
        assert!(text.contains(&format!("\ncluster: replica {}, node ", index + 1)), "{text}");
        let top = vaultctl(&["top", "--instance", name, "--interval", "0.1", "--once"]);
        assert!(
            top.lines().any(|line| line.starts_with(&format!("cluster  {} {}", told.role.name(), index + 1))),
            "{top}"
        );
    }
}

#[test]
fn a_member_that_is_left_alone_is_not_ready_and_says_why() {
    let mut cluster = Cluster::start(3, &[]);
    let primary = cluster.primary();
    let others: Vec<usize> = (0..3).filter(|&index| index != primary).collect();
    for index in &others {
        cluster.kill(*index);
    }
    let instance = cluster.member(primary).stats();
    await_that("it gives leadership up", || readiness(&instance) == Err(vec![Unready::NoPrimary]));
    let silent = |index: usize| stats(&cluster, primary)["members"][index]["heard_ms"].as_u64();
    await_that("the others have been silent", || others.iter().all(|&index| silent(index) > Some(1000)));
    cluster.start_member(others[0]);
    await_that("two are enough", || readiness(&instance).is_ok());
    // A replica process that hangs shows as one that is silent.
    let pid = instance.replica_row().life.pid.get();
    server::send(pid, Signal::SIGSTOP);
    await_that("its silence shows", || readiness(&instance).is_err_and(|why| why.contains(&Unready::ReplicaSilent)));
    server::send(pid, Signal::SIGCONT);
}
