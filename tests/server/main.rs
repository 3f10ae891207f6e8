//! Whole servers: what clients see, what is kept, and what becomes of it when something dies, fails or is short.

#[path = "../support/asker.rs"]
mod asker;
#[path = "../support/bank.rs"]
mod bank;
#[path = "../support/callers.rs"]
mod callers;
#[path = "../support/cargo.rs"]
mod cargo;
#[path = "../support/checker.rs"]
mod checker;
#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/crowd.rs"]
mod crowd;
#[path = "../support/exposition.rs"]
mod exposition;
#[path = "../support/group.rs"]
mod group;
#[path = "../support/injector.rs"]
mod injector;
#[path = "../support/kv.rs"]
mod kv;
#[path = "../support/kv_caller.rs"]
mod kv_caller;
#[path = "../support/kv_callers.rs"]
mod kv_callers;
#[path = "../support/kv_histories.rs"]
mod kv_histories;
#[path = "../support/kv_members.rs"]
mod kv_members;
#[path = "../support/kv_model.rs"]
mod kv_model;
#[path = "../support/kv_mutator.rs"]
mod kv_mutator;
#[path = "../support/kv_order.rs"]
mod kv_order;
#[path = "../support/linearizable.rs"]
mod linearizable;
#[path = "../support/load.rs"]
mod load;
#[path = "../support/mount.rs"]
mod mount;
#[path = "../support/narrow.rs"]
mod narrow;
#[path = "../support/network.rs"]
mod network;
#[path = "../support/refusal.rs"]
mod refusal;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/shift.rs"]
mod shift;
#[path = "../support/short_histories.rs"]
mod short_histories;
#[path = "../support/tools.rs"]
mod tools;
#[path = "../support/turmoil.rs"]
mod turmoil;
#[path = "../support/upstream.rs"]
mod upstream;
#[path = "../support/visitor.rs"]
mod visitor;

mod as_of;
mod cache_process;
mod clock;
mod cluster_basics;
mod cluster_faults;
mod cluster_members;
mod cluster_partition;
mod cluster_pauses;
mod cluster_snapshots;
mod cluster_soak;
mod cluster_status;
mod control_requests;
mod damaged_journal;
mod dashboard;
mod disk_faults;
mod durability;
mod early_replies;
mod end_to_end;
mod environment;
mod format_upgrade;
mod full_ring;
mod getfile;
mod getfile_cache;
mod getfile_cache_deaths;
mod getfile_crowds;
mod getfile_descriptors;
mod getfile_segments;
mod getfile_spools;
mod getfile_upstreams;
mod growth;
mod hostile;
mod hostile_http;
mod http_crashes;
mod http_files;
mod http_protocol;
mod http_rfc;
mod http_status;
mod kv_at_scale;
mod kv_basics;
mod kv_cluster;
mod kv_deaths;
mod kv_durability;
mod kv_mutations;
mod kv_partition;
mod log_pipe;
mod opening_balances;
mod principals;
mod reload;
mod rpcbind;
mod server_deaths;
mod server_life;
mod server_load;
mod server_requests;
mod service_manager;
mod shortage;
mod shown_when_durable;
mod soak;
mod start;
mod start_claims;
mod statements;
mod status;
mod third_service;
mod upgrade;
mod upgrade_faults;
