# What one does with Stoke's sources. `make` lists it.

target := $(or $(CARGO_TARGET_DIR),target)
buf := $(CURDIR)/target/tools/buf/node_modules/.bin/buf

.PHONY: help deps quickstart test model-check simulate fuzz bench hot-paths faults lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

deps: ## install what building, testing and the quickstart need
	@deploy/install-dependencies build run

quickstart: deps ## warm a real Redis Cluster from a real PostgreSQL on this machine, and watch
	cargo build --locked -p stoke -p stoke-quickstart
	$(target)/debug/stoke-quickstart $(target)/debug/stoke

test: deps ## all tests, against real servers that they start themselves
	cargo test --workspace --locked
	cargo test --locked -p stoke-worker --features object-stores,parquet --lib source
	cargo test --locked -p stoke-worker --lib feature_that_is_missing
	cargo test --locked -p stoke-simulator --features mutants -- mutants

model-check: ## try every order of events in larger scopes of the budget's protocol: some minutes, some gigabytes
	cargo run --locked --release -p stoke-simulator -- check

simulate: ## run the whole control plane through SEEDS (100,000) histories of faults, from STOKE_SEED on
	SEEDS=$(or $(SEEDS),100000) cargo run --locked --release -p stoke-simulator -- simulate

fuzz: ## fuzz what parses bytes from outside, each for FUZZ_SECONDS (60); FUZZ="TARGET ..." for some only
	@deploy/install-dependencies build fuzz
	tests/fuzz/run $(FUZZ)

bench: deps ## measure what budgets, plans, handing over and loading cost, and write it to benches/RESULTS.md; BENCH="PART ... --rows N" for some
	cargo build --release --locked -p stoke
	cargo run --release --locked -p stoke-benches -- $(BENCH) --stoke $(target)/release/stoke

hot-paths: ## measure what each key passes through, each alone (Criterion): some seconds, and what has changed since last time
	cargo bench --locked -p stoke-benches --bench hot_paths

lint: ## formatting, clippy, and buf for the protobuf files: their style, and that clients of the last tag go on
	@deploy/install-dependencies build lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p stoke-worker --all-targets --features object-stores,parquet --locked -- -D warnings
	cargo metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null # its own lock file
	cd proto && $(buf) lint
	proto/check-breaking $(buf)
	proto/test-check-breaking $(buf)

faults: deps ## break what Stoke stands on while it works (half an hour); FAULTS="NAME ..." for some faults only
	cargo build --locked -p stoke -p stoke-faults
ifneq ($(FAULTS),)
	$(target)/debug/stoke-faults $(target)/debug/stoke $(FAULTS) --evidence $(target)/faults
else
	cargo build --locked -p stoke --features mutants --target-dir $(target)/mutants
	$(target)/debug/stoke-faults $(target)/debug/stoke --evidence $(target)/faults --results tests/faults/RESULTS.md \
	  --mutants $(target)/mutants/debug/stoke
endif

clean: ## remove what was built
	cargo clean
