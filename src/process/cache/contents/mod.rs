//! The bytes of contents, each where the core has said that they go. A content is read in parts, from where its reader is.
//!
//! **Memory** is reserved for the whole content before the first byte comes; with `--cache-channel memfd` it is a file in memory, whose
//! descriptor workers get once it is whole. **A window** has what its readers still need. **A spool**
//! is in memory up to a bound, then in a file without a name: what is written to it goes to the kernel's memory first, a chunk at a
//! time, and so does what is read, so the process waits for the disk only where the kernel has no memory left for it. Threads would
//! hide that wait at the price of a second copy of every chunk, for contents whose length is not known or that memory has no room for,
//! which are few. Of a file the room on the disk is reserved first, where the length is known.
//!
//! What could not be kept is lost: who reads it ends where it is.

mod memory;
mod spool;
mod window;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;

use crate::base::limits::{CACHE_KEPT_BYTES_PER_TURN, CACHE_WINDOW_BYTES};
use crate::ipc::memfd::SealedFile;
use crate::process::cache::core::{ContentId, Place};
use memory::{Memory, MemoryFiles};
use spool::{Budget, Spool};
use window::Window;

/// Where the bytes of one content are.
enum Content {
    Memory(Memory),
    Window(Window),
    Spool(Spool),
    Lost,
}

/// Bytes of a content, from some place on.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// These are there; more may be.
    Bytes(&'a [u8]),
    /// None have come yet.
    NotYet,
    /// Some will never come.
    Lost,
}

/// All contents.
pub struct Contents {
    by_id: HashMap<ContentId, Content>,
    /// Spools that are being moved to memory.
    moving: VecDeque<ContentId>,
    spools: Budget,
    files: MemoryFiles,
    /// What was read last from a file.
    buffer: Vec<u8>,
}

