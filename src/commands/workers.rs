//! `stoke workers`: who is there, and who leads.

use stoke_proto::v1;

use super::printed;
use crate::args::{OutputArg, OutputArgs};
use crate::client::{Cluster, fleet as api, unary};
use crate::show::fleet::{self, FleetReport};
use crate::show::style::Palette;
use crate::{Outcome, print};

/// Lists workers and coordinators.
pub async fn workers(args: &OutputArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.cluster.coordinator)?;
    let workers = cluster.call(|channel| async move {
        let request = unary(v1::ListWorkersRequest {});
        api(channel).list_workers(request).await
    });
    let workers = workers.await?.workers;
    let coordinators = cluster.call(|channel| async move {
        let request = unary(v1::ListCoordinatorsRequest {});
        api(channel).list_coordinators(request).await
    });
    let coordinators = coordinators.await?.coordinators;
    printed(print::data(match args.output {
        OutputArg::Json => print::json(&FleetReport::new(&workers, &coordinators)),
        OutputArg::Text => fleet::text(&workers, &coordinators, palette),
    }))
}
