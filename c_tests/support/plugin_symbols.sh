#!/bin/sh
# plugin_symbols.sh PLUGIN ENTRY LIBRARIES [HOST_SYMBOLS]: a plugin must export only its entry
# points (ENTRY: names separated by blanks). It may need only LIBRARIES (prefixes) and those of the
# C runtime, may take only symbols that these have or that match HOST_SYMBOLS, and must contain
# msgpack, bound inside. Reads the file; runs nothing of it.
set -eu
plugin=$1 entry=$2 libraries=$3 host=${4:-'^$'}
failed=0
complain() {
    printf '%s\n' "$*"
    failed=1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '%s\n' $entry | LC_ALL=C sort >"$work/entry"
nm -D --defined-only "$plugin" | awk '{ print $NF }' | LC_ALL=C sort -u >"$work/exported"
cmp -s "$work/entry" "$work/exported" || complain "exported:" $(cat "$work/exported")

dynamic=$(readelf -dW "$plugin")
needed=$(echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p')
for library in $needed; do
    for known in libc.so libm.so libpthread.so ld-linux $libraries; do
        case $library in "$known"*) continue 2 ;; esac
    done
    complain "needs $library"
done
echo "$needed" | grep -q '^libupstream\.so' || complain "does not need libupstream"
echo "$dynamic" | grep -q SYMBOLIC || complain "not linked with -Bsymbolic"

# What it leaves open must be in a library that it names itself, or be the host's.
ldd "$plugin" | awk '$3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' >"$work/libraries"
xargs nm -D --defined-only <"$work/libraries" 2>/dev/null |
    awk 'NF >= 3 { sub(/@.*/, "", $NF); print $NF }' |
    LC_ALL=C sort -u >"$work/offered"
nm -D --undefined-only "$plugin" | awk '$1 == "U" { sub(/@.*/, "", $NF); print $NF }' |
    LC_ALL=C sort -u >"$work/wanted"
open=$(LC_ALL=C comm -23 "$work/wanted" "$work/offered" | grep -vE "$host" || true)
[ -z "$open" ] || complain "nobody offers:" $open
grep -q '^upstream_deliver$' "$work/wanted" ||
    complain "does not take upstream_deliver from libupstream"

# msgpack is in it, and no other library's can take its place.
nm -D "$plugin" | grep -q msgpack && complain "msgpack is seen from outside"
nm "$plugin" | grep -qE ' [tT] msgpack_unpack' || complain "msgpack is not inside"

[ "$failed" -ne 0 ] ||
    echo "$(wc -l <"$work/exported") entry points, $(wc -l <"$work/wanted") names from outside," \
        "msgpack inside"
exit "$failed"
