//! The turns: who is served next, of those that have something to be served for.

use crate::worker::bank;
use crate::worker::guest::Guest;
use crate::worker::visit::{Fate, Parting};
use crate::worker::{Worker, web};

impl Worker {
    /// Gives the connection in `slot` a turn, if there is one.
    pub(super) fn give_turn(&mut self, slot: usize) {
        // Out of its place while it is served, so that the desk can have it for itself.
        let Some(mut guest) = self.guests[slot].take() else { return };
        let fate = match &mut guest {
            Guest::Bank(guest) => self.serve_bank(guest),
            Guest::Web(guest) => self.web.as_mut().map_or(Fate::Over, |web| web.turn(guest)),
        };
        let visit = guest.visit_mut();
        match fate {
            Fate::Over => return self.close(guest),
            Fate::Recalled if !visit.recalled => {
                visit.recalled = true;
                self.recalled.push_back(visit.connection.index());
            }
            Fate::Recalled | Fate::Stays => {}
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

    pub(super) fn deliver_findings(&mut self) {
        while let Some((waiting, finding)) = self.desk.counter.pool.finding() {
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
