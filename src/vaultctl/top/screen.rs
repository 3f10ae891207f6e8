//! The terminal and its keys.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::{Shown, draw, lives};
use crate::instance::Instance;
use crate::status::Watcher;
use crate::vaultctl::{Failure, Unavailable};

/// Why there is nothing more to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody has seen enough.
    Left,
    /// No process of the instance lives any more.
    InstanceEnded,
}

/// Shows a view of each interval until the end.
pub(super) fn watch(instance: &Instance, interval: Duration) -> Result<End, Failure> {
    if !io::stdout().is_terminal() {
        let why = "the standard output is no terminal; `vaultctl top --once` shows one view as text";
        return Err(Failure::unavailable(Unavailable(why.to_owned())));
    }
    // From here on a panic, too, gives the terminal back before it is told.
    let mut terminal = ratatui::try_init().map_err(Failure::unavailable)?;
    let end = turns(&mut terminal, instance, interval);
    ratatui::try_restore().map_err(Failure::unavailable)?;
    end.map_err(Failure::unavailable)
}

fn turns(terminal: &mut DefaultTerminal, instance: &Instance, interval: Duration) -> io::Result<End> {
    let mut watcher = Watcher::new(instance);
    let mut shown = Shown::default();
    let mut next = Instant::now() + interval;
    loop {
        terminal.draw(|frame| draw::draw_live(frame, &shown))?;
        // Until the interval is over, or a key; a new size is drawn for at once.
        if event::poll(next.saturating_duration_since(Instant::now()))? {
            if is_to_leave(&event::read()?) {
                return Ok(End::Left);
            }
        } else {
            if !lives(instance) {
                return Ok(End::InstanceEnded);
            }
            shown.take(watcher.look(instance));
            // Not a multiple of the interval from the start: who was stopped for an hour has nothing to catch up with.
            next = Instant::now() + interval;
        }
    }
}

fn is_to_leave(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let asked = match key.code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    };
    asked && key.kind != KeyEventKind::Release
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn who_wants_to_leave_may_say_so_in_three_ways() {
        let key = |code, modifiers| is_to_leave(&Event::Key(KeyEvent::new(code, modifiers)));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL) && !key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!is_to_leave(&Event::Resize(80, 24)));
    }
}