impl Contents {
    /// None yet. Spools have their files in the first of these folders that takes one; `passes_files` says whether workers are to be
    /// given files in memory.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>, passes_files: bool) -> Self {
        let (spools, files) = (Budget::new(folders), MemoryFiles::new(passes_files));
        Contents { by_id: HashMap::new(), moving: VecDeque::new(), spools, files, buffer: Vec::new() }
    }

    /// Makes room for a content.
    ///
    /// # Errors
    /// There is no memory for it, or no file. It is lost then, unless it is opened elsewhere.
    pub fn open(&mut self, id: ContentId, place: Place, length: Option<u64>) -> io::Result<()> {
        let made = match place {
            Place::Memory => Memory::new(length.unwrap_or(0), &self.files).map(Content::Memory),
            Place::Window => Window::new(CACHE_WINDOW_BYTES).map(Content::Window),
            Place::Spool => Spool::new(length, &self.spools).map(Content::Spool),
        };
        let (content, result) = match made {
            Ok(content) => (content, Ok(())),
            Err(error) => (Content::Lost, Err(error)),
        };
        self.by_id.insert(id, content);
        result
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// They cannot be kept. The content is lost then.
    pub fn append(&mut self, id: ContentId, bytes: &[u8]) -> io::Result<()> {
        let Some(content) = self.by_id.get_mut(&id) else { return Ok(()) };
        let kept = match content {
            Content::Memory(memory) => memory.append(bytes),
            Content::Window(window) => window.append(bytes),
            Content::Spool(spool) => spool.append(bytes, &mut self.spools),
            Content::Lost => Ok(()),
        };
        if kept.is_err() {
            self.lose(id);
        }
        kept
    }

    /// Forgets the bytes of a window before this place.
    pub fn trim(&mut self, id: ContentId, before: u64) {
        if let Some(Content::Window(window)) = self.by_id.get_mut(&id) {
            window.trim(before);
        }
    }

    /// A spool is to be moved to memory, which [`Contents::advance`] does; until then it is read where it is.
    pub fn keep(&mut self, id: ContentId) {
        self.moving.push_back(id);
    }

    /// Whether some spool is being moved to memory.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        !self.moving.is_empty()
    }

    /// Moves some of a spool to memory. One for which there is no memory stays where it is.
    ///
    /// # Errors
    /// It cannot be read, and is lost.
    pub fn advance(&mut self) -> Result<(), (ContentId, io::Error)> {
        let Some(id) = self.moving.pop_front() else { return Ok(()) };
        let Some(content) = self.by_id.get_mut(&id) else { return Ok(()) };
        let Content::Spool(spool) = content else { return Ok(()) };
        match spool.advance(CACHE_KEPT_BYTES_PER_TURN, &mut self.spools, &self.files) {
            Ok(None) => self.moving.push_front(id),
            Ok(Some(memory)) => *content = Content::Memory(memory),
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {}
            Err(error) => {
                self.lose(id);
                return Err((id, error));
            }
        }
        Ok(())
    }

    /// Forgets a content.
    pub fn release(&mut self, id: ContentId) {
        if let Some(Content::Spool(spool)) = self.by_id.remove(&id) {
            spool.give_back(&mut self.spools);
        }
    }

    /// Whether its readers have to say how far they are.
    #[must_use]
    pub fn is_window(&self, id: ContentId) -> bool {
        matches!(self.by_id.get(&id), Some(Content::Window(_)))
    }

    /// Whether some of its bytes will never be there.
    #[must_use]
    pub fn is_lost(&self, id: ContentId) -> bool {
        matches!(self.by_id.get(&id), None | Some(Content::Lost))
    }

    /// The file in memory that has all of it, if there is one.
    #[must_use]
    pub fn sealed(&self, id: ContentId) -> Option<&SealedFile> {
        match self.by_id.get(&id) {
            Some(Content::Memory(memory)) => memory.sealed(),
            _ => None,
        }
    }

    /// What there is of it from a place on, up to `most` bytes.
    pub fn part(&mut self, id: ContentId, position: u64, most: usize) -> Part<'_> {
        if let Some(Content::Spool(spool)) = self.by_id.get(&id)
            && let Err(error) = spool.load(position, most, &mut self.buffer)
        {
            log::error!("GetFile's cache cannot read what it has put into a file: {error}");
            self.lose(id);
        }
        let bytes = match self.by_id.get(&id) {
            Some(Content::Memory(memory)) => match memory.read(position, most, &mut self.buffer) {
                Ok(bytes) => bytes,
                Err(error) => {
                    log::error!("GetFile's cache cannot read a memfd: {error}");
                    return Part::Lost;
                }
            },
            Some(Content::Window(window)) => match window.from(position) {
                Some(bytes) => bytes,
                None => return Part::Lost,
            },
            Some(Content::Spool(spool)) => spool.loaded(position, &self.buffer),
            None | Some(Content::Lost) => return Part::Lost,
        };
        if bytes.is_empty() { Part::NotYet } else { Part::Bytes(&bytes[..bytes.len().min(most)]) }
    }

    fn lose(&mut self, id: ContentId) {
        if let Some(Content::Spool(spool)) = self.by_id.insert(id, Content::Lost) {
            spool.give_back(&mut self.spools);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{CACHE_SPOOL_MEMORY_BYTES, MAX_CACHE_MEMFDS};

    fn contents() -> Contents {
        contents_as(false)
    }

    fn contents_as(passes_files: bool) -> Contents {
        Contents::new(vec!["/nowhere".into(), std::env::temp_dir()], passes_files)
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..=250_u8).cycle().take(length).collect()
    }

    /// All of a content from a place on, read in parts.
    fn read(contents: &mut Contents, id: ContentId, from: u64, most: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while let Part::Bytes(part) = contents.part(id, from + read.len() as u64, most) {
            assert!(part.len() <= most);
            read.extend_from_slice(part);
        }
        read
    }

    #[test]
    fn what_is_appended_is_read_wherever_it_is() {
        [false, true].into_iter().for_each(appended_is_read);
    }

    fn appended_is_read(passes_files: bool) {
        let mut contents = contents_as(passes_files);
        let all = bytes(3 * CACHE_SPOOL_MEMORY_BYTES + 17);
        for (number, place) in (0..).zip([Place::Memory, Place::Spool]) {
            let id = ContentId(number);
            contents.open(id, place, Some(all.len() as u64)).unwrap();
            assert_eq!(contents.part(id, 0, 10), Part::NotYet);
            for (chunk, from) in all.chunks(60_000).zip((0..).step_by(60_000)) {
                assert!(contents.sealed(id).is_none() && contents.part(id, from, 10) == Part::NotYet);
                contents.append(id, chunk).unwrap();
                assert!(read(&mut contents, id, from, 25_000) == chunk, "it is read while it comes");
            }
            assert_eq!(contents.sealed(id).is_some(), passes_files && place == Place::Memory);
            for (from, most) in [(0, 65_536), (1, 1_000_000), (all.len() - 5, 3), (all.len(), 9)] {
                assert!(read(&mut contents, id, from as u64, most) == all[from..], "{place:?} from {from}");
            }
        }
        contents.release(ContentId(1));
        assert_eq!(contents.part(ContentId(1), 0, 1), Part::Lost);
    }

    #[test]
    fn files_in_memory_are_bounded_counted_and_whole() {
        let mut contents = contents_as(true);
        let ids = || (0..MAX_CACHE_MEMFDS as u64 + 2).map(ContentId);
        for id in ids() {
            contents.open(id, Place::Memory, Some(3)).unwrap();
            contents.append(id, b"abc").unwrap();
            let sealed = contents.sealed(id);
            assert_eq!(sealed.map(SealedFile::bytes), (id.0 < MAX_CACHE_MEMFDS as u64).then_some(3));
            assert_eq!(contents.part(id, 1, 9), Part::Bytes(b"bc"), "beyond the bound it is in memory as well");
        }
        assert_eq!(contents.files.count(), MAX_CACHE_MEMFDS);
        contents.append(ContentId(0), b"d").unwrap_err();
        assert!(
            contents.is_lost(ContentId(0)) && contents.files.count() == MAX_CACHE_MEMFDS - 1,
            "more than the whole"
        );
        ids().for_each(|id| contents.release(id));
        assert_eq!(contents.files.count(), 0);
        contents.open(ContentId(0), Place::Memory, Some(0)).unwrap();
        assert!(contents.sealed(ContentId(0)).is_none(), "what is empty is no file");
    }

    #[test]
    fn a_spool_that_is_kept_is_read_all_the_time() {
        [false, true].into_iter().for_each(kept_is_read);
    }

    fn kept_is_read(passes_files: bool) {
        let mut contents = contents_as(passes_files);
        for (number, length) in (0..).zip([0, 5, 2 * CACHE_KEPT_BYTES_PER_TURN + 3]) {
            let (id, all) = (ContentId(number), bytes(length));
            contents.open(id, Place::Spool, None).unwrap();
            all.chunks(65_536).for_each(|chunk| contents.append(id, chunk).unwrap());
            contents.keep(id);
            let mut turns = 0;
            while contents.is_moving() {
                assert!(read(&mut contents, id, 0, 100_000) == all);
                contents.advance().unwrap();
                turns += 1;
            }
            assert!(read(&mut contents, id, 0, 100_000) == all);
            let sealed = contents.sealed(id).map(SealedFile::bytes);
            assert_eq!(sealed, (passes_files && length > 0).then_some(length as u64));
            assert!(
                matches!(contents.by_id[&id], Content::Memory(_)) && turns == 1 + length / CACHE_KEPT_BYTES_PER_TURN
            );
        }
        // One that is gone before its turn.
        contents.open(ContentId(9), Place::Spool, None).unwrap();
        contents.keep(ContentId(9));
        contents.release(ContentId(9));
        contents.advance().unwrap();
        assert!(!contents.is_moving());
    }

    #[test]
    fn spools_together_have_a_bound_in_memory() {
        let mut contents = contents();
        let all = bytes(CACHE_SPOOL_MEMORY_BYTES);
        for number in 0..40 {
            contents.open(ContentId(number), Place::Spool, None).unwrap();
            contents.append(ContentId(number), &all).unwrap();
        }
        let in_memory = |contents: &Contents| {
            let spools = contents
                .by_id
                .values()
                .filter(|content| matches!(content, Content::Spool(spool) if spool.is_in_memory()));
            spools.count()
        };
        assert_eq!(in_memory(&contents), crate::base::limits::MAX_CACHE_FETCHES);
        for number in 0..40 {
            assert!(read(&mut contents, ContentId(number), 0, 1 << 20) == all, "{number}");
            contents.release(ContentId(number));
        }
        contents.open(ContentId(40), Place::Spool, None).unwrap();
        contents.append(ContentId(40), &all).unwrap();
        assert_eq!(in_memory(&contents), 1, "what is released counts no more");
    }

    #[test]
    fn a_window_moves_and_what_lies_before_it_is_lost() {
        let mut contents = contents();
        let (id, all) = (ContentId(0), bytes(300_000));
        contents.open(id, Place::Window, Some(3 << 20)).unwrap();
        for round in 0..10_u64 {
            contents.append(id, &all).unwrap();
            let begin = round * 300_000;
            assert!(contents.is_window(id) && read(&mut contents, id, begin, 77_777) == all);
            contents.trim(id, begin + 299_000);
            assert_eq!(contents.part(id, begin + 298_999, 1), Part::Lost);
            assert!(read(&mut contents, id, begin + 299_000, 5000) == all[299_000..]);
        }
    }

    #[test]
    fn a_spool_that_no_file_can_be_had_for_is_lost() {
        let mut contents = Contents::new(vec!["/nowhere".into()], false);
        let (id, all) = (ContentId(0), bytes(CACHE_SPOOL_MEMORY_BYTES));
        contents.open(id, Place::Spool, None).unwrap();
        contents.append(id, &all).unwrap();
        contents.append(id, b"x").unwrap_err();
        assert!(contents.is_lost(id));
        contents.release(id);
        assert_eq!(contents.spools.in_memory(), 0);
    }

    #[test]
    fn what_no_file_can_be_had_for_may_be_opened_elsewhere() {
        let length = CACHE_SPOOL_MEMORY_BYTES as u64 + 1;
        for (folder, length) in
            [("/nowhere".into(), length), (std::env::temp_dir(), 1 << 60), (std::env::temp_dir(), u64::MAX)]
        {
            let (mut contents, id) = (Contents::new(vec![folder], false), ContentId(0));
            contents.open(id, Place::Spool, Some(length)).unwrap_err();
            assert!(contents.is_lost(id));
            contents.open(id, Place::Window, Some(length)).unwrap();
            contents.append(id, b"x").unwrap();
            assert_eq!(contents.part(id, 0, 10), Part::Bytes(b"x"));
        }
        let mut contents = Contents::new(vec!["/nowhere".into()], false);
        contents.open(ContentId(0), Place::Spool, Some(length - 1)).unwrap();
        contents.append(ContentId(0), b"x").unwrap();
        assert_eq!(contents.part(ContentId(0), 0, 10), Part::Bytes(b"x"));
    }

    #[test]
    fn a_spool_of_known_length_is_read_while_it_is_written() {
        let (mut contents, id) = (contents(), ContentId(0));
        let all = bytes(2 * CACHE_SPOOL_MEMORY_BYTES + 17);
        contents.open(id, Place::Spool, Some(all.len() as u64)).unwrap();
        let mut come = 0;
        for chunk in all.chunks(100_000) {
            assert_eq!(contents.part(id, come as u64, 10), Part::NotYet, "what is reserved is not there yet");
            contents.append(id, chunk).unwrap();
            come += chunk.len();
            assert!(read(&mut contents, id, 0, 65_536) == all[..come]);
        }
    }

    #[test]
    fn what_there_is_no_memory_for_is_lost() {
        let mut contents = contents();
        let error = contents.open(ContentId(0), Place::Memory, Some(u64::MAX)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        contents.append(ContentId(0), b"x").unwrap();
        assert!(contents.is_lost(ContentId(0)) && contents.part(ContentId(0), 0, 1) == Part::Lost);
    }
}
