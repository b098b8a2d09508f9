# The commands of the README, and nothing clever: each target says below what it runs.

BUILD ?= build
JOBS ?= $(shell nproc)
# A log file for the demo to send; without it the demo looks for one.
LOG ?=
# The models to run: a part of their names.
MODEL ?= loom

MAKEFLAGS += --no-print-directory
export PATH := $(PATH):$(HOME)/.cargo/bin
CMAKE_FLAGS := -DUPSTREAM_CARGO_TARGET_DIR=$(abspath $(BUILD))/cargo -DUPSTREAM_BUILD_EXAMPLES=ON
CARGO := CARGO_TARGET_DIR=$(abspath $(BUILD))/cargo cargo

# How long each fuzzer runs.
FUZZ_SECONDS ?= 600

.PHONY: help setup build test test-model test-sanitize fuzz demo receivers bench lint clean

help:
	@echo "make setup      install the packages that this machine lacks (Debian, Ubuntu)"
	@echo "make build      the library, the examples and the C tests, in $(BUILD)/"
	@echo "make test       setup, build, then all tests: Rust, models, C, C under valgrind"
	@echo "make demo       a real log to three servers, one dies half way (LOG=file)"
	@echo "make receivers  three servers that show each line they get, to try a plugin with"
	@echo "make lint       formatting, clippy, licences and sources of the dependencies"
	@echo "make clean      remove $(BUILD)/"
	@echo
	@echo "make test-model     what threads share, in every order of steps (MODEL=name for one)"
	@echo "make test-sanitize  the C tests under clang's sanitizers, in $(BUILD)/asan and tsan"
	@echo "make fuzz           hostile files and hostile TLS peers, ten minutes each (FUZZ_SECONDS=n)"
	@echo "make bench          the library beside others; writes docs/performance.md"

setup:
	@scripts/setup

build: setup
	cmake -S . -B $(BUILD) $(CMAKE_FLAGS) -DUPSTREAM_BUILD_TESTS=ON
	cmake --build $(BUILD) -j $(JOBS)

test:
	@echo "make test: packages, build, all tests; about half an hour on two cores"
	@$(MAKE) build
	$(CARGO) test --workspace --locked
	@$(MAKE) test-model
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)
	@echo "make test: all passed"

# Runs the library's own code on loom's locks and atomics: src/tests/loom. About eight minutes on
# two cores, the build included.
test-model:
	$(CARGO) test --lib --locked --features model -- $(MODEL)

# Presets of CMakePresets.json: asan for addresses, leaks and undefined behaviour, tsan for data
# races.
test-sanitize:
	@scripts/setup
	@scripts/setup sanitize
	@set -e; for preset in asan tsan; do \
		echo "make test-sanitize: $$preset"; \
		cmake --preset $$preset >/dev/null; \
		cmake --build --preset $$preset -j $(JOBS); \
		ctest --preset $$preset -j $(JOBS); \
	done
	@echo "make test-sanitize: all passed"

# clang's libFuzzer, and the library with counters for its coverage.
fuzz:
	@scripts/setup fuzz
	@BUILD="$(BUILD)" scripts/fuzz $(FUZZ_SECONDS)

bench:
	@BUILD="$(BUILD)" JOBS="$(JOBS)" scripts/bench

# Only what the demo runs: neither the tests nor the other examples.
demo:
	@echo "make demo: packages, build, demo; about three minutes the first time"
	@scripts/setup demo
	@cmake -S . -B $(BUILD) $(CMAKE_FLAGS) -DUPSTREAM_BUILD_TESTS=OFF >/dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target upstream-forward forward_receiver
	@echo
	@scripts/demo $(BUILD) $(LOG)

# Servers to try a plugin with: they show each line that they get. Needs python3 and no build.
receivers:
	@scripts/receivers

lint:
	@scripts/setup lint
	scripts/check-width
	git ls-files -z '*.c' '*.h' ':!include/upstream/upstream.h' | \
		xargs -0 clang-format-19 --dry-run --Werror
	cargo fmt --all --check
	cargo fmt --check --manifest-path benches/peers/Cargo.toml
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --locked check bans licenses sources
	@mkdir -p build && doxygen docs/Doxyfile

clean:
	rm -rf $(BUILD)
