#!/usr/bin/env bash
# bare.sh SOURCE WORK CMAKE CC: configures on a machine that lacks the packages of the tests and of
# most examples. Without an option each part that cannot be built is named with what it lacks, and
# the rest remains; whoever asks for the tests gets an error with the fix.
set -euo pipefail
source=$1 work=$2 cmake=$3 cc=$4
rm -rf "$work"
mkdir -p "$work"
# pkg-config finds no package here.
export PKG_CONFIG_LIBDIR=$work/none PKG_CONFIG_PATH=

configure() {
    "$cmake" -S "$source" -B "$work/$1" -DCMAKE_C_COMPILER="$cc" "${@:2}" >"$work/$1.log" 2>&1
}
fail() {
    echo "bare.sh: $1; its words:" >&2
    cat "$2" >&2
    exit 1
}
says() { grep -qE "$2" "$work/$1.log" || fail "$1 does not say \"$2\"" "$work/$1.log"; }

configure auto || fail "a machine without cmocka cannot configure" "$work/auto.log"
says auto '^-- Left out: the C tests\. Missing here: .*libcmocka-dev'
for part in examples/cli examples/fluent-bit examples/collectd; do
    says auto "^-- Left out: $part, .*Missing here: .*libmsgpack-dev"
done
"$cmake" --build "$work/auto" --target help >"$work/targets.log"
for target in upstream_library upstream-epoll; do
    says targets "$target"
done
if grep -qE 'test_|fluent-bit-plugin' "$work/targets.log"; then
    fail "what was left out is a target all the same" "$work/targets.log"
fi

if configure on -DUPSTREAM_BUILD_TESTS=ON; then
    fail "tests that were asked for are left out in silence" "$work/on.log"
fi
says on 'libcmocka-dev'
says on 'make setup'
configure off -DUPSTREAM_BUILD_TESTS=OFF || fail "OFF does not configure" "$work/off.log"
if grep -q 'the C tests' "$work/off.log"; then
    fail "tests that nobody wants are spoken of" "$work/off.log"
fi
