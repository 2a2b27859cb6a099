//! `stoke budget`: what all workers together may ask of origins and caches.

use std::time::Duration;

use anyhow::anyhow;
use stoke_proto::v1;

use super::printed;
use crate::Outcome;
use crate::args::{BudgetArgs, BudgetCommand, BudgetSetArgs, OutputArg, OutputArgs, ResourceArgs};
use crate::client::{Cluster, budgets, has, may_pass, refusal, unary};
use crate::exit::{Exit, Failure, OrExit};
use crate::print::{self, Reader};
use crate::show::budget::{self, BudgetReport};
use crate::show::style::Palette;

/// How often a broken watch is begun again in a row, before nobody seems to be there.
const AGAIN_MAX: usize = 60;
/// How long between two attempts.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

/// Lists, shows or sets budgets.
pub async fn budget(args: &BudgetArgs, palette: Palette) -> Outcome {
    match &args.command {
        None => list(&args.output, palette).await,
        Some(BudgetCommand::Get(args)) => get(args, palette).await,
        Some(BudgetCommand::Set(args)) => set(args, palette).await,
        Some(BudgetCommand::Watch(args)) => watch(args, palette).await,
    }
}

async fn list(args: &OutputArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.cluster.coordinator)?;
    let listed = cluster.call(|channel| async move {
        let request = unary(v1::ListBudgetsRequest {});
        budgets(channel).list_budgets(request).await
    });
    let listed = listed.await?.budgets;
    printed(print::data(match args.output {
        OutputArg::Json => {
            let lines = listed.iter().map(|b| print::json(&BudgetReport::new(b)));
            lines.collect()
        }
        OutputArg::Text => budget::list(&listed, palette),
    }))
}

async fn get(args: &ResourceArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request = v1::GetBudgetRequest {
        resource: args.resource.clone(),
    };
    let got = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { budgets(channel).get_budget(request).await }
    });
    let got = has(got.await?.budget, "budget")?;
    printed(print_budget(&got, args.output.output, palette))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rate is checked"
)]
async fn set(args: &BudgetSetArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request = v1::SetBudgetRequest {
        resource: args.resource.clone(),
        target: Some(v1::Allowance {
            qps_milli: (args.qps * 1000.0).round() as u64,
            // Zero leaves them as they are.
            burst: args.burst.unwrap_or(0),
            in_flight: args.in_flight.unwrap_or(0),
            rows: args.rows.and_then(|rows| rows.0),
        }),
        any_rows: args.rows.is_some_and(|rows| rows.0.is_none()),
        lasts: args
            .lasts
            .and_then(|lasts| prost_types::Duration::try_from(lasts).ok()),
    };
    let set = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { budgets(channel).set_budget(request).await }
    });
    let budget = has(set.await?.budget, "budget")?;
    printed(print_budget(&budget, args.output.output, palette))
}

/// Prints the budget again whenever it has changed, whichever coordinator answers.
async fn watch(args: &ResourceArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let mut failures = None;
    let watching = async {
        loop {
            match watch_once(&cluster, args, palette, &mut failures).await {
                Ok(Reader::Gone) => return Ok(Exit::Succeeded),
                Ok(Reader::Listens) => {}
                Err((Exit::Unreachable, error)) => match &mut failures {
                    // Nothing was ever seen: nobody is there.
                    None => return Err((Exit::Unreachable, error)),
                    Some(failures) if *failures >= AGAIN_MAX => {
                        return Err((Exit::Unreachable, error));
                    }
                    Some(failures) => {
                        if *failures == 0 {
                            print::say(format!("the watch broke, and is begun again: {error:#}"));
                        }
                        *failures += 1;
                    }
                },
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(AGAIN_EVERY).await;
        }
    };
    tokio::select! {
        ended = watching => ended,
        _ = tokio::signal::ctrl_c() => {
            print::say("stopped watching; the budget stays as it is");
            Ok(Exit::Interrupted)
        }
    }
}

/// Watches until the stream ends, or nobody reads. `failures` counts attempts in a row without any budget; `None` as long
/// as there was none at all.
async fn watch_once(
    cluster: &Cluster,
    args: &ResourceArgs,
    palette: Palette,
    failures: &mut Option<usize>,
) -> Result<Reader, Failure> {
    let request = v1::WatchBudgetRequest {
        resource: args.resource.clone(),
    };
    let opened = cluster.call(|channel| {
        let request = request.clone();
        async move { budgets(channel).watch_budget(request).await }
    });
    let mut watched = opened.await?;
    loop {
        match watched.message().await {
            Ok(Some(message)) => {
                *failures = Some(0);
                let budget = has(message.budget, "budget")?;
                if print_budget(&budget, args.output.output, palette)? == Reader::Gone {
                    return Ok(Reader::Gone);
                }
            }
            Ok(None) => return Err(anyhow!("the stream ended")).or_exit(Exit::Unreachable),
            Err(status) => {
                let (exit, error) = refusal::failure(&status);
                let passes = may_pass(status.code());
                return Err((if passes { Exit::Unreachable } else { exit }, error));
            }
        }
    }
}

fn print_budget(
    budget: &v1::Budget,
    output: OutputArg,
    palette: Palette,
) -> Result<Reader, Failure> {
    print::data(match output {
        OutputArg::Json => print::json(&BudgetReport::new(budget)),
        OutputArg::Text => budget::text(budget, palette),
    })
}
