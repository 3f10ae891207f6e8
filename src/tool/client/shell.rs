//! Talking to the server by hand: a numbered menu, and typed commands beside it.

use std::io::{self, BufRead, IsTerminal, Write, stdin, stdout};

use clap::Parser;
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Request, Status};
use crate::tool::client::caller::Caller;
use crate::tool::client::connection::Server;
use crate::tool::client::error::{ClientError, CommandError};
use crate::tool::client::history;
use crate::tool::client::oneshot::Question;
use crate::tool::client::options::Command;
use crate::tool::client::say;
use crate::tool::signals;

const MENU: &str = "\
1  look up an account
2  withdraw
3  save
4  terminate
or type a command; `help` lists them";

const HELP: &str = "\
1 | 2 | 3 | 4                  the menu's choices
balance ACCOUNT                what an account holds
deposit ACCOUNT AMOUNT         put money into an account
withdraw ACCOUNT AMOUNT        take money out of an account
transfer FROM TO AMOUNT        move money between accounts
history ACCOUNT                what happened to an account; --limit N, --before LSN, --all
ping                           ask whether the server answers
totals                         the sums over all accounts
menu, help, quit, and history for the lines typed so far";

/// A line typed as a command: the one-shots, without the program's name.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_subcommand = true, disable_help_flag = true)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

/// Takes back what the line editor asks of a terminal, and leaves its line.
const BRACKETED_PASTE_OFF: &[u8] = b"\x1b[?2004l\r\n";

/// Where lines come from: a terminal with editing and history, or a pipe.
enum Input {
    Terminal(Box<DefaultEditor>),
    Pipe(Vec<String>),
}

impl Input {
    fn open() -> io::Result<Input> {
        if !stdin().is_terminal() {
            return Ok(Input::Pipe(Vec::new()));
        }
        guard_terminal()?;
        DefaultEditor::new().map(|editor| Input::Terminal(Box::new(editor))).map_err(io::Error::other)
    }

    /// The next line, or `None` at the end of the input.
    fn line(&mut self, prompt: &str) -> io::Result<Option<String>> {
        match self {
            Input::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => {
                    // Without room for one more line the history merely lacks it.
                    let _ = editor.add_history_entry(&line);
                    Ok(Some(line))
                }
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
                Err(error) => Err(io::Error::other(error)),
            },
            Input::Pipe(history) => {
                let mut line = String::new();
                if stdin().lock().read_line(&mut line)? == 0 {
                    return Ok(None);
                }
                let line = line.trim_end_matches(['\r', '\n']).to_owned();
                history.push(line.clone());
                Ok(Some(line))
            }
        }
    }

    fn history(&self) -> Vec<String> {
        match self {
            Input::Terminal(editor) => editor.history().iter().cloned().collect(),
            Input::Pipe(history) => history.clone(),
        }
    }
}

/// While a line is edited the terminal is in raw mode: whatever ends or stops the shell then, it is set back.
fn guard_terminal() -> io::Result<()> {
    let plain = tcgetattr(stdin())?;
    signals::guard_terminal(None, move |act| {
        let edited = tcgetattr(stdin());
        let is_raw = edited.as_ref().is_ok_and(|modes| modes.local_flags != plain.local_flags);
        let set = |modes| tcsetattr(stdin(), SetArg::TCSANOW, modes);
        // A terminal that has gone away cannot be set, and need not be.
        if is_raw && set(&plain).is_ok() {
            let _ = stdout().write_all(BRACKETED_PASTE_OFF);
        }
        act();
        if let (true, Ok(edited)) = (is_raw, edited) {
            let _ = set(&edited);
        }
    })
}

/// Why the shell ended early.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// No connection to begin with, or nobody can be told.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The terminal or the pipe failed.
    #[error("cannot read commands: {0}")]
    Terminal(#[from] io::Error),
}

/// What to do after a line.
enum Next {
    GoOn,
    End,
}

