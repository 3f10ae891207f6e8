//! One more service beside the bank and HTTP: the time (RFC 867), for whoever connects. It shows what a service has to say of itself
//! and what it may leave out; nothing else in the server knows of it.
//!
//! `cargo run --example daytime -- --data /tmp/daytime`, and then `nc 127.0.0.1 PORT` with the port that stands behind `daytime`.

use std::process::ExitCode;
use std::time::Duration;

use bank_vault::base::config::{Options, Settings};
use bank_vault::base::logging;
use bank_vault::process::master;
use bank_vault::service::connection_state::{Closing, ConnectionState, Next};
use bank_vault::service::entry::{Entry, Listen, Needs};
use bank_vault::service::host::Host;
use bank_vault::service::interface::{Departure, Now, Origin, Service, Silent};
use bank_vault::service::sessions::Session;
use bank_vault::service::{bank, http};
use bank_vault::store::connection::{RingBytes, Sent};
use bank_vault::tool::output;

/// The services of this server.
static SERVICES: &[Entry] = &[bank::entry::ENTRY, http::entry::ENTRY, DAYTIME];

const DAYTIME: Entry = Entry {
    name: "daytime",
    listen: |settings| {
        Some(Listen {
            host: settings.host,
            port: 0,
            option: "(any port that is free)",
            optional: false,
            // The server speaks first, so the kernel must not wait for the client.
            defer_seconds: None,
            connections: 16,
        })
    },
    url: str::to_owned,
    needs: |_| Needs::default(),
    check: |_| Ok(()),
    tunables: &[],
    access_log: None,
    transfers: |_| None,
    rings: RingBytes::STANDARD,
    open: |context| Ok(Host::boxed(Daytime::default(), context.instance.slots_of(context.service))),
};

/// The service in one worker.
#[derive(Default)]
struct Daytime {
    now_ns: u64,
    since_1970: Duration,
}

impl Service for Daytime {
    /// All that there is to know is in the connection's slot.
    type Data = ();

    fn set_time(&mut self, now: Now) {
        (self.now_ns, self.since_1970) = (now.monotonic_ns, now.since_1970);
    }

    /// The line is queued in shared memory with the beginning of the session, once, whoever sends it.
    fn begin(&mut self, mut state: ConnectionState, origin: Origin) -> Session<()> {
        if origin == Origin::Client {
            let line = format!("{} seconds since 1970 (UTC)\r\n", self.since_1970.as_secs());
            state.connection.advance(0, line.as_bytes());
        }
        state.closing = Closing::AfterSending;
        Session { state, data: () }
    }

    fn serve(&mut self, Session { state, .. }: &mut Session<()>) -> Next {
        if let Closing::Lingering(budget) = state.closing {
            return state.linger(budget);
        }
        match state.connection.send(state.connection.queued()) {
            Sent::All(_) => state.begin_linger(self.now_ns),
            Sent::Part(_) => Next::Wait,
            Sent::Broken => Next::Close,
        }
    }

    /// A client that takes its line and does not close ends by the time that every closing connection has.
    fn silent(&self, _session: &Session<()>) -> Option<Silent> {
        None
    }

    /// The line is in the slot, so another worker can send what is left of it.
    fn departure(&self, _session: &Session<()>) -> Departure {
        Departure::Move
    }
}

fn main() -> ExitCode {
    logging::begin();
    let options: Options = match output::parse_arguments("daytime") {
        Ok(options) => options,
        Err(code) => return code,
    };
    let outcome = if options.check_upgrade {
        master::check_upgrade(SERVICES, &|| Settings::load(options.clone()))
    } else {
        master::run(SERVICES, move || Settings::load(options.clone()))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(&format!("daytime: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
