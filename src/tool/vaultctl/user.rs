//! `vaultctl user add|list|remove`: the users file of a server.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::failure::{Failure, say};
use super::password;
use crate::store::users::{self, Role, UsersError};

#[derive(Debug, clap::Args)]
#[command(after_help = "A running server goes on with the users it read when it started.")]
pub(super) struct User {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add a user; the password is asked for twice on a terminal, and read from the standard input otherwise
    Add(Add),
    /// Show all users and their roles
    List {
        #[command(flatten)]
        file: UsersFile,
    },
    /// Remove a user
    Remove {
        /// Name of the user
        name: String,
        #[command(flatten)]
        file: UsersFile,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Name of the user: letters, digits and the signs . _ - @
    name: String,
    /// teller (moves all money), auditor (only reads), or customer:LO-HI (owns the accounts LO to HI)
    #[arg(long)]
    role: Role,
    #[command(flatten)]
    file: UsersFile,
    /// Read the password from the standard input even if that is a terminal; one line end is taken off
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, clap::Args)]
struct UsersFile {
    /// The users file, as `master --users` names it
    #[arg(long = "users", value_name = "FILE", default_value = "./vault-data/users")]
    path: PathBuf,
}

pub(super) fn run(user: User) -> Result<(), Failure> {
    match user.action {
        Action::Add(add) => run_add(&add),
        Action::List { file } => run_list(&file),
        Action::Remove { name, file } => {
            users::remove(&file.path, &name).map_err(failure)?;
            say(&format!("removed user {name} from {}\n", file.path.display()))
        }
    }
}

fn run_add(add: &Add) -> Result<(), Failure> {
    let input = io::stdin();
    let password = if input.is_terminal() && !add.password_stdin {
        password::ask_twice(&input, &add.name)
    } else {
        password::read_all(input.lock())
    };
    users::add(&add.file.path, &add.name, &password?, add.role).map_err(failure)?;
    say(&format!("added user {} as {} to {}\n", add.name, add.role, add.file.path.display()))
}

fn run_list(file: &UsersFile) -> Result<(), Failure> {
    let users = users::list(&file.path).map_err(failure)?;
    let width = users.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: String = users.iter().map(|(name, role)| format!("{name:width$}  {role}\n")).collect();
    say(&lines)
}

fn failure(error: UsersError) -> Failure {
    match error {
        UsersError::Exists { .. } | UsersError::NoSuchUser { .. } => Failure::refused(error),
        _ => error.into(),
    }
}
