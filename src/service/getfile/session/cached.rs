//! The part of the handler that answers from the cache process.

use std::os::fd::AsFd;

use crate::base::limits::{CACHE_SLOW_CLIENT_SECONDS, SENT_BYTES_PER_TURN};
use crate::base::time::is_over;
use crate::service::connection_state::{Next, SessionKey};
use crate::service::getfile::session::asked::Asked;
use crate::service::getfile::session::asker::{Polled, Requests};
use crate::service::getfile::session::getfile_session::{GetFileData, GetFileSession, Stage};
use crate::service::getfile::session::handler::{Handler, Sent, Step, wait_in};
use crate::service::getfile::session::transfer::{self, Transfer};
use crate::service::getfile::wire::response::Response;
use crate::service::sessions::Sessions;
use crate::store::transfer::Reader;

const SLOW_CLIENT_NS: u64 = CACHE_SLOW_CLIENT_SECONDS * 1_000_000_000;

/// What a late session is to blame for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It has no answer.
    Unanswered,
    /// The cache process gives no more contents.
    Stalled,
    /// Its client takes nothing, while others wait for its segment.
    InTheWay,
    /// Its client takes nothing.
    Slow,
}

impl Handler {
    /// Puts a request to the cache process.
    pub fn ask(&mut self, session: &mut GetFileSession, path: Box<[u8]>) -> Step {
        let asked = Box::new(Asked::new(path, session.data.peer, self.now_ns));
        self.look(session, asked)
    }

    /// Looks whether there is an answer.
    pub fn look(&mut self, session: &mut GetFileSession, mut asked: Box<Asked>) -> Step {
        let Some(asker) = &mut self.asker else { return self.answer(session, Err(Response::Error)) };
        match asker.poll(session.state.key(), &mut asked, self.now_ns) {
            Polled::Nothing => wait_in(session, Stage::Asking(asked)),
            Polled::Contents(transfer) => {
                session.data.cache_status = Some(transfer.from);
                session.data.stage = Stage::Transferring(transfer);
                session.state.active_ns = self.now_ns;
                None
            }
            Polled::Whole(content, length, from) => {
                session.data.cache_status = Some(from);
                session.state.active_ns = self.now_ns;
                let step = self.answer(session, Ok((content, length)));
                if let Stage::Sending(sending) = &mut session.data.stage {
                    // No disk is to be waited for.
                    sending.outgoing.fetched(&(0..length));
                }
                step
            }
            Polled::Refused(response, from) => {
                session.data.cache_status = from;
                self.answer(session, Err(response))
            }
        }
    }

    /// Sends as much of the contents as are there and the socket takes.
    pub fn transfer(&mut self, session: &mut GetFileSession, mut transfer: Box<Transfer>) -> Step {
        let mut budget = SENT_BYTES_PER_TURN;
        while budget > 0 {
            let was_waiting = transfer.awaits_cache_ns().is_some();
            match transfer.send(session.state.connection.as_fd(), self.now_ns) {
                transfer::Step::Bytes(count) => {
                    budget = budget.saturating_sub(count);
                    session.state.active_ns = self.now_ns;
                }
                transfer::Step::Full => {
                    // From now on it is the client that is waited for.
                    if was_waiting {
                        session.state.active_ns = self.now_ns;
                    }
                    return wait_in(session, Stage::Transferring(transfer));
                }
                transfer::Step::Nothing => return wait_in(session, Stage::Transferring(transfer)),
                transfer::Step::Over => {
                    let sent = Sent::of_transfer(&transfer);
                    drop(transfer);
                    return self.complete(session, sent);
                }
                transfer::Step::Short | transfer::Step::Broken => {
                    session.data.stage = Stage::Transferring(transfer);
                    return Some(Next::Close);
                }
            }
        }
        session.data.stage = Stage::Transferring(transfer);
        Some(Next::Again)
    }

    /// Whether a session has waited for the cache process, or has its segment, for too long.
    pub fn late(&self, session: &GetFileSession, timeout_ns: u64) -> Option<Late> {
        let asker = self.asker.as_ref()?;
        let inactive = |patience_ns| is_over(self.now_ns, session.state.active_ns, patience_ns);
        match &session.data.stage {
            Stage::Asking(asked) => asker.is_late(asked, self.now_ns).then_some(Late::Unanswered),
            Stage::Transferring(transfer) => match transfer.awaits_cache_ns() {
                Some(since_ns) => asker.has_stalled(since_ns, self.now_ns).then_some(Late::Stalled),
                None if inactive(timeout_ns) => Some(Late::Slow),
                None => (self.is_segment_wanted && inactive(SLOW_CLIENT_NS)).then_some(Late::InTheWay),
            },
            _ => None,
        }
    }

    /// Gives up what a session without an answer waits for.
    pub fn cancel(&mut self, session: &mut GetFileSession) {
        if let Some(asker) = &mut self.asker
            && let Stage::Asking(asked) = &session.data.stage
        {
            asker.cancel(asked);
        }
    }
}

impl Requests for Sessions<GetFileData> {
    fn asked(&mut self, key: SessionKey) -> Option<&mut Asked> {
        match &mut self.get(key)?.data.stage {
            Stage::Asking(asked) => Some(asked),
            _ => None,
        }
    }

    fn reader(&mut self, key: SessionKey) -> Option<(&mut Reader<'static>, bool)> {
        match &mut self.get(key)?.data.stage {
            Stage::Asking(asked) => asked.reader(),
            Stage::Transferring(transfer) => {
                let awaits_cache = transfer.awaits_cache_ns().is_some();
                Some((transfer.reader(), awaits_cache))
            }
            _ => None,
        }
    }

    fn schedule(&mut self, key: SessionKey) {
        Sessions::schedule(self, key.slot);
    }
}
