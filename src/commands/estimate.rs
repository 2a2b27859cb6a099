//! `stoke estimate`: what warming a plan would bring. It reads, and touches no cache and no database.

mod input;
mod job;
mod list;
mod log;
mod ranked;
mod times;

use std::path::Path;

use anyhow::{Context, bail};
use stoke_core::capacity::string_bytes;
use stoke_core::estimate::{Facts, Popularity, Setting, Timeline, Verdict};

use super::printed;
use crate::Outcome;
use crate::args::{EstimateArgs, OutputArg};
use crate::exit::{Exit, Failure, OrExit};
use crate::print;
use crate::show::estimate::{Estimate, Report};
use crate::show::estimate_svg;
use crate::show::style::Palette;

use self::input::Input;
use self::ranked::Ranked;

/// Keys in a query where nothing is said.
const BATCH_KEYS_DEFAULT: u32 = 500;

/// Estimates, prints it, and draws it where that is asked for.
pub async fn estimate(args: &EstimateArgs, palette: Palette) -> Outcome {
    one_standard_input(args).or_exit(Exit::Usage)?;
    log_of_its_flags(args).or_exit(Exit::Usage)?;
    let list_rules = list::rules(args);
    let later = match &args.later {
        Some(path) => Some(list::later(path, &list_rules).await?),
        None => None,
    };
    let input = match (&args.file, &args.job) {
        (Some(file), _) => list::read(file, &list_rules).await?,
        (None, Some(job)) => job::read(args, job).await?,
        (None, None) => log::read(args).await?,
    };
    let estimate = of(args, input, later).await?;
    if let Some(path) = &args.svg {
        draw(&estimate, path).or_exit(Exit::Usage)?;
    }
    let report = Report::of(&estimate);
    printed(print::data(match args.output {
        OutputArg::Json => print::json(&report),
        OutputArg::Text => report.text(palette),
    }))
}

/// Standard input can be read once.
fn one_standard_input(args: &EstimateArgs) -> anyhow::Result<()> {
    let is = |path: &Path| path == Path::new("-");
    let files = args.file.iter().chain(&args.later);
    let lists = files.filter(|path| is(path)).count();
    let logs = args.log.paths.iter().filter(|path| is(Path::new(path)));
    if lists + logs.count() > 1 {
        bail!("-: standard input can be one of the plan and --later, not both");
    }
    Ok(())
}

/// What says how a log is read needs one. (What the plan can be instead excludes it, so that the parser does not miss it.)
fn log_of_its_flags(args: &EstimateArgs) -> anyhow::Result<()> {
    let log = &args.log;
    let is_read_somehow = args.key.is_some()
        || !log.urls.is_empty()
        || log.log_lines.is_some()
        || log.log_regex.is_some()
        || log.log_url_field.is_some()
        || log.log_method_field.is_some()
        || log.log_status_field.is_some()
        || log.log_time_field.is_some()
        || !log.log_method.is_empty()
        || !log.log_status.is_empty()
        || log.log_since.is_some()
        || log.log_until.is_some()
        || log.log_half_life.is_some();
    if log.paths.is_empty() && is_read_somehow {
        bail!(
            "--key, --url and the flags that begin with --log- say how a log is read: name one by --log"
        );
    }
    Ok(())
}

/// What follows from the plan and from what else is known.
async fn of(
    args: &EstimateArgs,
    input: Input,
    later: Option<stoke_core::estimate::Later>,
) -> Result<Estimate, Failure> {
    let Input {
        entries,
        about,
        drift,
        history_requests,
        requests_per_second,
        batch_keys,
        ttl,
        plan_bytes,
    } = input;
    let ranked = Ranked::of(entries, later, args.user_keys.clone()).await?;
    let curve = &ranked.curve;
    if curve.entries() == 0 {
        return Err(anyhow::anyhow!(
            "the plan has no keys: there is nothing to estimate"
        ))
        .or_exit(Exit::Usage);
    }
    let popularity = Popularity::of(curve, drift.as_ref())
        .context("all priorities are 0: no request is expected for any key, so no hit rate either")
        .or_exit(Exit::Usage)?;
    let of_period = args.period.map(|period| {
        // A log counts each request once, however its age weighs.
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let requests = history_requests.map(|requests| requests as f64);
        requests.unwrap_or(popularity.requests) / period.as_secs_f64()
    });
    let setting = Setting {
        qps: args.qps,
        batch_keys: args.batch_keys.or(batch_keys).unwrap_or(BATCH_KEYS_DEFAULT),
        requests_per_second: args
            .requests_per_second
            .or(of_period)
            .or(requests_per_second),
        miss_cost_s: args.miss_cost.map(|cost| cost.as_secs_f64()),
        capacity_qps: args.capacity,
        ttl_s: args.ttl.or(ttl).map(|ttl| ttl.as_secs_f64()),
    };
    let facts = Facts {
        plan_bytes: bytes(args, &ranked).or(plan_bytes),
        cache_free_bytes: args.cache_free.map(float),
        user_specific: (!args.user_keys.is_empty()).then_some(ranked.user_specific),
    };
    let timeline = Timeline::of(curve, drift.as_ref(), &setting);
    let verdict = Verdict::of(curve, drift.as_ref(), timeline.as_ref(), &setting, &facts);
    Ok(Estimate {
        about,
        tried: ranked.tried(&popularity),
        unseen: curve.unseen(),
        drift,
        history_requests,
        popularity,
        setting,
        facts,
        timeline,
        verdict,
    })
}

/// What the plan takes in the cache, where values are said to be so long.
fn bytes(args: &EstimateArgs, ranked: &Ranked) -> Option<f64> {
    let value = usize::try_from(args.value_bytes?).unwrap_or(usize::MAX / 2);
    let entries = float(ranked.curve.entries());
    // All but the keys, which are known one by one.
    Some(float(string_bytes(0, value)) * entries + float(ranked.key_bytes))
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
const fn float(number: u64) -> f64 {
    number as f64
}

fn draw(estimate: &Estimate, path: &Path) -> anyhow::Result<()> {
    let timeline = estimate.timeline.as_ref().context(
        "--svg: hit rates over time need to know how many requests come a second: say --requests-per-second, or --period",
    )?;
    let picture = estimate_svg::picture(&estimate.about.name, timeline, &estimate.setting);
    std::fs::write(path, picture).with_context(|| format!("--svg: cannot write {}", path.display()))
}
