//! Who is there: workers and coordinators.

use serde::Serialize;
use stoke_proto::v1;

use super::number::grouped;
use super::plain;
use super::style::{Palette, Tone};
use super::table::{Cell, Column, table};

/// One JSON object. Its fields are kept; new ones may come.
#[derive(Debug, Serialize)]
pub struct FleetReport<'a> {
    workers: Vec<Worker<'a>>,
    coordinators: Vec<Coordinator<'a>>,
}

#[derive(Debug, Serialize)]
struct Worker<'a> {
    worker: &'a str,
    zone: &'a str,
    weight: u32,
    partitions: u64,
    planning_tasks: u32,
    origins: &'a [String],
    caches: &'a [String],
    loaders: &'a [String],
    sources: &'a [String],
    allows_sql_in_jobs: bool,
    allows_files_in_jobs: bool,
}

#[derive(Debug, Serialize)]
struct Coordinator<'a> {
    coordinator: &'a str,
    address: &'a str,
    leads: bool,
}

impl<'a> FleetReport<'a> {
    /// These workers and coordinators.
    pub fn new(workers: &'a [v1::Worker], coordinators: &'a [v1::Coordinator]) -> Self {
        let worker = |worker: &'a v1::Worker| Worker {
            worker: &worker.name,
            zone: &worker.zone,
            weight: worker.weight,
            partitions: worker.partitions,
            planning_tasks: worker.planning_tasks,
            origins: &worker.origins,
            caches: &worker.caches,
            loaders: &worker.loaders,
            sources: &worker.sources,
            allows_sql_in_jobs: worker.allows_sql_in_jobs,
            allows_files_in_jobs: worker.allows_files_in_jobs,
        };
        let coordinator = |coordinator: &'a v1::Coordinator| Coordinator {
            coordinator: &coordinator.name,
            address: &coordinator.address,
            leads: coordinator.leads,
        };
        Self {
            workers: workers.iter().map(worker).collect(),
            coordinators: coordinators.iter().map(coordinator).collect(),
        }
    }
}

/// Two tables.
pub fn text(workers: &[v1::Worker], coordinators: &[v1::Coordinator], palette: Palette) -> String {
    format!(
        "{}\n{}",
        worker_table(workers, palette),
        coordinator_table(coordinators, palette)
    )
}

fn worker_table(workers: &[v1::Worker], palette: Palette) -> String {
    let columns = [
        Column::Left("WORKER"),
        Column::Left("ZONE"),
        Column::Right("WEIGHT"),
        Column::Right("PARTITIONS"),
        Column::Right("PLANNING"),
        Column::Left("ORIGINS"),
        Column::Left("CACHES"),
        Column::Left("LOADERS"),
        Column::Left("SOURCES"),
        Column::Left("JOBS MAY BRING"),
    ];
    let row = |worker: &v1::Worker| -> Vec<Cell> {
        vec![
            plain(&worker.name).into(),
            plain(&worker.zone).into(),
            worker.weight.to_string().into(),
            grouped(worker.partitions).into(),
            worker.planning_tasks.to_string().into(),
            names(&worker.origins).into(),
            names(&worker.caches).into(),
            names(&worker.loaders).into(),
            names(&worker.sources).into(),
            allowed(worker).into(),
        ]
    };
    let rows: Vec<_> = workers.iter().map(row).collect();
    table(&columns, &rows, palette)
}

fn coordinator_table(coordinators: &[v1::Coordinator], palette: Palette) -> String {
    let columns = [
        Column::Left("COORDINATOR"),
        Column::Left("ADDRESS"),
        Column::Left("ROLE"),
    ];
    let row = |coordinator: &v1::Coordinator| -> Vec<Cell> {
        let role = if coordinator.leads {
            Cell::toned(Tone::Good, "leads")
        } else {
            "stands by".into()
        };
        vec![
            plain(&coordinator.name).into(),
            plain(&coordinator.address).into(),
            role,
        ]
    };
    let rows: Vec<_> = coordinators.iter().map(row).collect();
    table(&columns, &rows, palette)
}

fn names(names: &[String]) -> String {
    plain(&names.join(","))
}

fn allowed(worker: &v1::Worker) -> &'static str {
    match (worker.allows_sql_in_jobs, worker.allows_files_in_jobs) {
        (true, true) => "SQL, files",
        (true, false) => "SQL",
        (false, true) => "files",
        (false, false) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> (Vec<v1::Worker>, Vec<v1::Coordinator>) {
        let worker = v1::Worker {
            name: "w1-5f".into(),
            zone: "a".into(),
            weight: 1,
            origins: vec!["shop".into(), "users".into()],
            caches: vec!["main".into()],
            loaders: vec!["product".into()],
            sources: Vec::new(),
            allows_sql_in_jobs: true,
            allows_files_in_jobs: false,
            partitions: 1365,
            planning_tasks: 1,
        };
        let coordinator = |name: &str, leads| v1::Coordinator {
            name: name.into(),
            address: format!("http://{name}:7400"),
            leads,
        };
        (
            vec![worker],
            vec![coordinator("c1", false), coordinator("c2", true)],
        )
    }

    #[test]
    fn workers_and_coordinators_are_listed_in_aligned_columns() {
        let (workers, coordinators) = fleet();
        assert_eq!(
            text(&workers, &coordinators, Palette::PLAIN),
            "WORKER  ZONE  WEIGHT  PARTITIONS  PLANNING  ORIGINS     CACHES  LOADERS  SOURCES  JOBS MAY BRING\n\
             w1-5f   a          1       1,365         1  shop,users  main    product           SQL\n\
             \n\
             COORDINATOR  ADDRESS         ROLE\n\
             c1           http://c1:7400  stands by\n\
             c2           http://c2:7400  leads\n"
        );
    }

    #[test]
    fn scripts_get_one_object() {
        let (workers, coordinators) = fleet();
        let value = serde_json::to_value(FleetReport::new(&workers, &coordinators)).unwrap();
        let expected = serde_json::json!({
            "workers": [{
                "worker": "w1-5f", "zone": "a", "weight": 1, "partitions": 1365, "planning_tasks": 1,
                "origins": ["shop", "users"], "caches": ["main"], "loaders": ["product"], "sources": [],
                "allows_sql_in_jobs": true, "allows_files_in_jobs": false,
            }],
            "coordinators": [
                {"coordinator": "c1", "address": "http://c1:7400", "leads": false},
                {"coordinator": "c2", "address": "http://c2:7400", "leads": true},
            ],
        });
        assert_eq!(value, expected);
    }
}
