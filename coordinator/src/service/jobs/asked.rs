//! By what a request is known when it comes again.

use std::collections::BTreeMap;
use std::fmt::Write;

use prost::Message;
use sha2::{Digest, Sha256};
use stoke_proto::v1;

/// A request's id, which may be empty, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// As the caller chose it.
    pub(super) id: String,
    /// In hexadecimal; empty where the request names another job, of which it wants one alike.
    pub(super) digest: String,
}

impl Asked {
    /// Of a request to create a job.
    pub(super) fn of(request: &v1::CreateJobRequest) -> Self {
        let mut spec = request.spec.clone().unwrap_or_default();
        // They have no order of their own.
        let labels: BTreeMap<String, String> =
            std::mem::take(&mut spec.labels).into_iter().collect();
        let mut sha256 = Sha256::new();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            // Lengths first: no other labels read the same.
            sha256.update((text.len() as u64).to_le_bytes());
            sha256.update(text);
        }
        sha256.update((labels.len() as u64).to_le_bytes());
        sha256.update(spec.encode_to_vec());
        let mut digest = String::new();
        for byte in sha256.finalize() {
            let _ = write!(digest, "{byte:02x}");
        }
        Self {
            id: request.request_id.clone(),
            digest,
        }
    }

    /// Of a request for a job like another.
    pub(super) fn like_another(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            digest: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(labels: &[(&str, &str)], trigger: &str) -> v1::CreateJobRequest {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        v1::CreateJobRequest {
            request_id: "deploy/1".into(),
            spec: Some(v1::JobSpec {
                labels: labels.collect(),
                trigger: trigger.into(),
                ..v1::JobSpec::default()
            }),
        }
    }

    #[test]
    fn a_request_is_known_by_all_that_it_asks_for_in_whatever_order() {
        let many: Vec<(String, String)> =
            (0..20).map(|n| (format!("l{n}"), n.to_string())).collect();
        let there: Vec<(&str, &str)> = many.iter().map(|(a, b)| (&**a, &**b)).collect();
        let back: Vec<(&str, &str)> = there.iter().rev().copied().collect();
        assert_eq!(
            Asked::of(&request(&there, "t")),
            Asked::of(&request(&back, "t"))
        );
        let all = [
            request(&[], ""),
            request(&[], "t"),
            request(&[("a", "b")], "t"),
            request(&[("ab", "")], "t"),
            request(&[("a", "b"), ("c", "d")], "t"),
        ];
        let digests: std::collections::BTreeSet<String> =
            all.iter().map(|one| Asked::of(one).digest).collect();
        assert_eq!(digests.len(), all.len());
    }
}
