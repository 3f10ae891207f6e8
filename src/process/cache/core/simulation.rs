//! Thousands of steps of a world in which clients come, dawdle and go, and upstreams fail in every way they can, held against what was
//! promised. [`Oracle`](super::oracle::Oracle) does the holding; this file is the world.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::defect::Defect;
use super::event::{Action, ContentId, Event, FetchId, Head, OwnerId, Path, Place, RequestId, Validators};
use super::oracle::{Oracle, Verdict};
use super::settings::Settings;
use super::state::{Core, Counters};

const PATHS: u64 = 14;
/// Lives of the world. Two thousand of them take a minute, for who works on the core.
const SEEDS: u64 = 60;

fn settings() -> Settings {
    let mut settings = Settings::new(6000, 7000, 400, 200);
    (settings.spool_bytes, settings.spool_idle_ns) = (16_000, 60);
    (settings.window_bytes, settings.chunk_bytes) = (500, 200);
    (settings.stale_while_revalidate_ns, settings.stale_if_error_ns, settings.retry_ns) = (300, 1500, 100);
    (settings.fetches, settings.pass_through, settings.revalidations) = (3, 2, 2);
    (settings.waiting_per_path, settings.waiting, settings.readers, settings.negative) = (4, 10, 14, 3);
    settings
}

/// What the upstream has of a path now.
#[derive(Clone, Copy)]
struct Served {
    version: u64,
    length: u64,
    is_there: bool,
    says_length: bool,
}

/// What the upstream does about one fetch.
struct Serving {
    path: u64,
    served: Served,
    asked_with: Option<Box<[u8]>>,
    has_answered: bool,
    sent: u64,
}

struct World {
    rng: SmallRng,
    core: Core,
    oracle: Oracle,
    now_ns: u64,
    upstream: Vec<Served>,
    serving: BTreeMap<FetchId, Serving>,
    next_request: u64,
    /// Contents that have just been opened in spools for which there is no file.
    unspooled: Vec<ContentId>,
    /// Contents of known length that went into spools.
    spooled: u64,
    /// How often the upstream does something that it should not, of a thousand steps of a fetch.
    faults: u32,
}

impl World {
    fn new(seed: u64, defect: Option<Defect>) -> World {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut core = Core::new(settings());
        core.defect = defect;
        let upstream = (0..PATHS).map(|_| served(&mut rng, 0)).collect();
        let faults = [0, 20, 150][usize::try_from(seed % 3).unwrap()];
        let oracle = Oracle::new(settings());
        let (serving, unspooled) = (BTreeMap::new(), Vec::new());
        World { rng, core, oracle, now_ns: 1000, upstream, serving, next_request: 0, unspooled, spooled: 0, faults }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.rng.random_range(0..many) == 0
    }

    /// An event, and everything that it leads to.
    fn handle(&mut self, event: Event) -> Verdict {
        self.oracle.before(self.now_ns, &event)?;
        self.core.handle(self.now_ns, event.clone());
        self.perform()?;
        self.oracle.after(&event, &self.core)?;
        match self.unspooled.pop() {
            Some(content) => self.handle(Event::Unspooled(content)),
            None => Ok(()),
        }
    }

    fn perform(&mut self) -> Verdict {
        while let Some(action) = self.core.next_action() {
            self.oracle.performed(&action)?;
            if let Action::Open { content, place: Place::Spool, length: Some(_), .. } = action {
                self.spooled += 1;
                if self.rng.random_range(0..1000) < self.faults {
                    self.unspooled.push(content);
                }
            }
            if let Action::Fetch { fetch, path, validators } = action {
                let number: u64 = std::str::from_utf8(&path[1..]).unwrap().parse().unwrap();
                let served = self.upstream[usize::try_from(number).unwrap()];
                let asked_with = validators.etag;
                let serving = Serving { path: number, served, asked_with, has_answered: false, sent: 0 };
                self.serving.insert(fetch, serving);
            }
        }
        self.serving.retain(|fetch, _| self.oracle.is_under_way(*fetch));
        Ok(())
    }

