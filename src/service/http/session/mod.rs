//! The web's side of a worker: `desk` gives each connection its turns and reads requests, `answer` answers them, `sending` sends
//! that, `shelf` is what the worker has at hand of the files, `library` finds the others (in threads), `lines` writes the access
//! log's lines, `board` shows what can be seen of the instance.

mod answer;
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

use std::io;

use crate::base::config::Settings;
use crate::base::limits::MAX_WAITING_FILES;
use crate::service::pool::Pool;
use crate::store::access_log::{AccessLog, Writer};
use crate::store::instance::Instance;

/// The threads that find files.
pub type Librarians = Pool<Job, Done>;

/// Opens everything that worker `index` needs for HTTP. `wake` is called from its threads when there is something for the event
/// loop.
///
/// # Errors
/// No thread can be had.
pub fn open(
    instance: &'static Instance,
    settings: &Settings,
    log: &'static AccessLog,
    index: usize,
    wake: impl Fn() + Clone + Send + Sync + 'static,
) -> io::Result<Desk> {
    let (http, row) = (&settings.http, &instance.workers()[index]);
    let library = Library::new(http.www.clone());
    let find = move |job| library.run(job);
    let librarians = Pool::start("vault-files", http.threads, MAX_WAITING_FILES, find, wake.clone())?;
    let number = u32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    let log = Writer::start(log, number, wake)?;
    row.stats.web.connections.set(0);
    row.stats.web.streams.set(0);
    let board = Board::new(instance, http.status_public, &row.stats.web);
    Ok(Desk::new(http, librarians, log, board, &row.stats))
}
