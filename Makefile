# The commands of the README, and nothing clever: each target says below what it runs.

BUILD ?= build
JOBS ?= $(shell nproc)
# A log file for the demo to send; without it the demo looks for one.
LOG ?=
# The models to run: a part of their names.
MODEL ?= model::

MAKEFLAGS += --no-print-directory
export PATH := $(PATH):$(HOME)/.cargo/bin
CMAKE_FLAGS := -DUPSTREAM_CARGO_TARGET_DIR=$(abspath $(BUILD))/cargo
CARGO := CARGO_TARGET_DIR=$(abspath $(BUILD))/cargo cargo

.PHONY: help setup build test test-model test-sanitize demo bench lint clean

help:
	@echo "make setup   install by package name what this machine lacks (Debian, Ubuntu)"
	@echo "make build   libupstream.so, libupstream.a, the examples and the C tests, in $(BUILD)/"
	@echo "make test    setup, build, the Rust tests, the models, the C tests plainly and under valgrind"
	@echo "make test-model      the rooms that threads share, under every order of their steps (MODEL=name for one)"
	@echo "make test-sanitize   the C tests with library and tests built under clang's sanitizers, in $(BUILD)/asan and tsan"
	@echo "make demo    a real log file over three servers, one of which is killed half way (LOG=file)"
	@echo "make bench   the library beside its peers and the least that is possible: writes docs/performance.md"
	@echo "make lint    formatting, clippy with warnings as errors, licences and sources of the dependencies"
	@echo "make clean   take $(BUILD)/ away"

setup:
	@scripts/setup

build: setup
	cmake -S . -B $(BUILD) -DUPSTREAM_BUILD_TESTS=ON -DUPSTREAM_BUILD_EXAMPLES=ON $(CMAKE_FLAGS)
	cmake --build $(BUILD) -j $(JOBS)

test:
	@echo "make test: packages, build, Rust tests, C tests; about ten minutes the first time on two cores"
	@$(MAKE) build
	$(CARGO) test --workspace --locked
	@$(MAKE) test-model
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)
	@echo "make test: all passed"

# Runs the library's own code on loom's locks and atomics: src/model. About two minutes on two cores, the build included.
test-model:
	$(CARGO) test --lib --locked --features model -- $(MODEL)

# Presets of CMakePresets.json: asan for addresses, leaks and undefined behaviour, tsan for data races.
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

bench:
	@BUILD="$(BUILD)" JOBS="$(JOBS)" scripts/bench

# Without the tests, which take most of the packages.
demo:
	@echo "make demo: packages, build, demonstration; about three minutes the first time on two cores"
	@scripts/setup demo
	@cmake -S . -B $(BUILD) -DUPSTREAM_BUILD_TESTS=OFF -DUPSTREAM_BUILD_EXAMPLES=ON $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS)
	@scripts/demo $(BUILD) $(LOG)

lint:
	@scripts/setup lint
	scripts/check-width
	git ls-files -z '*.c' '*.h' ':!include/upstream/upstream.h' | \
		xargs -0 clang-format-19 --dry-run --Werror
	cargo fmt --all --check
	cargo fmt --check --manifest-path benches/peers/Cargo.toml
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --locked check bans licenses sources

clean:
	rm -rf $(BUILD)
