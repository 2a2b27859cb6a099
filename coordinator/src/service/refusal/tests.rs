//! The table of refusals against what is sent, and against what `proto/README.md` says.

use std::path::Path;

use super::*;
use table::Row;

/// A refusal of each kind: whoever adds a kind comes by here.
fn sample(kind: Kind) -> Refusal {
    let source = || "the cause".into();
    let doing = "reading records";
    match kind {
        Kind::NotLeader => Refusal::NotLeader {
            leader: Some("http://c1:7400".into()),
        },
        Kind::NoLeader => Refusal::NotLeader { leader: None },
        Kind::NoSuchJob => Refusal::NoSuchJob("j".into()),
        Kind::NoSuchBudget => Refusal::NoSuchBudget("origin/shop".into()),
        Kind::Invalid => invalid("spec.trigger", "is longer than 63 characters"),
        Kind::RequestIdTaken => Refusal::RequestIdTaken("j".parse().unwrap()),
        Kind::UploadDiffers => Refusal::UploadDiffers {
            job: "j".parse().unwrap(),
            source_index: 0,
            is_known: true,
        },
        Kind::Illegal => Refusal::Illegal(IllegalMove {
            from: stoke_core::job::State::Paused,
            verb: "take uploads",
        }),
        Kind::Precondition => Refusal::Precondition("no worker is there: start one".into()),
        Kind::NothingFailed => Refusal::NothingFailed("j".parse().unwrap()),
        Kind::PlanGone => Refusal::PlanGone("j".parse().unwrap()),
        Kind::NotAllowed => Refusal::NotAllowed("no worker allows SQL: allow it".into()),
        Kind::TooManyJobs => Refusal::TooManyJobs {
            under_way: 100,
            max: 100,
        },
        Kind::TooManyCalls => Refusal::TooManyCalls {
            what: "watches",
            max: 1000,
        },
        Kind::Contended => Refusal::Contended,
        Kind::Deadline => Refusal::Deadline,
        Kind::Stalled => Refusal::Stalled(Duration::from_secs(60)),
        Kind::Unread => Refusal::Unread(Duration::from_secs(60)),
        Kind::Stopping => Refusal::Stopping,
        Kind::StoreUnreachable => StoreError::Unreachable {
            doing,
            source: source(),
        }
        .into(),
        Kind::OutcomeUnknown => StoreError::Unknown {
            doing,
            source: source(),
        }
        .into(),
        Kind::StoreRefused => StoreError::Rejected {
            doing,
            source: source(),
        }
        .into(),
        Kind::PlanStoreUnreachable => PlanStoreError::Object {
            doing: "storing a band",
            source: object_store::Error::NotImplemented {
                operation: "it".into(),
                implementer: "it".into(),
            },
        }
        .into(),
        Kind::PlanStoreDamaged => PlanStoreError::TooMuchPriority.into(),
        Kind::Newer => RecordError::Newer {
            key: "ckpt/j/w".into(),
            found: 2,
            known: 1,
        }
        .into(),
        Kind::Damaged => RecordError::Malformed {
            key: "ckpt/j/w".into(),
            source: serde_json::from_str::<u32>("x").unwrap_err(),
        }
        .into(),
        Kind::SpillFull => {
            let folder = "/var/lib/stoke/spill".into();
            let source = std::io::ErrorKind::StorageFull.into();
            let full = SpillError::Full {
                folder,
                spilled: 5 << 20,
                source,
            };
            Refusal::Unkept(full.into())
        }
        Kind::SpillFailed => Refusal::Unkept(SpillError::Stopped.into()),
        Kind::Unwanted => Unwanted::Attempt.into(),
        Kind::MessageTooLarge => Status::out_of_range("too large").into(),
        Kind::MessageMalformed => Status::internal("failed to decode").into(),
        Kind::StreamBroken => Status::cancelled("gone").into(),
    }
}

fn details_of(status: &Status) -> Vec<Detail> {
    let details = status.get_error_details();
    let has = [
        (Detail::BadRequest, details.bad_request().is_some()),
        (
            Detail::PreconditionFailure,
            details.precondition_failure().is_some(),
        ),
        (Detail::QuotaFailure, details.quota_failure().is_some()),
        (Detail::ResourceInfo, details.resource_info().is_some()),
        (Detail::RetryInfo, details.retry_info().is_some()),
    ];
    let found = has.into_iter().filter(|(_, there)| *there);
    found.map(|(detail, _)| detail).collect()
}

