#!/bin/sh
# check.sh HOW PREFIX WORK VERSION: build and run the consumer against the libupstream installed in
# PREFIX, in the folder WORK, HOW being `cmake` or `pkg-config`. Fails if a build fails, if a
# program prints anything other than the turns of two nodes, or if it loads another library. CC, CXX
# and CMAKE name the tools.
set -eu
how=$1 prefix=$2 work=$3 version=$4
source=$(cd "$(dirname "$0")" && pwd)
rm -rf "$work"
mkdir -p "$work"

expect() {
    printed=$("$@") || { echo "$1: exit status $?"; exit 1; }
    wanted="upstream $version: node-1 node-2 node-1 node-2"
    [ "$printed" = "$wanted" ] || { echo "$1 printed '$printed' instead of '$wanted'"; exit 1; }
    echo "$(basename "$1"): $printed"
}
loads_it() { readelf -dW "$1" | grep -q 'NEEDED.*\[libupstream\.so\.0\]'; }

case $how in
cmake)
    "$CMAKE" -S "$source" -B "$work" -DCMAKE_PREFIX_PATH="$prefix" \
        -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" \
        -DCMAKE_C_FLAGS="-Wall -Wextra -Wpedantic -Werror" \
        -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Werror"
    "$CMAKE" --build "$work"
    for program in consumer_c consumer_cxx; do
        loads_it "$work/$program" || { echo "$program does not load libupstream.so.0"; exit 1; }
        ldd "$work/$program" | grep -F "libupstream.so.0 => $prefix/" ||
            { echo "$program loads another one"; exit 1; }
        expect "$work/$program"
    done
    ;;
pkg-config)
    # The folder is asked for by itself, so that no other installed copy can answer.
    PKG_CONFIG_LIBDIR=$(dirname "$(find "$prefix" -name upstream.pc)")
    export PKG_CONFIG_LIBDIR
    [ "$(pkg-config --modversion upstream)" = "$version" ] ||
        { echo "upstream.pc is of another version"; exit 1; }
    libdir=$(pkg-config --variable=libdir upstream)

    # The flags are several words on purpose.
    "$CC" -Wall -Wextra -Werror -o "$work/consumer_c" "$source/consumer.c" \
        $(pkg-config --cflags --libs upstream)
    loads_it "$work/consumer_c" || { echo "consumer_c does not load libupstream.so.0"; exit 1; }
    expect env LD_LIBRARY_PATH="$libdir" "$work/consumer_c"

    # The first page, as installed: its links, and the program on it.
    doc=$(dirname "$(find "$prefix" -path '*/doc/upstream/README.md')")
    "$source/links.py" "$doc"
    "$source/first.py" "$doc/README.md" "$doc/scripts/receivers" "$work" \
        "$CC" -Wall -Wextra -Werror {} $(pkg-config --cflags --libs upstream) \
        "-Wl,-rpath,$libdir"

    # A plugin for Fluent Bit by the installed headers, with the test's stand-in for the agent's.
    guest=$source/../guest_agent
    mkdir -p "$work/guest/fluent-bit"
    for name in info config coro log output_plugin upstream upstream_conn upstream_ha \
        upstream_node; do
        echo '#include <guest_agent.h>' >"$work/guest/fluent-bit/flb_$name.h"
    done
    "$CC" -D_GNU_SOURCE -Wall -Wextra -Werror -fPIC -shared \
        -include upstream/fluent_bit.h -I"$work/guest" -I"$guest" \
        -o "$work/flb-out_records.so" "$guest/out_records.c" "$guest/out_records_conf.c" \
        $(pkg-config --cflags --libs upstream)
    loads_it "$work/flb-out_records.so" ||
        { echo "flb-out_records.so does not load libupstream.so.0"; exit 1; }

    "$CC" -o "$work/consumer_static" "$source/consumer.c" $(pkg-config --cflags upstream) \
        $(pkg-config --static --libs upstream | sed 's/-lupstream/-l:libupstream.a/')
    ;;
esac

if loads_it "$work/consumer_static"; then
    echo "consumer_static loads the shared library"
    exit 1
fi
expect "$work/consumer_static"
