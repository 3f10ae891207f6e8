//! The terminal and its keys.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{DefaultTerminal, Terminal};

use super::draw::{self, DisplayState};
use crate::status::Watcher;
use crate::store::instance::{Instance, stale};
use crate::tool::signals;
use crate::tool::vaultctl::failure::Failure;

/// How long a view may take to be drawn when the process is told to end.
const DRAWING: Duration = Duration::from_millis(500);

/// Why the display ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By a key.
    Left,
    /// No process of the instance lives any more.
    InstanceEnded,
}

/// Shows a view of each interval until the end.
pub(super) fn watch(instance: &Instance, interval: Duration) -> Result<End, Failure> {
    if !io::stdout().is_terminal() {
        let why = "the standard output is no terminal; `vaultctl top --once` shows one view as text";
        return Err(Failure::unavailable(why));
    }
    // From here on a panic, too, restores the terminal before its message is written.
    let terminal = ratatui::try_init()?;
    show_cursor_on_panic();
    let terminal = Arc::new(Mutex::new(terminal));
    let end = guard(&terminal).and_then(|()| turns(&terminal, instance, interval));
    // Not while the other thread gives it back.
    let _ours = lock(&terminal);
    ratatui::try_restore()?;
    Ok(end?)
}

fn lock(terminal: &Mutex<DefaultTerminal>) -> MutexGuard<'_, DefaultTerminal> {
    terminal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whatever signal ends or stops this process gives the terminal back first, and so does the terminal's own end: the library that
/// reads keys would else try again without a pause for ever.
fn guard(terminal: &Arc<Mutex<DefaultTerminal>>) -> io::Result<()> {
    let terminal = Arc::clone(terminal);
    signals::guard_terminal(Some(io::stdout().as_fd().try_clone_to_owned()?), move |act| {
        // Who has it draws. A terminal that takes nothing for so long keeps them, and would keep us, from writing to it.
        let began = Instant::now();
        let held = loop {
            match terminal.try_lock() {
                Err(TryLockError::WouldBlock) if began.elapsed() < DRAWING => std::thread::sleep(DRAWING / 50),
                Err(TryLockError::WouldBlock) => break None,
                Ok(held) => break Some(held),
                Err(TryLockError::Poisoned(held)) => break Some(held.into_inner()),
            }
        };
        // Modes are set without waiting; what cannot be done to a terminal that has gone need not be.
        let _ = match held {
            Some(_) => execute!(io::stdout(), Show).and(ratatui::try_restore()),
            None => disable_raw_mode(),
        };
        act();
        let _ =
            enable_raw_mode().and_then(|()| execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All), Hide));
        // A new one takes nothing for drawn. (The old one's `clear` would ask the terminal where its cursor is, and read our keys.)
        if let (Some(mut terminal), Ok(new)) = (held, Terminal::new(CrosstermBackend::new(io::stdout()))) {
            *terminal = new;
        }
        // The loop draws when it hears of a new size, which there may be.
        let _ = signal_itself(Signal::SIGWINCH);
    })
}

/// The library's own hook leaves the other screen, and expects destructors to run, which no panic of this program does.
fn show_cursor_on_panic() {
    let restore = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = execute!(io::stdout(), Show);
        restore(panic);
    }));
}

/// To the process and not to the thread that calls, which reads no signals.
fn signal_itself(signal: Signal) -> nix::Result<()> {
    nix::sys::signal::kill(nix::unistd::getpid(), signal)
}

fn turns(terminal: &Mutex<DefaultTerminal>, instance: &Instance, interval: Duration) -> io::Result<End> {
    let mut watcher = Watcher::new(instance);
    let mut shown = DisplayState::default();
    let mut next = Instant::now() + interval;
    loop {
        lock(terminal).draw(|frame| draw::draw_live(frame, &shown))?;
        // Until the interval is over, or a key; a new size is drawn for at once.
        if event::poll(next.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                key if is_to_leave(&key) => return Ok(End::Left),
                // In raw mode the terminal makes no signal of it.
                key if is_control(&key, 'z') => signal_itself(Signal::SIGTSTP)?,
                _ => {}
            }
        } else {
            if !lives(instance) {
                return Ok(End::InstanceEnded);
            }
            shown.take(watcher.look(instance));
            // Not a multiple of the interval from the start: after a stop of an hour there is nothing to catch up with.
            next = Instant::now() + interval;
        }
    }
}

/// Whether a process of the instance lives.
fn lives(instance: &Instance) -> bool {
    // Where that cannot be found out, it counts as alive.
    stale::scan(&instance.generation().instance)
        .map_or(true, |scan| scan.living.iter().any(|living| living.generation == *instance.generation()))
}

/// Whether the key was pressed together with Control.
fn is_control(event: &Event, letter: char) -> bool {
    let Event::Key(key) = event else { return false };
    key.code == KeyCode::Char(letter)
        && key.modifiers.contains(KeyModifiers::CONTROL)
        && key.kind != KeyEventKind::Release
}

fn is_to_leave(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let asked = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc) && key.kind != KeyEventKind::Release;
    asked || is_control(event, 'c')
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
