//! What of the cache a job warms: `slots` and `nodes`.

use stoke_core::job::{SECTION_ITEMS_MAX, check_node};
use stoke_core::slot::parse_slot_range;
use stoke_proto::v1;

use crate::config::{Item, Table};

/// The section that the file names; `Some(None)`: all of the cache.
pub(super) fn section(file: &Table<'_>) -> Option<Option<v1::CacheSection>> {
    let slots = each(
        file,
        "slots",
        "write ranges, as [\"0-5460\", \"7000\"]",
        |item| {
            let range = item.parsed(parse_slot_range, "write ranges, as [\"0-5460\", \"7000\"]")?;
            Some(v1::SlotRange {
                first: range.start().0.into(),
                last: range.end().0.into(),
            })
        },
    );
    let nodes = each(
        file,
        "nodes",
        "write addresses, as [\"10.0.0.7:6379\"]",
        |item| {
            let node = |text: &str| check_node(text).map(|()| text.to_owned());
            item.parsed(node, "write addresses, as [\"10.0.0.7:6379\"]")
        },
    );
    let section = v1::CacheSection {
        slots: slots?,
        nodes: nodes?,
    };
    let is_whole = section.slots.is_empty() && section.nodes.is_empty();
    Some((!is_whole).then_some(section))
}

/// What is made of each text of a list that may be left out.
fn each<T>(
    file: &Table<'_>,
    key: &'static str,
    remedy: &str,
    make: impl Fn(&Item<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(list) = file.optional(key) else {
        return Some(Vec::new());
    };
    let items = list.filled_list(remedy)?;
    if items.len() > SECTION_ITEMS_MAX {
        list.fault(
            "there are too many",
            format!("name at most {SECTION_ITEMS_MAX}"),
        );
        return None;
    }
    // All of them, so that each fault is told.
    let made: Vec<Option<T>> = items.iter().map(make).collect();
    made.into_iter().collect()
}
