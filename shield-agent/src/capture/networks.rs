//! An agent's lists of networks in the kernel: replaced while connections are made, without a moment that would let
//! more through than the lists before or after.

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use shield_common::networks::Place;

use super::error::CaptureError;
use super::object::{DENIED, DIRECT, Table};
use super::pins::Pins;
use super::tables::{map_error, open_map};
use crate::networks::{Network, Networks};

/// What a trie keeps for a network that is listed.
const LISTED: u32 = 1;

/// Both lists of one gate.
pub(super) struct Tries {
    denied: Trie,
    direct: Trie,
}

struct Trie {
    map: LpmTrie<MapData, Place, u32>,
    table: &'static Table,
}

impl Tries {
    pub(super) fn open(pins: &Pins) -> Result<Self, CaptureError> {
        Ok(Self { denied: Trie::open(pins, &DENIED)?, direct: Trie::open(pins, &DIRECT)? })
    }

    /// Replaces both lists: what is denied comes first and goes last, and a new network comes before an old one goes.
    pub(super) fn set(&mut self, networks: &Networks) -> Result<(), CaptureError> {
        self.denied.add(&networks.deny)?;
        self.direct.add(&networks.direct)?;
        self.direct.keep_only(&networks.direct)?;
        self.denied.keep_only(&networks.deny)
    }
}

impl Trie {
    fn open(pins: &Pins, table: &'static Table) -> Result<Self, CaptureError> {
        let map = LpmTrie::try_from(open_map(pins, table)?).map_err(map_error("open", table))?;
        Ok(Self { map, table })
    }

    fn add(&mut self, networks: &[Network]) -> Result<(), CaptureError> {
        for network in networks {
            let key = Key::new(network.bits, network.place);
            self.map.insert(&key, LISTED, 0).map_err(map_error("write", self.table))?;
        }
        Ok(())
    }

    fn keep_only(&mut self, networks: &[Network]) -> Result<(), CaptureError> {
        let listed = self.map.keys().collect::<Result<Vec<_>, _>>().map_err(map_error("read", self.table))?;
        for key in listed {
            if networks.contains(&Network { bits: key.prefix_len(), place: key.data() }) {
                continue;
            }
            match self.map.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error("write", self.table)(error)),
            }
        }
        Ok(())
    }
}
