//! By what a request is known when it comes again.

use std::collections::BTreeMap;

use prost::Message;
use stoke_proto::v1;

use super::digest::Texts;

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
        let mut digest = Texts::default();
        for (name, value) in &labels {
            digest.add(name.as_bytes());
            digest.add(value.as_bytes());
        }
        digest.add(&spec.encode_to_vec());
        Self {
            id: request.request_id.clone(),
            digest: digest.finish(),
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
