//! Opening a gate's pinned maps. A map of another shape would be misread, so it is looked at first.

use aya::maps::{Map, MapData, MapError, MapInfo};

use super::error::CaptureError;
use super::object::Table;
use super::pins::Pins;

/// Refuses a map that is not the one this version knows by the name.
pub(super) fn check_map(pins: &Pins, table: &Table) -> Result<(), CaptureError> {
    let path = pins.map(table.name);
    let info = MapInfo::from_pin(&path).map_err(map_error("open", table))?;
    let same = info.key_size() as usize == table.key
        && info.value_size() as usize == table.value
        && info.max_entries() == table.entries;
    if same { Ok(()) } else { Err(CaptureError::ForeignMap { path }) }
}

/// Opens a pinned map.
pub(super) fn open_map(pins: &Pins, table: &Table) -> Result<Map, CaptureError> {
    let data = MapData::from_pin(pins.map(table.name)).map_err(map_error("open", table))?;
    Map::from_map_data(data).map_err(map_error("open", table))
}

/// Names the act and the map.
pub(super) fn map_error(act: &'static str, table: &Table) -> impl FnOnce(MapError) -> CaptureError {
    let map = table.name;
    move |source| CaptureError::Map { act, map, source }
}
