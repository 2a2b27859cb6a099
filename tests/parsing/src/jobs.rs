//! Job files.

use std::path::Path;

use stoke::doors::{Surroundings, Upload, read, take};

/// What a job file asks for is accepted by coordinators; what is wrong with one is told with lines that it has. No fault is
/// a line of the file.
///
/// # Panics
/// Where that is not so.
pub fn job_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let surroundings = Surroundings {
        variable: &|name| (name != "UNSET").then(|| "value".to_owned()),
        read: &|_| Ok("text\n".to_owned()),
        probe: &|path| match path.file_name() {
            Some(name) if name == "missing" => Err(std::io::ErrorKind::NotFound.into()),
            _ => Ok(()),
        },
    };
    match read(text, &surroundings, |file| take(file, Path::new("/jobs"))) {
        Ok(file) => {
            let sources = match &file.spec.work {
                Some(stoke_proto::v1::job_spec::Work::Batch(batch)) => batch.sources.len(),
                other => panic!("{other:?}"),
            };
            let upload = |upload: &Upload| upload.source as usize;
            assert!(
                file.uploads
                    .iter()
                    .map(upload)
                    .all(|source| source < sources)
            );
            if let Err(status) = stoke_coordinator::doors::job_spec(file.spec.clone()) {
                panic!("{}\n{:?}", status.message(), file.spec);
            }
        }
        Err(faults) => {
            assert!(!faults.0.is_empty());
            let lines = text.matches('\n').count() + 1;
            for fault in &faults.0 {
                assert!((1..=lines).contains(&fault.line), "{fault}");
                assert!(fault.column >= 1, "{fault}");
                assert!(
                    !fault.what.is_empty() && !fault.remedy.is_empty(),
                    "{fault}"
                );
                assert!(!fault.to_string().contains('\n'), "{fault}");
            }
            assert!(faults.0.is_sorted_by_key(|fault| fault.line), "{faults}");
        }
    }
}
