//! The shop in PostgreSQL: its products, and how often each was viewed in a day.
//!
//! Views follow Zipf's law, and the popular products lie scattered over the table, as they do in a real one. All of it
//! is made by arithmetic: every run has the same shop.

use anyhow::{Context, Result, ensure};
use stoke_harness::Postgres;

/// The shop's database.
pub(crate) const DATABASE: &str = "shop";

/// How many products there are.
pub(crate) const PRODUCTS: usize = 200_000;

/// The job's key source: the most viewed products, with their views as priority.
pub(crate) fn most_viewed(limit: usize) -> String {
    format!(
        "SELECT product_id AS key, views AS priority FROM product_views ORDER BY views DESC LIMIT {limit}"
    )
}

/// Views of the most viewed product. Together they are about ten million, 4 for the least viewed.
const VIEWS_OF_THE_FIRST: u32 = 737_000;

/// Zipf's exponent: the product of rank r has 1/r^0.99 of the first one's views, the usual figure in benchmarks of
/// caches (YCSB's).
const ZIPF_EXPONENT: f64 = 0.99;

/// Rank r is product 1 + (r − 1) × this modulo the number of products: a permutation, as they have no common factor.
const SCATTER: u64 = 123_457;

/// Makes the database, its tables and their content: rows of about 350 bytes.
pub(crate) fn fill(postgres: &Postgres) -> Result<()> {
    postgres
        .psql("postgres", &format!("CREATE DATABASE {DATABASE}"))
        .context("making the shop's database")?;
    postgres
        .psql(DATABASE, &content())
        .context("filling the shop")?;
    Ok(())
}

/// The products' views, by product: of product 1 first.
pub(crate) fn views(postgres: &Postgres) -> Result<Vec<u64>> {
    let sql = "SELECT views FROM product_views ORDER BY product_id";
    let rows = postgres.psql(DATABASE, sql).context("reading the views")?;
    let views = rows
        .lines()
        .map(|row| row.parse().context("reading a number of views"))
        .collect::<Result<Vec<u64>>>()?;
    ensure!(
        views.len() == PRODUCTS,
        "the shop has views of {} products",
        views.len()
    );
    Ok(views)
}

/// Which share of all views the `count` most viewed products have: 0 to 1.
pub(crate) fn share_of_most_viewed(views: &[u64], count: usize) -> f64 {
    let mut sorted = views.to_vec();
    sorted.sort_unstable_by_key(|views| std::cmp::Reverse(*views));
    let most: u64 = sorted.iter().take(count).sum();
    let all: u64 = sorted.iter().sum();
    most as f64 / all as f64
}

fn content() -> String {
    format!(
        "
CREATE TABLE products (
  id bigint PRIMARY KEY,
  name text NOT NULL,
  description text NOT NULL,
  price numeric(10, 2) NOT NULL,
  stock int NOT NULL,
  updated_at timestamptz NOT NULL,
  tags text[] NOT NULL
);
INSERT INTO products
SELECT
  id,
  look || ' ' || material || ' ' || thing,
  'A ' || look || ' ' || thing || ' made of ' || material || ', one of the things that our customers come back for. '
    || 'It is packed without plastic, leaves our own storehouse within a day, and can be sent back for thirty days. '
    || 'Article ' || md5(id::text) || '.',
  (id * 7 % 100000) / 100.0 + 0.99,
  id * 31 % 500,
  timestamptz '2026-01-01 00:00:00Z' + id * interval '7 seconds',
  ARRAY[look, material, thing, 'shelf-' || id % 977]
FROM generate_series(1, {PRODUCTS}) AS id,
LATERAL (SELECT
  (ARRAY['plain', 'small', 'large', 'light', 'sturdy', 'folding', 'round'])[id % 7 + 1] AS look,
  (ARRAY['oak', 'steel', 'linen', 'glass', 'cork'])[id % 5 + 1] AS material,
  (ARRAY['lamp', 'chair', 'basket', 'bowl', 'shelf', 'stool', 'tray', 'mirror', 'clock', 'vase', 'box'])[id % 11 + 1]
    AS thing
) AS words;

CREATE TABLE product_views (
  product_id bigint PRIMARY KEY,
  views bigint NOT NULL
);
INSERT INTO product_views
SELECT (rank - 1) * {SCATTER} % {PRODUCTS} + 1, round({VIEWS_OF_THE_FIRST} / rank ^ {ZIPF_EXPONENT})
FROM generate_series(1, {PRODUCTS}::bigint) AS rank;

CREATE INDEX ON product_views (views DESC);
VACUUM ANALYZE products;
VACUUM ANALYZE product_views;
"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

    use super::*;

    #[test]
    fn the_shop_is_what_is_said_of_it() {
        let postgres = Postgres::start().unwrap();
        fill(&postgres).unwrap();

        let bytes = postgres
            .psql(
                DATABASE,
                "SELECT round(avg(octet_length(products::text))) FROM products",
            )
            .unwrap();
        let bytes: u32 = bytes.parse().unwrap();
        assert!((300..=400).contains(&bytes), "{bytes} bytes a row");

        let views = views(&postgres).unwrap();
        assert_eq!(views.iter().max(), Some(&u64::from(VIEWS_OF_THE_FIRST)));
        assert_eq!(views.iter().min(), Some(&4));
        let all: u64 = views.iter().sum();
        assert!((9_900_000..10_100_000).contains(&all), "{all} views");

        // Scattered: each tenth of the table has about a tenth of the thousand most viewed products.
        let thousandth = {
            let mut sorted = views.clone();
            sorted.sort_unstable();
            sorted[PRODUCTS - 1000]
        };
        for tenth in views.chunks(PRODUCTS / 10) {
            let popular = tenth.iter().filter(|views| **views >= thousandth).count();
            assert!((80..=120).contains(&popular), "{popular} in a tenth");
        }

        let query = most_viewed(3);
        let first = postgres.psql(DATABASE, &query).unwrap();
        assert_eq!(first.lines().next(), Some("1|737000"));
        assert_eq!(first.lines().count(), 3);
    }

    #[test]
    fn the_share_is_that_of_the_most_viewed_wherever_they_are() {
        assert_eq!(share_of_most_viewed(&[1, 50, 9, 40], 2), 0.9);
        assert_eq!(share_of_most_viewed(&[1, 50, 9, 40], 10), 1.0);
    }
}
