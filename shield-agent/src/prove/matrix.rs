//! The whole matrix: every world at once, each with its own attempts one after the other, and then the judgement.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use super::identity::{Identity, Mode};
use super::judge::{self, Beside, Observation, Shown};
use super::path::{Control, PATHS, Path};
use super::report::{Cell, ControlSeen, Evidence, Proof};
use super::site::{Plan, Site, SiteError};
use super::stage::{ProveError, Stage};
use crate::report::Chain;

/// A world's place in the matrix.
type Place = (Option<Mode>, Identity);

/// What was seen in a world.
struct Seen {
    hollow: BTreeMap<String, i32>,
    by_path: BTreeMap<&'static str, Observation>,
}

/// Why a world proves nothing.
#[derive(Clone, Debug)]
enum Void {
    /// The kernel has no such actor: nobody can try.
    Unable(String),
    /// It could not be made or broke: that is a failure.
    Broken(String),
}

type World = Result<Seen, Void>;

/// Runs every world and judges every cell.
pub(super) fn run(stage: &Stage) -> Result<Proof, ProveError> {
    let began = Instant::now();
    let worlds = all_worlds(stage)?;
    let cells = Mode::ALL.iter().flat_map(|&mode| {
        let worlds = &worlds;
        PATHS
            .iter()
            .flat_map(move |path| Identity::JUDGED.iter().map(move |&who| cell(path, mode, who, worlds)))
    });
    let broken = worlds.iter().filter_map(|(&place, world)| match world {
        Err(Void::Broken(why)) => Some(format!("{}: {why}", title(place))),
        _ => None,
    });
    Ok(Proof::new(cells.collect(), broken.collect(), began.elapsed()))
}

fn all_worlds(stage: &Stage) -> Result<BTreeMap<Place, World>, ProveError> {
    let modes = Mode::ALL.into_iter().map(Some).chain([None]);
    let mut places: Vec<Place> =
        modes.flat_map(|mode| Identity::JUDGED.map(|identity| (mode, identity))).collect();
    places.extend([(None, Identity::Almighty), (Some(Mode::Attach), Identity::Almighty)]);
    thread::scope(|scope| {
        let started: Vec<_> = places
            .into_iter()
            .map(|place| (place, scope.spawn(move || world(stage.plan(place.0, place.1), place))))
            .collect();
        started
            .into_iter()
            .map(|(place, thread)| {
                thread.join().map(|world| (place, world)).map_err(|_| ProveError::Panicked)
            })
            .collect()
    })
}

fn world(plan: Plan, place: Place) -> World {
    let void = |error: SiteError| match error {
        SiteError::Unable(why) => Void::Unable(why),
        error => Void::Broken(Chain(&error).to_string()),
    };
    let mut site = Site::open(plan).map_err(void)?;
    let hollow = site.hollow().clone();
    let mut by_path = BTreeMap::new();
    for path in PATHS.iter().filter(|path| is_tried(path, place)) {
        by_path.insert(path.id, site.attempt(path).map_err(void)?);
    }
    Ok(Seen { hollow, by_path })
}

/// Controls are made where they mean something.
fn is_tried(path: &Path, (mode, identity): Place) -> bool {
    match (mode, identity) {
        (None, _) => path.control == Control::Ungated,
        (Some(_), Identity::Almighty) => path.control == Control::Almighty,
        (Some(_), _) => true,
    }
}

fn title((mode, identity): Place) -> String {
    format!("{}, {}", mode.map_or("without a gate", Mode::title), identity.title())
}

fn cell(path: &'static Path, mode: Mode, who: Identity, worlds: &BTreeMap<Place, World>) -> Cell {
    let (same, almighty) = match path.control {
        Control::Ungated => ((None, who), (None, Identity::Almighty)),
        Control::Almighty => ((Some(Mode::Attach), who), (Some(Mode::Attach), Identity::Almighty)),
    };
    let at = |place: Place| worlds.get(&place).and_then(|world| world.as_ref().ok());
    let observed = |place: Place| at(place).and_then(|seen| seen.by_path.get(path.id));
    let here = (Some(mode), who);
    let Some(seen) = observed(here) else {
        let why = match worlds.get(&here) {
            Some(Err(Void::Unable(why))) => why.clone(),
            _ => "its world could not be used".to_owned(),
        };
        return Cell::untried(path, mode, who, why);
    };
    let filtered =
        at(here).zip(at((None, who))).map(|(here, free)| judge::filtered(&here.hollow, &free.hollow));
    let beside = Beside { same: observed(same), almighty: observed(almighty), filtered: filtered.as_ref() };
    let verdict = judge::judge(path, mode, who, seen, beside);
    let control = judge::shown(path, beside);
    let control = control.map(|(shown, seen): (Shown, &Observation)| ControlSeen::new(shown, seen));
    Cell {
        mode,
        identity: who,
        path: path.id,
        title: path.title,
        verdict,
        evidence: Evidence::new(seen, control),
    }
}
