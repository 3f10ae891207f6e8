//! The upstream as the shell has it, and what its threads do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::request::{Client, Wanted};
use crate::base::config::{BaseUrl, Roots};
use crate::process::cache::core::{Head, Validators};
use crate::process::cache::origin::{Failure, Fetcher, Listener, Said, Threads, Transfer, Wake};

/// Where objects come from, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What paths are appended to.
    pub url: BaseUrl,
    /// How long connecting, the head, and each piece of content may take.
    pub timeout: Duration,
    /// Whom it is trusted to be certified by.
    pub roots: Roots,
    /// Fetches at a time.
    pub threads: usize,
}

/// Where objects come from.
pub struct Upstream {
    threads: Threads<Http>,
}

struct Http {
    settings: Settings,
    /// Clients that no thread has, each with a connection that may still be open; the last one is the warmest.
    clients: Mutex<Vec<Client>>,
}

impl Upstream {
    /// An upstream that no thread asks yet. `wake` is called when one of its transfers has something to say.
    #[must_use]
    pub fn new(settings: Settings, wake: Wake) -> Self {
        let threads = settings.threads;
        let http = Http { settings, clients: Mutex::default() };
        Upstream { threads: Threads::new(http, "upstream", threads, wake) }
    }

    /// Begins to fetch a path, once a thread is free.
    ///
    /// # Errors
    /// [`Failure::NoThread`].
    pub fn fetch(&self, path: &[u8], validators: Validators) -> Result<Transfer, Failure> {
        let url = self.threads.fetcher().settings.url.join(path);
        self.threads.fetch(Wanted { url, validators })
    }
}

impl Fetcher for Http {
    type Wanted = Wanted;

    fn fetch(&self, wanted: &Wanted, to: &Listener) -> Option<Said> {
        let kept = self.clients().pop();
        let mut client = kept.unwrap_or_else(|| self.new_client());
        loop {
            let (was_used, agent) = (client.is_used, client.handle());
            if !to.on_cancel(move || agent.shutdown()) {
                self.clients().push(client);
                return None;
            }
            let said = try_once(wanted, to, &mut client);
            if !to.off_cancel() {
                return None;
            }
            match said {
                // The connection that was kept may have been closed just now: then another is made, once.
                Err(failure) if was_used && failure.may_be_of_an_old_connection() => client = self.new_client(),
                Ok(said) => {
                    self.clients().push(client);
                    return said;
                }
                Err(failure) => {
                    self.clients().push(client);
                    return Some(Said::Failed(failure));
                }
            }
        }
    }
}

impl Http {
    fn new_client(&self) -> Client {
        Client::new(self.settings.timeout, &self.settings.roots)
    }

    /// Who panics while holding this has changed nothing by halves.
    fn clients(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks, and says all but the last, which it returns. Fails if there is no answer.
fn try_once(wanted: &Wanted, to: &Listener, client: &mut Client) -> Result<Option<Said>, Failure> {
    let answered = client.ask(wanted)?;
    let head = answered.head.clone();
    if !matches!(head, Head::Found { .. }) {
        return Ok(Some(Said::Head(head)));
    }
    if !to.say(Said::Head(head)) {
        return Ok(None);
    }
    Ok(match client.read(answered, |bytes| to.say(Said::Chunk(bytes.into()))) {
        Ok(true) => Some(Said::Whole),
        Ok(false) => None,
        Err(failure) => Some(Said::Failed(failure)),
    })
}
