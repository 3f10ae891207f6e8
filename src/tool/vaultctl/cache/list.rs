//! `vaultctl cache list`: what is kept, as many entries at a time as fit into a queue.

use serde::Serialize;

use super::dialogue::{Dialogue, reply_to};
use super::instance::AskingArgs;
use super::path::escaped;
use crate::store::cache_channel::{Command, ListedEntry, Reply};
use crate::tool::output::{self, Reader};
use crate::tool::vaultctl::failure::{Failure, say};
use crate::tool::vaultctl::table::Table;

#[derive(Debug, clap::Args)]
#[command(after_help = "Entries that come or go meanwhile may be there or not; none is there twice.")]
pub(super) struct List {
    #[command(flatten)]
    asking: AskingArgs,
    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
}

/// An entry as `--json` shows it.
#[derive(Serialize)]
struct Line {
    path: String,
    state: &'static str,
    bytes: u64,
    readers: u32,
    fresh_ms: u64,
    fetching: bool,
}

impl Line {
    fn of(entry: &ListedEntry) -> Line {
        Line {
            path: escaped(&entry.path),
            state: entry.state.name(),
            bytes: entry.bytes,
            readers: entry.readers,
            fresh_ms: entry.fresh_ms,
            fetching: entry.is_fetching,
        }
    }
}

pub(super) fn run(list: &List) -> Result<(), Failure> {
    let mut dialogue = Dialogue::open(&list.asking)?;
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let (page, more) = page(&mut dialogue, after.take())?;
        let lines = page.iter().map(Line::of);
        if list.json {
            let text =
                lines.map(|line| Ok(serde_json::to_string(&line)? + "\n")).collect::<Result<String, Failure>>()?;
            // A reader that has gone wants no more.
            if output::print(&text)? == Reader::Gone {
                return Ok(());
            }
        } else {
            all.extend(lines);
        }
        match page.into_iter().next_back() {
            Some(last) if more => after = Some(last.path),
            _ => break,
        }
    }
    match (list.json, all.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => say("nothing is kept\n"),
        (false, false) => say(&table(&all).to_string()),
    }
}

/// The entries after a path, as many as the cache process replies with, and whether there are more.
fn page(dialogue: &mut Dialogue, after: Option<Box<[u8]>>) -> Result<(Vec<ListedEntry>, bool), Failure> {
    let mut entries: Vec<ListedEntry> = Vec::new();
    let mut end = None;
    dialogue.ask(&Command::List { reply_to: reply_to(), after: after.clone() }, |reply| {
        match reply {
            Reply::Entry(entry) => entries.push(entry),
            Reply::EndOfList { more } => end = Some(more),
            Reply::Purged { .. } => return Ok(true),
        }
        Ok(end.is_some())
    })?;
    let more = end.ok_or_else(|| dialogue.broken("a reply to something else"))?;
    // Else the list would have no end.
    let paths = after.iter().chain(entries.iter().map(|entry| &entry.path));
    if !paths.is_sorted_by(|before, after| before < after) || (more && entries.is_empty()) {
        return Err(dialogue.broken("a list that is not in order"));
    }
    Ok((entries, more))
}

/// The path last: it may be long.
fn table(lines: &[Line]) -> Table {
    Table::of(
        lines,
        &[
            ("<state", |line| line.state.to_owned()),
            ("size", |line| line.bytes.to_string()),
            ("readers", |line| line.readers.to_string()),
            ("fresh for", |line| match line.fresh_ms {
                0 => "-".to_owned(),
                ms => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
            }),
            ("<fetching", |line| if line.fetching { "yes" } else { "no" }.to_owned()),
            ("<path", |line| line.path.clone()),
        ],
    )
}
