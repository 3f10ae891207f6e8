//! An upgrade, step by step: the new program is asked whether it fits, executed, and the children are replaced one by one.

use std::collections::VecDeque;

use log::Level;

use super::event::{Action, Observation};
use super::slot::{SlotId, State};
use super::state::{SECOND_NS, Supervisor, Upgrade};
use crate::base::limits::UPGRADE_ANSWER_SECONDS;

/// New workers in a row that end before they do anything, after which no further old one is replaced.
const EARLY_FAILURES_TO_GIVE_UP: u32 = 3;

impl Supervisor {
    /// Asks the new program first; nothing is touched before it has answered.
    pub(super) fn begin_upgrade(&mut self, now_ns: u64, id: Option<u32>) {
        if self.upgrade != Upgrade::No {
            return self.refuse_upgrade(id, "the server is being upgraded already");
        }
        let deadline_ns = now_ns + UPGRADE_ANSWER_SECONDS * SECOND_NS;
        self.upgrade = Upgrade::Checking { id, deadline_ns };
        self.act(Action::CheckNewProgram);
    }

    pub(super) fn checked(&mut self, result: Result<String, String>) {
        let Upgrade::Checking { id, .. } = self.upgrade else { return };
        match result {
            Ok(said) => {
                self.say(Level::Info, format!("upgrade: {said}"));
                self.act(Action::Execute);
            }
            Err(why) => {
                self.upgrade = Upgrade::No;
                self.refuse_upgrade(id, &why);
            }
        }
    }

    pub(super) fn not_executed(&mut self, why: String) {
        self.checked(Err(why));
    }

    fn refuse_upgrade(&mut self, id: Option<u32>, why: &str) {
        self.say(Level::Error, format!("no upgrade, the server goes on as it is: {why}"));
        if let Some(id) = id {
            self.act(Action::Answer(id, Err(why.to_owned())));
        }
    }

    pub(super) fn give_up_upgrade(&mut self, why: &str) {
        match std::mem::replace(&mut self.upgrade, Upgrade::No) {
            Upgrade::No => {}
            Upgrade::Checking { id, .. } => {
                // It may just have answered.
                self.actions.retain(|action| *action != Action::Execute);
                self.act(Action::AbandonCheck);
                self.refuse_upgrade(id, why);
            }
            Upgrade::Rolling { id, slots } => {
                let text = format!("upgrade: this program goes on, {} workers of the old one stay: {why}", slots.len());
                self.say(Level::Warn, text.clone());
                if let Some(id) = id {
                    self.act(Action::Answer(id, Err(text)));
                }
            }
        }
    }

    /// Goes on as the program that was executed: the journal process is replaced first, then one worker after the other.
    pub fn resume_upgraded(&mut self, now_ns: u64) {
        let id = self.upgrade.request_id();
        self.observed_ns = now_ns;
        let mut slots = VecDeque::new();
        for (id, slot) in self.slots_mut() {
            if let State::Running { of_old_program, .. } = &mut slot.state {
                *of_old_program = true;
            }
            if let SlotId::Worker(index) = id
                && !slot.leaving
            {
                slots.push_back(index);
            }
        }
        self.upgrade = Upgrade::Rolling { id, slots };
        self.say(Level::Info, "upgrade: this program goes on with everything; replacing the children".to_owned());
        self.ask_to_leave(SlotId::Journal, true);
    }

    /// Goes on as the old program, which was executed again because the new one could not go on.
    pub fn resume_unchanged(&mut self, now_ns: u64, why: &str) {
        self.observed_ns = now_ns;
        self.checked(Err(why.to_owned()));
    }

    /// Takes the next step, if it is time.
    pub(super) fn upgrade_step(&mut self, now_ns: u64, seen: &Observation) {
        match &self.upgrade {
            Upgrade::No => {}
            Upgrade::Checking { deadline_ns, .. } if now_ns < *deadline_ns => {}
            Upgrade::Checking { .. } => {
                self.give_up_upgrade(&format!("the new program has not answered within {UPGRADE_ANSWER_SECONDS} s"));
            }
            Upgrade::Rolling { slots, .. } => match slots.front() {
                Some(&index) if self.moves_connections => self.replace(index, seen),
                _ => self.upgraded(),
            },
        }
    }

    /// Replaces worker `index`, step by step: it leaves, another one of this program is there, the next one's turn comes.
    fn replace(&mut self, index: usize, seen: &Observation) {
        let Some(slot) = self.workers[index].as_ref() else { return self.replaced() };
        if slot.backoff.failed_early() >= EARLY_FAILURES_TO_GIVE_UP {
            return self.give_up_upgrade(&format!("worker {index} of this program ends as soon as it is started"));
        }
        match slot.state {
            State::Running { of_old_program: true, .. } if !slot.leaving => {
                self.ask_to_leave(SlotId::Worker(index), true);
            }
            State::Running { of_old_program: false, .. } if seen.workers[index].serving => self.replaced(),
            _ => {}
        }
    }

    fn replaced(&mut self) {
        if let Upgrade::Rolling { slots, .. } = &mut self.upgrade {
            slots.pop_front();
        }
    }

    fn upgraded(&mut self) {
        let id = self.upgrade.request_id();
        self.upgrade = Upgrade::No;
        self.say(Level::Info, "upgrade: done".to_owned());
        let children = if self.moves_connections {
            "all children are of the new program"
        } else {
            "workers that accept by themselves stay of the old program"
        };
        if let Some(id) = id {
            self.act(Action::Answer(id, Ok(format!("upgraded: {children}"))));
        }
    }
}
