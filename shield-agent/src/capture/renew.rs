//! Brings a gate to the programs of this binary: a new gate, or one of an earlier or later version.
//!
//! A hook that is attached is never off: its link is told to run another program, and runs the one or the other. Maps
//! are kept with what is in them when their shape is still right, also when the version of the layout changed; others
//! are made anew. What fails is undone: the gate stays as it was.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{HashMap, MapInfo};
use shield_common::served::Served;

use super::cgroup::{AgentCgroups, cgroup_error};
use super::error::CaptureError;
use super::guard;
use super::object::{self, Hook, NETNS, Side, TABLES};
use super::pins::{Pins, pin_error};
use super::sys::{self, Open};
use super::tables::{check_map, map_error, open_map};

/// What is to be brought where.
pub(super) struct Renewal<'a> {
    /// Where the gate is kept from now on.
    pub(super) pins: &'a Pins,
    /// Where other versions kept it.
    pub(super) others: &'a [Pins],
    /// What its hooks are attached to.
    pub(super) cgroups: &'a AgentCgroups,
    /// The hooks it is to have.
    pub(super) hooks: Vec<&'static Hook>,
    /// Ports connections are sent to, by network namespace: known to the new programs before they run.
    pub(super) served: &'a [(u64, Served)],
    /// Whether programs that are ours already are replaced too.
    pub(super) anew: bool,
}

