//! What happens in lives, counted: what does not happen is not tried.

/// How often something has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub elections: u64,
    /// Replica processes of a primary that died.
    pub resumed: u64,
    /// Logs that were cut, and of these where something died in between: with the intent alone, with a part of what is cut cleared, with
    /// all of it, with it synced and not published.
    pub truncated: u64,
    pub cut_short: [u64; 4],
    pub remade: u64,
    /// Snapshots that took the place of a log.
    pub installed: u64,
    /// Journals that lost their oldest records.
    pub trimmed: u64,
    /// Changes of membership that were committed.
    pub added: u64,
    pub promoted: u64,
    pub removed: u64,
    /// Data directories that were lost.
    pub emptied: u64,
    /// Leadership that was to be handed over to one, or to any, and how often the one that was meant was the next primary.
    pub transferred: u64,
    pub left: u64,
    pub handed_over: u64,
    pub acknowledged: u64,
    pub read: u64,
    /// Clusters that were founded by one with operations.
    pub founded: u64,
    /// Times that older entries were read.
    pub read_back: u64,
    /// Operations of several records.
    pub of_several: u64,
}

impl Seen {
    pub fn add(&mut self, more: &Seen) {
        let Seen {
            elections, resumed, truncated, cut_short, remade, installed, trimmed, added, promoted, removed, ..
        } = more;
        self.elections += elections;
        self.resumed += resumed;
        self.truncated += truncated;
        self.cut_short.iter_mut().zip(cut_short).for_each(|(sum, more)| *sum += more);
        self.remade += remade;
        self.installed += installed;
        self.trimmed += trimmed;
        self.added += added;
        self.promoted += promoted;
        self.removed += removed;
        let Seen {
            emptied, transferred, left, handed_over, acknowledged, read, founded, read_back, of_several, ..
        } = more;
        self.of_several += of_several;
        self.emptied += emptied;
        self.transferred += transferred;
        self.left += left;
        self.handed_over += handed_over;
        self.acknowledged += acknowledged;
        self.read += read;
        self.founded += founded;
        self.read_back += read_back;
    }

    /// What must happen more often than once in so many lives, and how often it did.
    pub fn least(&self) -> Vec<(&'static str, u64, u64)> {
        let [intent, clearing, cleared, synced] = self.cut_short;
        vec![
            ("an election", self.elections, 1),
            ("the death of a primary's replica process", self.resumed, 2),
            ("a truncation", self.truncated, 40),
            ("a death between an intent and its cut", intent, 250),
            ("a death while records are cleared", clearing, 250),
            ("a death before a cut is synced", cleared, 250),
            ("a death before a cut is published", synced, 250),
            ("books that are remade", self.remade, 40),
            ("a snapshot that is installed", self.installed, 10),
            ("a journal that is trimmed", self.trimmed, 1),
            ("a learner that is added", self.added, 2),
            ("a learner that is promoted", self.promoted, 2),
            ("a member that is removed", self.removed, 2),
            ("a directory that is emptied", self.emptied, 4),
            ("a transfer", self.transferred, 1),
            ("an orderly stop of a primary", self.left, 1),
            ("leadership that went where it should", self.handed_over, 4),
            ("ten acknowledgements", self.acknowledged / 10, 1),
            ("a cluster that is founded on books", self.founded, 40),
            ("older entries that are read", self.read_back, 1),
            ("ten operations of several records", self.of_several / 10, 1),
            ("twenty reads", self.read / 20, 1),
        ]
    }
}