    fn step(&mut self) -> Verdict {
        self.now_ns += self.rng.random_range(0..12);
        match self.rng.random_range(0..100) {
            0..24 => self.ask(),
            24..60 => self.serve(),
            60..94 => self.read(),
            94..96 => self.change(),
            96..98 => self.leave(),
            98 => self.purge(),
            _ => self.late_event(),
        }
    }

    fn ask(&mut self) -> Verdict {
        // Some paths are asked for more often than others.
        let number = self.rng.random_range(0..PATHS).min(self.rng.random_range(0..PATHS));
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let owner = OwnerId(self.rng.random_range(0..3));
        self.handle(Event::Requested { request, owner, path: path(number) })
    }

    /// The upstream goes on with one of the fetches.
    fn serve(&mut self) -> Verdict {
        let ready: Vec<FetchId> = self.serving.keys().copied().filter(|fetch| self.oracle.may_go_on(*fetch)).collect();
        if ready.is_empty() {
            return Ok(());
        }
        let fetch = ready[self.rng.random_range(0..ready.len())];
        let event = if self.rng.random_range(0..1000) < self.faults { self.fault(fetch) } else { self.proper(fetch) };
        self.handle(event)
    }

    /// What is next of a fetch, as it should be.
    fn proper(&mut self, fetch: FetchId) -> Event {
        let longest = settings().chunk_bytes;
        let serving = self.serving.get_mut(&fetch).unwrap();
        let Served { version, length, is_there, says_length } = serving.served;
        let etag: Box<[u8]> = version.to_string().into_bytes().into();
        if !serving.has_answered {
            serving.has_answered = true;
            return Event::Head(
                fetch,
                if !is_there {
                    Head::NotFound
                } else if serving.asked_with.as_ref() == Some(&etag) {
                    Head::NotModified
                } else {
                    // Some objects cannot be asked about.
                    let etag = (serving.path % 5 != 4).then_some(etag);
                    let validators = Validators { etag, last_modified: None };
                    Head::Found { length: says_length.then_some(length), validators }
                },
            );
        }
        if serving.sent == length {
            return Event::Whole(fetch);
        }
        let bytes = self.rng.random_range(1..=longest).min(length - serving.sent);
        serving.sent += bytes;
        Event::Chunk(fetch, bytes)
    }

    /// What should not be.
    fn fault(&mut self, fetch: FetchId) -> Event {
        let serving = &self.serving[&fetch];
        match self.rng.random_range(0..5) {
            // An end that comes early is one only where the length is known.
            0 if serving.served.says_length => Event::Whole(fetch),
            1 if serving.served.says_length => Event::Chunk(fetch, serving.served.length - serving.sent + 1),
            2 if serving.asked_with.is_none() => Event::Head(fetch, Head::NotModified),
            3 if !serving.has_answered => Event::Chunk(fetch, 1),
            _ => Event::Failed(fetch),
        }
    }

    /// A reader goes on, and may come to the end.
    fn read(&mut self) -> Verdict {
        let readers = self.oracle.readers();
        if readers.is_empty() {
            return Ok(());
        }
        let request = readers[self.rng.random_range(0..readers.len())];
        let bytes = self.rng.random_range(1..400);
        match self.oracle.read(request, bytes)? {
            None => self.handle(Event::Finished(request)),
            Some(position) => self.handle(Event::Read { request, position }),
        }
    }

    /// The upstream has something else.
    fn change(&mut self) -> Verdict {
        let at = self.rng.random_range(0..self.upstream.len());
        self.upstream[at] = served(&mut self.rng, self.upstream[at].version + 1);
        Ok(())
    }

    /// A client goes.
    fn leave(&mut self) -> Verdict {
        let open = self.oracle.open_requests();
        if open.is_empty() {
            return Ok(());
        }
        let request = open[self.rng.random_range(0..open.len())];
        self.handle(Event::Finished(request))
    }