impl Renewal<'_> {
    /// Does it, or leaves things as they are.
    pub(super) fn carry_out(&self) -> Result<(), CaptureError> {
        let finished = self.pins.hooks().is_some();
        let done = self.build();
        if done.is_err() && !finished {
            // Whatever was in force is pinned elsewhere. What failed is the news.
            let _ = self.pins.remove();
        }
        done
    }

    fn build(&self) -> Result<(), CaptureError> {
        self.pins.create()?;
        self.keep_maps()?;
        if self.anew || !self.is_current() {
            let mut object = object::load_into(self.pins)?;
            TABLES.iter().try_for_each(|table| check_map(self.pins, table))?;
            self.instruct()?;
            let mut undo = Undo::default();
            self.switch(&mut object, &mut undo).inspect_err(|_| undo.undo())?;
            undo.settle();
        } else {
            self.instruct()?;
        }
        self.finish()
    }

    /// Keeps the maps of another version whose shape is right.
    fn keep_maps(&self) -> Result<(), CaptureError> {
        for table in &TABLES {
            let place = self.pins.map(table.name);
            if place.exists() {
                check_map(self.pins, table)?;
                continue;
            }
            let Some(other) = self.others.first().filter(|other| check_map(other, table).is_ok()) else {
                continue;
            };
            let from = other.map(table.name);
            let map = sys::open_pin(&from, Open::Whole).map_err(pin_error("open", &from))?;
            sys::pin(map.as_fd(), &place).map_err(pin_error("create", &place))?;
        }
        Ok(())
    }

    /// Whether every hook runs our program on the gate's maps.
    fn is_current(&self) -> bool {
        let maps: Option<Vec<u32>> = TABLES
            .iter()
            .map(|table| Some(MapInfo::from_pin(self.pins.map(table.name)).ok()?.id()))
            .collect();
        let (Some(maps), Ok(tags)) = (maps, object::tags()) else { return false };
        let ours = |hook: &&Hook| -> Option<bool> {
            let link = sys::open_pin(&self.pins.link(hook.name), Open::Whole).ok()?;
            let attached = sys::attached(link.as_fd()).ok()?;
            let info = sys::program_info(sys::program(attached.program).ok()?.as_fd()).ok()?;
            let of_this_gate = info.maps.iter().all(|map| maps.contains(map));
            let in_place = attached.cgroup_id == fs::metadata(self.place(hook)?).ok()?.ino();
            Some(tags.get(hook.name) == Some(&info.tag) && of_this_gate && in_place)
        };
        self.hooks.iter().all(|hook| ours(hook) == Some(true))
    }

    /// Tells the gate what it has to know before it is in force.
    fn instruct(&self) -> Result<(), CaptureError> {
        guard::instruct(self.pins, self.cgroups)?;
        self.serve()
    }

    /// Tells the gate its ports.
    fn serve(&self) -> Result<(), CaptureError> {
        if self.served.is_empty() {
            return Ok(());
        }
        let netns = open_map(self.pins, &NETNS)?;
        let mut netns: HashMap<_, u64, Served> =
            HashMap::try_from(netns).map_err(map_error("open", &NETNS))?;
        let mut tell = |(cookie, served): &(u64, Served)| netns.insert(cookie, *served, 0);
        self.served.iter().try_for_each(&mut tell).map_err(map_error("write", &NETNS))
    }

    /// Where a hook belongs.
    fn place(&self, hook: &Hook) -> Option<&Path> {
        match hook.side {
            Side::Agent => Some(&self.cgroups.agent),
            Side::Proxy => Some(&self.cgroups.proxy),
            Side::Guard => self.cgroups.guard.as_deref(),
        }
    }

    /// Has each hook run its new program, in order; attaches those that are not where they belong.
    fn switch(&self, object: &mut Ebpf, undo: &mut Undo) -> Result<(), CaptureError> {
        for hook in &self.hooks {
            let Some(path) = self.place(hook) else { continue };
            let cgroup = File::open(path).map_err(cgroup_error("open", path))?;
            let id = cgroup.metadata().map_err(cgroup_error("open", path))?.ino();
            let refused =
                |source| CaptureError::HookRefused { hook: hook.name, cgroup: path.to_owned(), source };
            let program = program(object, hook).map_err(refused)?;
            let before = self.link(hook)?;
            let in_place = |link: &OwnedFd| sys::attached(link.as_fd()).is_ok_and(|it| it.cgroup_id == id);
            match before {
                Some(link) if in_place(&link) => replace(link, program, undo)
                    .map_err(|source| CaptureError::ReplaceRefused { hook: hook.name, source })?,
                before => {
                    let link = sys::attach(program, cgroup.as_fd(), hook.attach_type).map_err(refused)?;
                    undo.keep(link, before, self.pins.link(hook.name))?;
                }
            }
        }
        Ok(())
    }

    /// The link of a hook that is attached, pinned where it is to be kept.
    fn link(&self, hook: &Hook) -> Result<Option<OwnedFd>, CaptureError> {
        let place = self.pins.link(hook.name);
        if let Some(link) = open_if_there(&place)? {
            return Ok(Some(link));
        }
        for other in self.others {
            if let Some(link) = open_if_there(&other.link(hook.name))? {
                sys::pin(link.as_fd(), &place).map_err(pin_error("create", &place))?;
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    /// Detaches what no hook of this gate is any more, says what the gate has, and removes the pins of other versions.
    fn finish(&self) -> Result<(), CaptureError> {
        for pins in [self.pins].into_iter().chain(self.others) {
            for name in pins.links().iter().filter(|name| self.hooks.iter().all(|hook| hook.name != *name)) {
                let place = pins.link(name);
                if let Ok(link) = sys::open_pin(&place, Open::Whole) {
                    // A link whose cgroup is gone is detached already.
                    let _ = sys::detach(link.as_fd());
                }
                fs::remove_file(&place).map_err(pin_error("remove", &place))?;
            }
        }
        let names: Vec<&str> = self.hooks.iter().map(|hook| hook.name).collect();
        self.pins.write_hooks(&names)?;
        self.others.iter().try_for_each(Pins::remove)
    }
}

/// What was done and can be taken back.
#[derive(Default)]
struct Undo {
    /// Link, the program it ran, the program it runs.
    replaced: Vec<(OwnedFd, OwnedFd, OwnedFd)>,
    /// Link, the one pinned there before it, attached elsewhere, and the pin.
    attached: Vec<(OwnedFd, Option<OwnedFd>, PathBuf)>,
}

impl Undo {
    /// Pins a link that was just attached. One that was pinned there holds until everything is done.
    fn keep(&mut self, link: OwnedFd, before: Option<OwnedFd>, pin: PathBuf) -> Result<(), CaptureError> {
        if before.is_some() {
            fs::remove_file(&pin).map_err(pin_error("remove", &pin))?;
        }
        let pinned = sys::pin(link.as_fd(), &pin).map_err(pin_error("create", &pin));
        self.attached.push((link, before, pin));
        pinned
    }

    /// Everything is done.
    fn settle(self) {
        for before in self.attached.into_iter().filter_map(|(_, before, _)| before) {
            // Detached for certain, whoever else has it open.
            let _ = sys::detach(before.as_fd());
        }
    }

    /// Last first. What cannot be taken back stays a program of ours.
    fn undo(&mut self) {
        for (link, before, pin) in self.attached.drain(..).rev() {
            let _ = sys::detach(link.as_fd());
            let _ = fs::remove_file(&pin);
            if let Some(before) = before
                && let Err(error) = sys::pin(before.as_fd(), &pin)
            {
                tracing::warn!("a hook could not be kept where it was: {error}");
            }
        }
        for (link, old, new) in self.replaced.drain(..).rev() {
            if let Err(error) = sys::update(link.as_fd(), new.as_fd(), old.as_fd()) {
                tracing::warn!("a hook could not be given its earlier program back: {error}");
            }
        }
    }
}

fn replace(link: OwnedFd, new: BorrowedFd<'_>, undo: &mut Undo) -> io::Result<()> {
    let old = sys::program(sys::attached(link.as_fd())?.program)?;
    sys::update(link.as_fd(), old.as_fd(), new)?;
    undo.replaced.push((link, old, new.try_clone_to_owned()?));
    Ok(())
}

fn open_if_there(pin: &Path) -> Result<Option<OwnedFd>, CaptureError> {
    match sys::open_pin(pin, Open::Whole) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(pin_error("open", pin)(error)),
    }
}

fn program<'a>(object: &'a mut Ebpf, hook: &Hook) -> io::Result<BorrowedFd<'a>> {
    let program =
        object.program(hook.name).ok_or_else(|| io::Error::other("the object has no such program"))?;
    program.fd().map(|fd| fd.as_fd()).map_err(io::Error::other)
}
