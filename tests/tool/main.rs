//! The programs beside the server, and what newcomers see first: the client, `vaultctl`, the demo, the examples.

#[path = "../support/bank.rs"]
mod bank;
#[path = "../support/cargo.rs"]
mod cargo;
#[path = "../support/checker.rs"]
mod checker;
#[path = "../support/file_server.rs"]
mod file_server;
#[path = "../support/kv.rs"]
mod kv;
#[path = "../support/model_server.rs"]
mod model_server;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/terminal.rs"]
mod terminal;
#[path = "../support/tools.rs"]
mod tools;

mod checker_tests;
mod client;
mod demo;
mod examples;
mod getfile_client;
mod getfile_deaths;
mod interrupts;
mod kv_client;
mod kv_examples;
mod kv_interface;
mod kv_load;
mod output;
mod several_servers;
mod terminals;
mod top;
mod vaultctl_cache;
mod vaultctl_cache_server;
mod vaultctl_cluster;
mod vaultctl_export;
mod vaultctl_incoming;
mod vaultctl_instance;
mod vaultctl_journal;
mod vaultctl_journal_cluster;
mod vaultctl_key_value;
mod vaultctl_user;
