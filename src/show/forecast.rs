//! What a dry run found: for people a short table, for scripts an object.

use serde::Serialize;
use stoke_proto::v1;

use super::number::{bytes, grouped};
use super::style::Palette;
use super::table::{Cell, Column, table};
use super::{plain, time};

/// The field `forecast` of a job's object.
#[derive(Debug, Serialize)]
pub struct ForecastReport<'a> {
    entries: u64,
    origin_queries: u64,
    /// At the origins' present budgets; null where an origin has none, or one of zero.
    duration_seconds: Option<f64>,
    cache_bytes: u64,
    loaders: Vec<LoaderReport<'a>>,
}

#[derive(Debug, Serialize)]
struct LoaderReport<'a> {
    loader: &'a str,
    origin: &'a str,
    entries: u64,
    batch_keys: u32,
    origin_queries: u64,
    sample_entries: u64,
    sample_found: u64,
    sample_bytes: u64,
    /// By the sample; null where nothing was sampled.
    cache_bytes: Option<u64>,
}

impl<'a> ForecastReport<'a> {
    /// The forecast of a job.
    pub fn new(forecast: &'a v1::Forecast) -> Self {
        let loader = |loader: &'a v1::LoaderForecast| LoaderReport {
            loader: &loader.loader,
            origin: &loader.origin,
            entries: loader.entries,
            batch_keys: loader.batch_keys,
            origin_queries: loader.origin_queries,
            sample_entries: loader.sample_entries,
            sample_found: loader.sample_found,
            sample_bytes: loader.sample_bytes,
            cache_bytes: bytes_of(loader),
        };
        Self {
            entries: entries(forecast),
            origin_queries: forecast.origin_queries,
            duration_seconds: forecast.duration.map(time::seconds),
            cache_bytes: forecast.cache_bytes,
            loaders: forecast.loaders.iter().map(loader).collect(),
        }
    }
}

/// The forecast as a table, and below it what it adds up to.
pub fn text(forecast: &v1::Forecast, palette: Palette) -> String {
    let columns = [
        Column::Left("LOADER"),
        Column::Left("ORIGIN"),
        Column::Right("KEYS"),
        Column::Right("QUERIES"),
        Column::Right("KEYS A QUERY"),
        Column::Right("FOUND OF SAMPLE"),
        Column::Right("BYTES"),
    ];
    let row = |loader: &v1::LoaderForecast| -> Vec<Cell> {
        vec![
            plain(&loader.loader).into(),
            plain(&loader.origin).into(),
            grouped(loader.entries).into(),
            grouped(loader.origin_queries).into(),
            grouped(loader.batch_keys.into()).into(),
            format!("{} of {}", loader.sample_found, loader.sample_entries).into(),
            bytes_of(loader).map_or("?".to_owned(), bytes).into(),
        ]
    };
    let rows: Vec<_> = forecast.loaders.iter().map(row).collect();
    let lasts = match forecast.duration {
        Some(duration) => format!(
            "{} at the present budget",
            time::span(time::seconds(duration))
        ),
        None => {
            "time unknown: an origin has no budget, or one of zero (see `stoke budget`)".to_owned()
        }
    };
    format!(
        "{}would take {} queries for {} keys, {lasts}, and write {}\n",
        table(&columns, &rows, palette),
        grouped(forecast.origin_queries),
        grouped(entries(forecast)),
        bytes(forecast.cache_bytes),
    )
}

fn entries(forecast: &v1::Forecast) -> u64 {
    forecast.loaders.iter().map(|loader| loader.entries).sum()
}

/// What a loader's sample says of all its entries.
fn bytes_of(loader: &v1::LoaderForecast) -> Option<u64> {
    let bytes = u128::from(loader.sample_bytes) * u128::from(loader.entries);
    let bytes = bytes.checked_div(loader.sample_entries.into())?;
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_forecast_is_a_short_table() {
        let mut forecast = samples::dry_run().forecast.unwrap();
        assert_eq!(
            text(&forecast, Palette::PLAIN),
            "LOADER   ORIGIN    KEYS  QUERIES  KEYS A QUERY  FOUND OF SAMPLE    BYTES\n\
             product  shop    99,900      200           500       190 of 200  39.5 MB\n\
             price    shop       100        1           500       100 of 100   4.0 kB\n\
             would take 201 queries for 100,000 keys, 10.1 s at the present budget, and write 39.7 MB\n"
        );
        forecast.duration = None;
        forecast.loaders[0].sample_entries = 0;
        let text = text(&forecast, Palette::PLAIN);
        assert!(
            text.contains("time unknown: an origin has no budget"),
            "{text}"
        );
        assert!(text.contains("190 of 0       ?\n"), "{text}");
    }
}
