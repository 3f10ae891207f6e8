//! The interactive shell: a numbered menu, and typed commands beside it.

use std::io::{self, BufRead, IsTerminal, Write, stdin, stdout};

use clap::Parser;
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Request, Status};
use crate::tool::client::connection::Server;
use crate::tool::client::error::{ClientError, CommandError};
use crate::tool::client::history;
use crate::tool::client::oneshot::OneShot;
use crate::tool::client::options::Command;
use crate::tool::client::retrying::RetryingConnection;
use crate::tool::{output, signals};

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

/// Turns off the bracketed paste mode that the line editor turns on, and ends the edited line.
const BRACKETED_PASTE_OFF: &[u8] = b"\x1b[?2004l\r\n";

/// The source of lines: a terminal with editing and history, or a pipe.
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
                    // A history that takes no more lines ends nothing.
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

/// While a line is edited the terminal is in raw mode: it is set back before a signal ends or stops the shell.
fn guard_terminal() -> io::Result<()> {
    let plain = tcgetattr(stdin())?;
    signals::guard_terminal(None, move |act| {
        let edited = tcgetattr(stdin());
        let is_raw = edited.as_ref().is_ok_and(|modes| modes.local_flags != plain.local_flags);
        let set = |modes| tcsetattr(stdin(), SetArg::TCSANOW, modes);
        // A terminal that hung up cannot be set back and need not be.
        if is_raw && set(&plain).is_ok() {
            let _ = stdout().write_all(BRACKETED_PASTE_OFF);
        }
        act();
        if let (true, Ok(edited)) = (is_raw, edited) {
            let _ = set(&edited);
        }
    })
}

/// Runs the shell until the user or the end of the input ends it. Refusals are shown and end nothing.
pub fn run(server: &Server) -> Result<(), CommandError> {
    let connection = RetryingConnection::open(server)?;
    let mut shell = Shell { connection, input: Input::open().map_err(CommandError::system("read commands"))? };
    print(&format!("Bank Vault at {}\n{MENU}", server.name()))?;
    while let Some(line) = shell.input.line("> ").map_err(CommandError::system("read commands"))? {
        match line.trim() {
            "4" | "quit" | "exit" => return print("Goodbye"),
            line => shell.execute(line)?,
        }
    }
    Ok(())
}

struct Shell<'s> {
    connection: RetryingConnection<'s>,
    input: Input,
}

impl Shell<'_> {
    fn execute(&mut self, line: &str) -> Result<(), CommandError> {
        match line {
            "" => Ok(()),
            "1" => self.look_up(),
            "2" => self.move_money(|account, amount| Request::Withdraw { account, amount }),
            "3" => self.move_money(|account, amount| Request::Deposit { account, amount }),
            "help" | "?" => print(HELP),
            "menu" => print(MENU),
            "history" => print(&self.input.history().join("\n")),
            command => self.typed(command),
        }
    }

    fn look_up(&mut self) -> Result<(), CommandError> {
        if let Some(account) = self.prompt("Account: ", parse_account)? {
            self.show(&OneShot::plain(Request::Balance { account }))?;
        }
        Ok(())
    }

    fn move_money(&mut self, request: fn(AccountId, Cents) -> Request<'static>) -> Result<(), CommandError> {
        if let Some(account) = self.prompt("Account: ", parse_account)?
            && let Some(amount) = self.prompt("Amount: ", parse_amount)?
        {
            self.show(&OneShot::plain(request(account, amount)))?;
        }
        Ok(())
    }

    /// Prompts the user for a value; `None`, with a message, for one that cannot be parsed.
    fn prompt<T>(&mut self, prompt: &str, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, CommandError> {
        let Some(line) = self.input.line(prompt).map_err(CommandError::system("read commands"))? else {
            return Ok(None);
        };
        match parse(line.trim()) {
            Ok(value) => Ok(Some(value)),
            Err(why) => {
                print(&why)?;
                Ok(None)
            }
        }
    }

    fn typed(&mut self, line: &str) -> Result<(), CommandError> {
        match Typed::try_parse_from(line.split_whitespace()) {
            Ok(Typed { command: Command::History(options) }) => match history::show(&mut self.connection, &options) {
                Err(CommandError::Server(error)) => print(&error.to_string()),
                done => done,
            },
            Ok(typed) => match OneShot::of(&typed.command) {
                Some(request) => self.show(&request),
                None => print("that is no command of the shell; `help` lists them"),
            },
            Err(error) => {
                // Clap's first line names the mistake; the rest is about the program's command line.
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                print(&format!("{}; `help` lists the commands", first.trim_start_matches("error: ")))
            }
        }
    }

    fn show(&mut self, request: &OneShot) -> Result<(), CommandError> {
        let answer = request.send(&mut self.connection).unwrap_or_else(|failed| match failed {
            CommandError::Request { error: ClientError::Refused { status: Status::NoAccount, .. }, .. } => {
                "Account not found".to_owned()
            }
            CommandError::Request { error: ClientError::Refused { status: Status::Insufficient, .. }, .. } => {
                "Withdraw amount must be less than balance".to_owned()
            }
            failed => failed.to_string(),
        });
        print(&answer)
    }
}

/// Prints an answer. A reader that closed the pipe ends nothing: a script may not read the answers.
fn print(text: &str) -> Result<(), CommandError> {
    output::print_line(text)?;
    Ok(())
}

fn parse_account(text: &str) -> Result<AccountId, String> {
    text.parse().map(AccountId).map_err(|_| format!("`{text}` is not an account number"))
}

fn parse_amount(text: &str) -> Result<Cents, String> {
    text.parse().map_err(|error: crate::base::vocab::MoneyError| error.to_string())
}