#[test]
fn every_refusal_is_sent_as_its_row_of_the_table_says() {
    for kind in Kind::ALL {
        let refusal = sample(*kind);
        assert_eq!(refusal.kind(), *kind);
        let (row, status) = (kind.row(), Status::from(refusal));
        assert_eq!(status.code(), row.code, "{kind:?}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            (row.reason, "stoke")
        );
        assert_eq!(details_of(&status), row.details, "{kind:?}");
        if row.to_do != AS_THE_MESSAGE_SAYS {
            assert!(status.message().ends_with(row.to_do), "{status}");
        }
    }
}

#[test]
fn reasons_are_unique_and_the_rules_for_details_hold() {
    let reasons: std::collections::BTreeSet<&str> =
        Kind::ALL.iter().map(|kind| kind.row().reason).collect();
    assert_eq!(reasons.len(), Kind::ALL.len());
    for Row {
        reason,
        code,
        details,
        ..
    } in Kind::ALL.iter().map(|kind| kind.row())
    {
        let upper = |c: char| c.is_ascii_uppercase() || c == '_';
        assert!(reason.chars().all(upper), "{reason}");
        let needs = |wanted: Detail| assert!(details.contains(&wanted), "{reason}: {wanted:?}");
        match code {
            Code::FailedPrecondition => needs(Detail::PreconditionFailure),
            Code::NotFound => needs(Detail::ResourceInfo),
            Code::ResourceExhausted => needs(Detail::QuotaFailure),
            Code::Unavailable | Code::Aborted | Code::Unknown => needs(Detail::RetryInfo),
            _ => {}
        }
    }
}

#[test]
fn a_status_fits_into_the_headers_that_clients_take_however_much_is_wrong() {
    for text in ["f", "%", "ä", "🔥"] {
        let long = text.repeat(5000);
        let fault = |n| Fault::new(format!("{n}{long}"), long.clone());
        let lacks: Vec<Fault> = (0..40).map(fault).collect();
        let faults = lacks[..FAULTS_MAX].to_vec();
        let refusals = [
            Refusal::Invalid { faults, count: 500 },
            Refusal::Unserved {
                text: long.clone(),
                lacks,
            },
            Refusal::Precondition(long.clone()),
            Refusal::NoSuchJob(text.repeat(80)),
            Refusal::Stream(Status::cancelled(long.clone())),
        ];
        for refusal in refusals {
            let status = Status::from(refusal);
            let bytes = header_bytes(&status);
            // Beside it, there are the headers of any answer.
            assert!(bytes < 8192 - 512, "{bytes} bytes: {status}");
            let info = status.get_details_error_info();
            assert!(info.is_some_and(|info| !info.reason.is_empty()));
        }
    }
}

#[test]
fn of_very_many_faults_as_many_are_told_as_fit_and_all_are_counted() {
    let fault = |n| Fault::new(format!("states[{n}]"), "is no value that is known");
    let faults = (0..FAULTS_MAX).map(fault).collect();
    let status = Status::from(Refusal::Invalid { faults, count: 500 });
    let told = status.get_details_bad_request().unwrap();
    assert_eq!(told.field_violations.len(), FAULTS_MAX);
    assert!(
        status.message().ends_with("and 496 more faults"),
        "{status}"
    );
}

/// The text and the details as they really travel.
fn header_bytes(status: &Status) -> usize {
    let mut headers = tonic::metadata::MetadataMap::new().into_headers();
    status.add_header(&mut headers).unwrap();
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    sizes.sum()
}

/// The table as `proto/README.md` shows it.
fn as_markdown() -> String {
    let mut lines = vec![
        "| reason | code | details beside ErrorInfo | when | what to do |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for kind in Kind::ALL {
        let row = kind.row();
        let details: Vec<String> = row.details.iter().map(|d| format!("{d:?}")).collect();
        lines.push(format!(
            "| `{}` | `{}` | {} | {} | {} |",
            row.reason,
            row.code_name,
            details.join(", "),
            row.when,
            row.to_do
        ));
    }
    lines.join("\n")
}

#[test]
fn the_readme_of_the_protos_has_this_very_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (_, rest) = readme.split_once("<!-- refusals -->\n").unwrap();
    let (shown, _) = rest.split_once("\n<!-- /refusals -->").unwrap();
    let table = as_markdown();
    assert!(
        shown == table,
        "proto/README.md has another table between its marks than the code; it should be:\n{table}"
    );
}
