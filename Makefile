# What one does with Stoke's sources. `make` lists it.

target := $(or $(CARGO_TARGET_DIR),target)
buf := $(CURDIR)/target/tools/buf/node_modules/.bin/buf

.PHONY: help deps quickstart test model-check simulate lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

deps: ## install what building, testing and the quickstart need
	@deploy/install-dependencies build run

quickstart: deps ## warm a real Redis Cluster from a real PostgreSQL on this machine, and watch
	cargo build --locked -p stoke -p stoke-quickstart
	$(target)/debug/stoke-quickstart $(target)/debug/stoke

test: deps ## all tests, against real servers that they start themselves
	cargo test --workspace --locked
	cargo test --locked -p stoke-simulator --features mutants -- mutants

model-check: ## try every order of events in larger scopes of the budget's protocol: some minutes, some gigabytes
	cargo run --locked --release -p stoke-simulator -- check

simulate: ## run the budget's control plane through SEEDS (100,000) histories of faults, from STOKE_SEED on
	SEEDS=$(or $(SEEDS),100000) cargo run --locked --release -p stoke-simulator -- simulate

lint: ## formatting, clippy, and buf for the protobuf files: their style, and that clients of the last tag go on
	@deploy/install-dependencies build lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cd proto && $(buf) lint
	proto/check-breaking $(buf)
	proto/test-check-breaking $(buf)

clean: ## remove what was built
	cargo clean