    fn purge(&mut self) -> Verdict {
        if self.one_in(8) {
            self.oracle.purged(None);
            self.core.purge_all();
        } else {
            let path = path(self.rng.random_range(0..PATHS));
            self.oracle.purged(Some(&path));
            self.core.purge(&path);
        }
        self.perform()
    }

    /// Something is told of a fetch, or a request, that is over.
    fn late_event(&mut self) -> Verdict {
        if self.one_in(2) {
            return self.handle(Event::Tick);
        }
        let fetch = FetchId(self.rng.random_range(0..self.core.next_fetch.max(1)));
        if self.oracle.is_under_way(fetch) {
            return Ok(());
        }
        let is_queued = self.core.fetches.contains_key(&fetch);
        let event = if is_queued || self.one_in(2) {
            Event::Finished(RequestId(self.next_request + 1))
        } else {
            Event::Chunk(fetch, 5)
        };
        self.handle(event)
    }

    /// No new requests come, and all others come to their ends.
    fn come_to_rest(&mut self) -> Verdict {
        self.faults = 0;
        for _ in 0..20_000 {
            self.now_ns += 1;
            self.serve()?;
            self.read()?;
            if self.serving.is_empty() && self.oracle.open_requests().is_empty() {
                break;
            }
        }
        self.oracle.purged(None);
        self.core.purge_all();
        self.perform()?;
        self.oracle.at_rest(&self.core)
    }
}

fn path(number: u64) -> Path {
    format!("/{number}").into_bytes().into()
}

fn served(rng: &mut SmallRng, version: u64) -> Served {
    let longest = [0, 300, 1500, 4000, 14_000][rng.random_range(0..5)];
    Served {
        version,
        length: rng.random_range(0..=longest),
        is_there: rng.random_range(0..5) > 0,
        says_length: rng.random_range(0..4) > 0,
    }
}

/// A whole life: what the core has counted, and how many contents of known length went into spools.
fn live(seed: u64, steps: u32, defect: Option<Defect>) -> Result<(Counters, u64), String> {
    let mut world = World::new(seed, defect);
    for step in 0..steps {
        world.step().map_err(|what| format!("seed {seed}, step {step}: {what}"))?;
    }
    let counters = world.core.counters();
    world.come_to_rest().map_err(|what| format!("seed {seed}, at rest: {what}"))?;
    Ok((counters, world.spooled))
}

#[test]
fn no_life_breaks_a_promise() {
    let mut all = [0; 13];
    for seed in 0..SEEDS {
        let seen = live(seed, 4000, None).unwrap();
        let Counters { hits, misses, stale, revalidated, coalesced, not_found, errors, refused, .. } = seen.0;
        let Counters { renewed, evicted, purged, passed_through, .. } = seen.0;
        let kinds = [
            hits,
            misses,
            stale,
            revalidated,
            coalesced,
            not_found,
            errors,
            refused,
            renewed,
            evicted,
            purged,
            passed_through,
            seen.1,
        ];
        all.iter_mut().zip(kinds).for_each(|(sum, count)| *sum += count);
    }
    println!("{all:?}");
    assert!(all.iter().all(|sum| *sum > 500), "not all was met: {all:?}");
}

#[test]
fn every_defect_is_caught() {
    for defect in [
        Defect::ReleasedWhileRead,
        Defect::ForgottenRequest,
        Defect::ShortIsWhole,
        Defect::NoEviction,
        Defect::PurgedIsKept,
        Defect::CutIsLeaked,
        Defect::LateReader,
        Defect::SpoolIsNotShared,
        Defect::SpoolIsKept,
        Defect::SpoolIsOverfull,
        Defect::AgeOfTheAnswer,
    ] {
        let caught = (0..6).find_map(|seed| live(seed, 4000, Some(defect)).err());
        println!("{defect:?}: {}", caught.unwrap_or_else(|| panic!("{defect:?} was not caught")));
    }
}
