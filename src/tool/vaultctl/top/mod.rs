//! `vaultctl top`: what `status` sees of a running instance, again and again, in the terminal.
//!
//! [`screen`] has the terminal and the keys, [`draw`] is a pure function of what is to be shown.

mod draw;
mod format;
mod line;
mod optional;
mod screen;

use std::time::Duration;

use super::failure::{Failure, say};
use super::source::{InstanceName, running};
use crate::status::Watcher;
use crate::store::instance::Instance;
use draw::DisplayState;

/// Columns and lines of what `--once` shows.
const TEXT_SIZE: (u16, u16) = (100, 44);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "q, Escape or Ctrl-C ends it, Ctrl-Z stops it; it ends by itself when the instance does. It needs a terminal of 80 columns \
                        and 24 lines and uses what there is more. It maps the memory read-only and takes no lock."
)]
pub(super) struct Top {
    #[command(flatten)]
    instance: InstanceName,
    /// Seconds from one view to the next, 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Show one view, of one interval, as text
    #[arg(long)]
    once: bool,
    /// Write that view as JSON, as `/_vault/events` does
    #[arg(long, requires = "once")]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let refusal = || format!("`{text}` is not a number of seconds from 0.1 to 3600");
    let seconds: f64 = text.parse().map_err(|_| refusal())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(refusal()) }
}

/// Shows a running instance until it ends or a key ends the display.
pub(super) fn run(top: &Top) -> Result<(), Failure> {
    let instance = running(&top.instance)?;
    if top.once {
        return once(top, &instance);
    }
    match screen::watch(&instance, top.interval)? {
        screen::End::Left => Ok(()),
        screen::End::InstanceEnded => say(&format!("instance `{}` has ended\n", top.instance.name)),
    }
}

fn once(top: &Top, instance: &Instance) -> Result<(), Failure> {
    let mut watcher = Watcher::new(instance);
    std::thread::sleep(top.interval);
    let view = watcher.look(instance);
    if top.json {
        return say(&format!("{}\n", view.json()));
    }
    let mut shown = DisplayState::default();
    shown.take(view);
    say(&draw::draw_text(&shown, TEXT_SIZE)?)
}
