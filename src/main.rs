//! `stoke`: see the library of the same name.

#[tokio::main]
async fn main() {
    stoke::main().await
}
