//! The origin: a PostgreSQL with a shop's products, tuned and warm, and what others make it do.
//!
//! The popular products lie scattered over the table. All of it is made by arithmetic: every run has the same shop.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stoke_harness::Postgres;

use crate::machine::tree_time;

/// The shop's database.
const DATABASE: &str = "shop";

/// What is loaded of each product, and how products are ranked: as anybody would write it.
pub(super) const LOAD: &str = "SELECT * FROM products WHERE id IN (:keys)";

/// Rank r is product 1 + (r − 1) × this modulo the number of products. It is a prime, so that is a permutation unless there
/// are multiples of it.
const SCATTER: u64 = 7_368_787;

/// Views of the most viewed product; that of rank r has 1/r of them (Zipf's law).
const VIEWS_OF_THE_FIRST: u64 = 1_000_000_000;

/// A server that somebody has looked after: what is asked for fits into its memory, sorting needs no disk, nothing is compiled for
/// queries that are over at once (of the long ones that only made the pipe dearer), and it knows that
/// its disk is as good as memory. No statement is logged, nothing else goes on in it, and it counts what it executes.
const SETTINGS: &[(&str, &str)] = &[
    ("shared_buffers", "2GB"),
    ("effective_cache_size", "6GB"),
    ("work_mem", "512MB"),
    ("maintenance_work_mem", "512MB"),
    ("random_page_cost", "1.1"),
    ("max_wal_size", "4GB"),
    ("jit", "off"),
    ("log_statement", "none"),
    ("autovacuum", "off"),
    ("shared_preload_libraries", "pg_stat_statements"),
];

/// How long after its clients have ended its processes are looked at: those that served them are ending, too.
const ENDED_WITHIN: Duration = Duration::from_millis(300);

/// A PostgreSQL with so many products.
pub(super) struct Origin {
    postgres: Postgres,
    pub(super) rows: u64,
}

/// What it had done at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    cpu: Duration,
}

impl Origin {
    pub(super) fn start(rows: u64) -> Result<Self> {
        ensure!(
            rows > 0 && rows < SCATTER,
            "--rows: from 1 to {}",
            SCATTER - 1
        );
        let postgres = Postgres::start_with(SETTINGS).context("starting PostgreSQL")?;
        postgres
            .psql("postgres", &format!("CREATE DATABASE {DATABASE}"))
            .context("making the shop's database")?;
        postgres
            .psql(DATABASE, &content(rows))
            .context("filling the shop")?;
        Ok(Self { postgres, rows })
    }

    pub(super) fn url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// The real psql.
    pub(super) fn psql_program(&self) -> PathBuf {
        self.postgres.program("psql")
    }

    /// Begins to count.
    pub(super) fn mark(&self) -> Result<Mark> {
        self.psql("SELECT pg_stat_statements_reset()")?;
        let cpu = self.cpu()?;
        Ok(Mark { cpu })
    }

    /// What its processes have had of the processors since, and how many statements it has executed.
    pub(super) fn since(&self, mark: Mark) -> Result<(Duration, u64)> {
        let cpu = self.cpu()? - mark.cpu;
        Ok((cpu, self.calls("true")?))
    }

    /// How many statements it has executed for Stoke's loader.
    pub(super) fn loads(&self) -> Result<u64> {
        self.calls("query LIKE '%ANY(%'")
    }

    /// Size of a row as text, and of the JSON of it, in bytes, on average.
    pub(super) fn row_bytes(&self) -> Result<(f64, f64)> {
        let sizes = self.psql(
            "SELECT avg(octet_length(p::text)), avg(octet_length(row_to_json(p)::text)) FROM products p TABLESAMPLE SYSTEM (2)",
        )?;
        let (row, json) = sizes.split_once('|').context("two sizes were asked for")?;
        Ok((row.parse()?, json.parse()?))
    }

    /// The values that some ranks should have in the cache.
    pub(super) fn values(&self, ranks: &[u64]) -> Result<Vec<serde_json::Value>> {
        let ids: Vec<String> = ranks
            .iter()
            .map(|rank| self.id(*rank).to_string())
            .collect();
        let found = self.psql(&format!(
            "SELECT row_to_json(p) FROM unnest('{{{}}}'::bigint[]) WITH ORDINALITY AS wanted (id, nth) JOIN products p USING (id) \
             ORDER BY nth",
            ids.join(",")
        ))?;
        let values = found.lines().map(serde_json::from_str);
        let values: Vec<_> = values.collect::<Result<_, _>>()?;
        ensure!(values.len() == ranks.len(), "a product is missing");
        Ok(values)
    }

    /// The product of a rank, from 0.
    fn id(&self, rank: u64) -> u64 {
        1 + rank * SCATTER % self.rows
    }

    /// The key in the cache of a rank, from 0.
    pub(super) fn key(&self, rank: u64) -> String {
        format!("product:{}", self.id(rank))
    }

    /// The views of a rank, from 0.
    pub(super) fn views(rank: u64) -> u64 {
        VIEWS_OF_THE_FIRST / (rank + 1)
    }

    fn cpu(&self) -> Result<Duration> {
        std::thread::sleep(ENDED_WITHIN);
        tree_time(self.postgres.pid())
    }

    fn calls(&self, which: &str) -> Result<u64> {
        let calls = self.psql(&format!(
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%' AND {which}"
        ))?;
        calls.parse().context("reading a number of statements")
    }

    fn psql(&self, sql: &str) -> Result<String> {
        self.postgres.psql(DATABASE, sql)
    }
}

/// The ranked keys, as Stoke takes them.
pub(super) fn ranking(limit: u64) -> String {
    format!("SELECT id AS key, views AS priority FROM products ORDER BY views DESC LIMIT {limit}")
}

fn content(rows: u64) -> String {
    format!(
        "
CREATE EXTENSION pg_stat_statements;
CREATE TABLE products (
  id bigint NOT NULL,
  name text NOT NULL,
  description text NOT NULL,
  price numeric(10, 2) NOT NULL,
  stock int NOT NULL,
  updated_at timestamptz NOT NULL,
  tags text[] NOT NULL,
  views bigint NOT NULL
);
INSERT INTO products
SELECT
  1 + number * {SCATTER} % {rows},
  look || ' ' || material || ' ' || thing,
  'A ' || look || ' ' || thing || ' made of ' || material || ', one of the things that our customers come back for. '
    || 'It is packed without plastic, leaves our own storehouse within a day, and can be sent back for thirty days. '
    || 'Article ' || md5(number::text) || '.',
  (number * 7 % 100000) / 100.0 + 0.99,
  number * 31 % 500,
  timestamptz '2026-01-01 00:00:00Z' + number * interval '7 seconds',
  ARRAY[look, material, thing, 'shelf-' || number % 977],
  {VIEWS_OF_THE_FIRST} / (number + 1)
FROM generate_series(0, {rows}::bigint - 1) AS number,
LATERAL (SELECT
  (ARRAY['plain', 'small', 'large', 'light', 'sturdy', 'folding', 'round'])[number % 7 + 1] AS look,
  (ARRAY['oak', 'steel', 'linen', 'glass', 'cork'])[number % 5 + 1] AS material,
  (ARRAY['lamp', 'chair', 'basket', 'bowl', 'shelf', 'stool', 'tray', 'mirror', 'clock', 'vase', 'box'])[number % 11 + 1]
    AS thing
) AS words
ORDER BY 1;
ALTER TABLE products ADD PRIMARY KEY (id);
CREATE INDEX ON products (views, id);
VACUUM (ANALYZE, FREEZE) products;
"
    )
}
