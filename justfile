# Short names for the repository's own commands. `just` alone lists them.

_list:
    @{{ just_executable() }} --list --unsorted

# everything CI checks, as CI checks it
ci:
    .ci/run

# all tests, on the Kafka cluster too; `just test --no-cluster` needs no Java
test *arguments:
    cargo xtask test {{ arguments }}

# Milena against the embedded broker
demo *arguments:
    cargo run --release --quiet --package milena-cli -- demo {{ arguments }}

# write crates/protocol/src/messages/ from Kafka's schemas
generate *arguments:
    cargo xtask generate {{ arguments }}

# start the three brokers of docker-compose.kraft.yml; `--fresh` begins with empty data, `--secure` takes docker-compose.secure.yml
cluster-up *arguments:
    cargo xtask cluster up {{ arguments }}

# stop the brokers; `--purge` deletes their data
cluster-down *arguments:
    cargo xtask cluster down {{ arguments }}

# what the hot path of the protocol crate costs
bench-protocol *arguments:
    cargo bench --package milena-protocol --all-features --bench records --bench messages {{ arguments }}

# what producing costs the client alone, as `bootstrap=127.0.0.1:9092 tasks=2 all=1`; without a broker the embedded one counts, too
bench-produce *arguments:
    cargo bench --quiet --package milena --bench produce -- {{ arguments }}

# what consuming costs the client alone, as `bootstrap=127.0.0.1:9092 records=3000000`
bench-consume *arguments:
    cargo bench --quiet --package milena --bench consume -- {{ arguments }}

# what each codec costs, and what it saves
bench-compression:
    cargo bench --quiet --package milena-protocol --bench compression

# Milena's producer beside other clients on one broker; `--quick` for ten minutes, `--help` for more. Needs a C compiler
bench-producer *arguments:
    cargo run --release --quiet --manifest-path benches/peers/Cargo.toml -- producer {{ arguments }}

# the same for consumers
bench-consumer *arguments:
    cargo run --release --quiet --manifest-path benches/peers/Cargo.toml -- consumer {{ arguments }}

# format all code
fmt:
    cargo fmt --all

# all lints, as errors
lint:
    cargo clippy --workspace --all-targets -- -D warnings
