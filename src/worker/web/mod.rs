//! The web's side of a worker: `desk` gives each connection its turns and reads requests, `sending` sends answers, `shelf` is what
//! the worker has at hand of the files, `library` finds the others (in threads), `lines` writes the access log's
//! lines, `board` shows what can be seen of the instance.

mod board;
mod built_in;
mod desk;
mod guest;
mod library;
mod lines;
mod sending;
mod shelf;

pub use board::Board;
pub use desk::Desk;
pub use guest::{Guest, Stage};
pub use library::{Done, Job, Library};
pub use shelf::{News, Reader};

use crate::worker::pool::Pool;

/// The threads that find files.
pub type Librarians = Pool<Job, Done>;
