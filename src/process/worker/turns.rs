//! The turns: who is served next, of those that have something to be served for.

use crate::base::limits::FINDINGS_PER_TURN;
use crate::process::worker::Worker;
use crate::process::worker::guest::Guest;
use crate::service::bank::session as bank;
use crate::service::http::session as web;
use crate::service::visit::{Fate, Parting, Place};

impl Worker {
    /// Gives the connection in `slot` a turn, if there is one.
    pub(super) fn give_turn(&mut self, slot: usize) {
        // Out of its place while it is served, so that the desk can have it for itself. Nothing is read of a client of the bank that
        // may have to be told that there is no room.
        let may_be_served =
            |guest: &mut Guest| !matches!((guest.visit().place, guest), (Place::Awaited { .. }, Guest::Bank(_)));
        let Some(mut guest) = self.guests[slot].take_if(may_be_served) else { return };
        let fate = match &mut guest {
            Guest::Bank(guest) => self.serve_bank(guest),
            Guest::Web(guest) => self.web.as_mut().map_or(Fate::Over, |web| web.turn(guest)),
        };
        let visit = guest.visit_mut();
        match fate {
            Fate::Over => return self.close(guest),
            Fate::Flooded => {
                self.row.stats.bounds.flooders_closed.add(1);
                return self.close(guest);
            }
            Fate::Recalled if !visit.recalled => {
                visit.recalled = true;
                self.recalled.push_back(visit.connection.index());
            }
            Fate::Recalled | Fate::Stays => {}
        }
        let visit = guest.visit_mut();
        if matches!(visit.parting, Parting::Lingering(_)) && !visit.counted_out {
            visit.counted_out = true;
            self.row.stats.bounds.parting[self.intake.service_of(visit.connection.index()).index()].add(1);
        }
        let between_requests = matches!(guest, Guest::Web(_)) && self.row.is_to_leave();
        self.guests[slot] = Some(guest);
        if between_requests {
            self.give_back(slot);
        }
    }

    fn serve_bank(&mut self, guest: &mut bank::Guest) -> Fate {
        let fate = self.desk.turn(guest);
        if fate != Fate::Over {
            self.line.join(guest);
        }
        let sequencer = self.instance.table().sequencer();
        if sequencer.is_journaled() && sequencer.must_be_woken(&self.desk.counter.order) {
            self.journal.send();
        }
        fate
    }

    /// Serves those whose operations have become durable.
    pub(super) fn serve_durable(&mut self) {
        let sequencer = self.instance.table().sequencer();
        // Each once: who waits for room stands in the line again at once, and others are to be served meanwhile.
        for _ in 0..self.line.length() {
            let Some(slot) = self.line.next(sequencer.durable()) else { return };
            if let Some(Guest::Bank(guest)) = self.guests[slot as usize].as_mut() {
                guest.in_line = false;
                self.give_turn(slot as usize);
            }
        }
    }

    pub(super) fn serve_recalled(&mut self) {
        for _ in 0..self.recalled.len() {
            let Some(slot) = self.recalled.pop_front() else { return };
            let Some(guest) = self.guests[slot as usize].as_mut() else { continue };
            guest.visit_mut().recalled = false;
            self.give_turn(slot as usize);
        }
    }

    /// Whether there are findings although no thread has called.
    pub(super) fn has_findings(&self) -> bool {
        self.findings_more || self.desk.counter.clerks.has_refused()
    }

    /// Answers requests that the threads have worked for; some of them, since whoever is answered may have sent the next one.
    pub(super) fn deliver_findings(&mut self) {
        self.findings_more = true;
        for _ in 0..FINDINGS_PER_TURN {
            let Some((waiting, finding)) = self.desk.counter.clerks.finding() else {
                self.findings_more = false;
                return;
            };
            let slot = waiting.slot as usize;
            // Its connection may have ended in the meantime.
            let Some(Guest::Bank(guest)) = self.guests[slot].as_mut() else { continue };
            if guest.generation != waiting.generation {
                continue;
            }
            self.desk.counter.deliver(guest, finding);
            if self.leave_by_ns.is_some() {
                guest.parting = Parting::AfterSending;
            }
            self.give_turn(slot);
            if self.row.is_to_leave() {
                self.give_back(slot);
            }
        }
    }

    /// Goes on with connections of the web that have waited for a file, or for room in the access log.
    pub(super) fn deliver_files(&mut self) {
        let Some(web) = &mut self.web else { return };
        let unlogged = web.unlogged();
        for (reader, news) in unlogged.map(|reader| (reader, None)).collect::<Vec<_>>() {
            self.tell(reader, news);
        }
        while let Some((readers, news)) = self.web.as_mut().and_then(web::Desk::finding) {
            for reader in readers {
                self.tell(reader, news.as_ref());
            }
        }
    }

    fn tell(&mut self, reader: web::Reader, news: Option<&web::News>) {
        // Its connection may have ended in the meantime.
        let Some(Guest::Web(guest)) = self.guests[reader.slot as usize].as_mut() else { return };
        if guest.generation == reader.generation {
            web::Desk::tell(guest, news);
            self.give_turn(reader.slot as usize);
        }
    }
}
