//! Labels, and the lists that ask for them.

use std::collections::BTreeMap;

use stoke_core::names::{JobName, check_label_key};
use stoke_proto::v1;

use super::super::refusal::Refusal;
use super::ITEMS_MAX;
use super::faults::Faults;

/// Jobs on a page where nothing is said.
const PAGE_DEFAULT: u32 = 100;
/// Jobs on a page at most.
const PAGE_MAX: u32 = 1000;

/// Checks labels: a key is as [`check_label_key`] says (it stands in filters and on dashboards), a value short text.
pub(super) fn labels<'a>(
    faults: &mut Faults,
    field: &str,
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) {
    let mut count = 0;
    for (key, value) in labels.into_iter().take(ITEMS_MAX + 1) {
        count += 1;
        if let Err(error) = check_label_key(key) {
            faults.note(field, error.to_string());
        } else {
            let field = format!("{field}[{key}]");
            faults.text(&field, value);
            if value.chars().any(char::is_control) {
                faults.note(field, "has control characters: write plain text");
            }
        }
    }
    faults.few(field, count);
}

/// Parses the labels that a list asks for.
///
/// # Errors
/// With all faults.
pub(in super::super) fn filter(request: &v1::ListJobsRequest) -> Result<Filter, Refusal> {
    let mut faults = Faults::default();
    labels(&mut faults, "labels", &request.labels);
    faults.few("states", request.states.len());
    let mut states = Vec::new();
    for (n, number) in request.states.iter().take(ITEMS_MAX).enumerate() {
        let field = format!("states[{n}]");
        match faults.one_of::<v1::JobState>(&field, *number) {
            Some(v1::JobState::Unspecified) => faults.note(field, "name a state"),
            state => states.extend(state),
        }
    }
    let after = after(&mut faults, &request.page_token);
    let size = match request.page_size {
        0 => PAGE_DEFAULT,
        size => size.min(PAGE_MAX),
    };
    if !faults.is_empty() {
        return faults.end(None);
    }
    let filter = Filter {
        labels: request.labels.clone().into_iter().collect(),
        states,
        after,
        size: usize::try_from(size).unwrap_or(usize::MAX),
    };
    faults.end(Some(filter))
}

/// The last job of the page before, where there was one.
pub(super) fn after(faults: &mut Faults, page_token: &str) -> Option<JobName> {
    if page_token.is_empty() {
        return None;
    }
    let after = page_token.parse().ok();
    if after.is_none() {
        faults.note(
            "page_token",
            "send the next_page_token of the answer before",
        );
    }
    after
}

/// Which jobs a list is to have.
#[derive(Debug)]
pub(in super::super) struct Filter {
    /// All of these.
    pub(in super::super) labels: BTreeMap<String, String>,
    /// One of these; empty: any.
    pub(in super::super) states: Vec<v1::JobState>,
    /// The last job of the page before.
    pub(in super::super) after: Option<JobName>,
    /// At most so many.
    pub(in super::super) size: usize,
}
