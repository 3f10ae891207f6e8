//! `vaultctl drain`, `rebalance`, `snapshot`, `upgrade`, `cluster transfer` and its like: control requests to a running master.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failure::{Failure, say};
use super::source::InstanceName;
use crate::store::instance::control_requests::ControlRequest;
use crate::store::instance::{Instance, stale};

/// The instance that is asked, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct ControlArgs {
    #[command(flatten)]
    instance: InstanceName,
    /// Seconds to wait for it to be done
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    /// The worker's number
    #[arg(value_name = "WORKER")]
    pub(super) worker: u32,
    #[command(flatten)]
    pub(super) args: ControlArgs,
}

/// Sends the request to the master, waits for the answer, and shows it.
pub(super) fn run(args: &ControlArgs, request: &ControlRequest) -> Result<(), Failure> {
    let name = &args.instance.name;
    let scan = stale::scan(name)?;
    let living = scan.living.first().ok_or_else(|| Failure::unavailable(format!("no instance `{name}` runs here")))?;
    let control = Instance::open_control(&living.generation)?;
    let pending = control.root().requests.submit(request);
    // While an instance is being made its master's pid is 0, which kill(2) would take for this process' own group.
    let pid = i32::try_from(living.master_pid).ok().filter(|&pid| pid > 0);
    let master = pid
        .map(Pid::from_raw)
        .ok_or_else(|| Failure::unavailable(format!("the instance `{name}` is just starting")))?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    // Again every second: a master that is just being replaced by a newer one may miss the signal, or the request.
    while Instant::now() < deadline {
        kill(master, Signal::SIGUSR1).map_err(|_| Failure::unavailable(format!("the master of `{name}` is gone")))?;
        match pending.wait_for_answer(Duration::from_secs(1)) {
            Some(Ok(text)) => return say(&format!("{text}\n")),
            Some(Err(text)) => return Err(Failure::refused(text)),
            None => {}
        }
    }
    Err(Failure::unavailable(format!(
        "the master of `{name}` has not done it in {} s; it goes on with it",
        args.timeout
    )))
}
