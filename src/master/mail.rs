//! The mail: what operators' tools ask for.

use crate::config::AcceptMode;
use crate::instance::mailbox::{Answer, Errand};
use crate::master::crew::Post;
use crate::master::watch::{Master, Stopping};

/// A letter whose errand takes its time.
#[derive(Clone, Copy, Debug)]
pub struct Errands {
    letter: u32,
    until: Until,
}

/// When an errand is done.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// Worker `worker` is gone, which had so many connections.
    Gone { worker: usize, connections: u32 },
    /// So many snapshots were taken.
    Snapshots(u64),
}

impl Master {
    /// Reads a letter that came.
    pub(super) fn take_mail(&mut self) {
        let mailbox = &self.common.instance.control().mailbox;
        let Some((letter, errand)) = mailbox.read().filter(|_| self.errand.is_none()) else { return };
        let begun = match errand {
            _ if self.stopping != Stopping::No => Err("the server is stopping".to_owned()),
            None => Err("this server does not know how to do that".to_owned()),
            Some(Errand::Drain { worker }) => self.drain(worker),
            Some(Errand::Rebalance) => return mailbox.answer(letter, &self.rebalance()),
            Some(Errand::Snapshot) => self.want_snapshot(),
        };
        match begun {
            Ok(until) => self.errand = Some(Errands { letter, until }),
            Err(why) => mailbox.answer(letter, &Err(why)),
        }
    }

    /// Answers the letter whose errand is done.
    pub(super) fn answer_mail(&mut self) {
        let Some(Errands { letter, until }) = self.errand else { return };
        let instance = self.common.instance;
        let answer: Answer = match until {
            _ if self.stopping != Stopping::No => Err("the server is stopping".to_owned()),
            Until::Gone { worker, connections } if self.posts[worker].is_none() => {
                Ok(format!("worker {worker} has left, others go on with its {connections} connections"))
            }
            Until::Snapshots(wanted) if instance.journal_row().snapshots_done() >= wanted => {
                Ok(format!("the newest snapshot is of operation {}", instance.journal_row().snapshot()))
            }
            Until::Gone { .. } | Until::Snapshots(_) => return,
        };
        self.errand = None;
        instance.control().mailbox.answer(letter, &answer);
    }

    fn drain(&mut self, worker: u32) -> Result<Until, String> {
        self.must_hand_over()?;
        let serving = self.posts.iter().flatten().filter(|post| post.takes_connections()).count();
        let index = worker as usize;
        let post = self.posts.get_mut(index).and_then(Option::as_mut).filter(|post| !post.leaving);
        let Some(post) = post else { return Err(format!("there is no worker {worker} that serves")) };
        if serving < 2 {
            return Err(format!("worker {worker} is the last that serves"));
        }
        let connections = post.connections;
        log::info!("worker {worker} is drained: its {connections} connections go to others, and it leaves");
        post.leaving = true;
        self.common.instance.workers()[index].ask_to_leave();
        post.nudge();
        Ok(Until::Gone { worker: index, connections })
    }

    fn rebalance(&mut self) -> Answer {
        self.must_hand_over()?;
        let serving: Vec<&Post> = self.posts.iter().flatten().filter(|post| post.takes_connections()).collect();
        let total: u32 = serving.iter().map(|post| post.connections).sum();
        let fair = total.div_ceil(u32::try_from(serving.len()).unwrap_or(1).max(1));
        let mut moved = 0;
        for post in serving {
            let surplus = post.connections.saturating_sub(fair);
            if surplus > 0 {
                self.common.instance.workers()[post.index].ask_for(surplus);
                post.nudge();
                moved += surplus;
            }
        }
        log::info!("rebalancing: {moved} of {total} connections move");
        Ok(format!("{moved} of {total} connections move; {fair} a worker is even"))
    }

    fn want_snapshot(&mut self) -> Result<Until, String> {
        if self.scribe.is_none() {
            return Err("there is no journal, so nothing to take a snapshot for (--durability none)".to_owned());
        }
        let wanted = self.common.instance.journal_row().want_snapshot();
        self.common.journal.send();
        Ok(Until::Snapshots(wanted))
    }

    fn must_hand_over(&self) -> Result<(), String> {
        match self.common.settings.accept {
            AcceptMode::Dispatch => Ok(()),
            AcceptMode::Shared | AcceptMode::Reuseport => {
                Err("connections can be moved only where the master hands them over (--accept dispatch)".to_owned())
            }
        }
    }
}