/// Runs the shell until it is told to end or its input does. What the server refuses is shown and ends nothing.
///
/// # Errors
/// [`ShellError`].
pub fn run(server: &Server) -> Result<(), ShellError> {
    let caller = Caller::open(server).map_err(CommandError::from)?;
    let mut shell = Shell { caller, input: Input::open()? };
    tell(&format!("Bank Vault at {}\n{MENU}", server.address))?;
    while let Some(line) = shell.input.line("> ")? {
        match shell.obey(line.trim())? {
            Next::GoOn => {}
            Next::End => break,
        }
    }
    Ok(())
}

struct Shell<'s> {
    caller: Caller<'s>,
    input: Input,
}

impl Shell<'_> {
    fn obey(&mut self, line: &str) -> Result<Next, ShellError> {
        match line {
            "" => {}
            "1" => self.look_up()?,
            "2" => self.move_money(|account, amount| Request::Withdraw { account, amount })?,
            "3" => self.move_money(|account, amount| Request::Deposit { account, amount })?,
            "4" | "quit" | "exit" => {
                tell("Goodbye")?;
                return Ok(Next::End);
            }
            "help" | "?" => tell(HELP)?,
            "menu" => tell(MENU)?,
            "history" => tell(&self.input.history().join("\n"))?,
            command => self.typed(command)?,
        }
        Ok(Next::GoOn)
    }

    fn look_up(&mut self) -> Result<(), ShellError> {
        if let Some(account) = self.answer("Account: ", parse_account)? {
            self.show(&Question::plain(Request::Balance { account }))?;
        }
        Ok(())
    }

    fn move_money(&mut self, request: fn(AccountId, Cents) -> Request<'static>) -> Result<(), ShellError> {
        if let Some(account) = self.answer("Account: ", parse_account)?
            && let Some(amount) = self.answer("Amount: ", parse_amount)?
        {
            self.show(&Question::plain(request(account, amount)))?;
        }
        Ok(())
    }

    /// Asks the user for a value; `None` when the answer is none, which is said.
    fn answer<T>(&mut self, prompt: &str, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, ShellError> {
        let Some(line) = self.input.line(prompt)? else { return Ok(None) };
        match parse(line.trim()) {
            Ok(value) => Ok(Some(value)),
            Err(why) => {
                tell(&why)?;
                Ok(None)
            }
        }
    }

    fn typed(&mut self, line: &str) -> Result<(), ShellError> {
        match Typed::try_parse_from(line.split_whitespace()) {
            Ok(Typed { command: Command::History(options) }) => match history::show(&mut self.caller, &options) {
                Err(CommandError::Server(error)) => tell(&error.to_string()),
                done => Ok(done?),
            },
            Ok(typed) => match Question::of(&typed.command) {
                Some(question) => self.show(&question),
                None => tell("that is no command of the shell; `help` lists them"),
            },
            Err(error) => {
                // Clap's first line says what is wrong; the rest is about a command line, which this is not.
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                tell(&format!("{}; `help` lists the commands", first.trim_start_matches("error: ")))
            }
        }
    }

    fn show(&mut self, question: &Question) -> Result<(), ShellError> {
        let answer = question.ask(&mut self.caller).unwrap_or_else(|unanswered| match unanswered.error {
            ClientError::Refused { status: Status::NoAccount, .. } => "Account not found".to_owned(),
            ClientError::Refused { status: Status::Insufficient, .. } => {
                "Withdraw amount must be less than balance".to_owned()
            }
            _ => unanswered.explain(),
        });
        tell(&answer)
    }
}

/// Shows an answer. A reader that has gone ends nothing: who types goes on, and so does a script that reads no answers.
fn tell(text: &str) -> Result<(), ShellError> {
    say(text).map_err(CommandError::from)?;
    Ok(())
}

fn parse_account(text: &str) -> Result<AccountId, String> {
    text.parse().map(AccountId).map_err(|_| format!("`{text}` is not an account number"))
}

fn parse_amount(text: &str) -> Result<Cents, String> {
    text.parse().map_err(|error: crate::base::vocab::MoneyError| error.to_string())
}
