#!/bin/sh
# exports.sh LIBRARY HEADER SONAME CC: the shared object must export the header's functions and
# nothing else, carry its soname, stay mapped after dlclose, and be optimised as one program. Reads
# the files; runs nothing of the library.
set -eu
library=$1 header=$2 soname=$3 cc=$4
failed=0
complain() {
    printf '%s\n' "$*"
    failed=1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The preprocessor takes the comments out; "(*" belongs to the type of a function pointer.
"$cc" -E -P -I"$(dirname "$(dirname "$header")")" "$header" |
    grep -oE '\bupstream_[a-z0-9_]+ ?\([^*]' | sed 's/ *(.*//' |
    LC_ALL=C sort -u >"$work/declared"
nm -D --defined-only "$library" | awk '{ print $NF }' | LC_ALL=C sort -u >"$work/exported"
[ -s "$work/declared" ] || complain "no function was found in $header"

missing=$(LC_ALL=C comm -23 "$work/declared" "$work/exported")
extra=$(LC_ALL=C comm -13 "$work/declared" "$work/exported")
[ -z "$missing" ] || complain "declared in the header, not exported:" $missing
[ -z "$extra" ] || complain "exported, not in the header:" $extra

dynamic=$(readelf -dW "$library")
echo "$dynamic" | grep -qF "Library soname: [$soname]" || complain "the soname is not $soname"
echo "$dynamic" | grep -E 'FLAGS_1' | grep -q NODELETE || complain "not linked with -z nodelete"

# Each unit of Rust code leaves its name in the symbol table. Optimised as one program there is a
# single one, ours; otherwise rustls, std and the others keep theirs. (The compiler's own runtime is
# always apart.)
units=$(readelf -sW "$library" | awk '$4 == "FILE" && $8 ~ /-cgu\.[0-9]+$/ { print $8 }')
echo "$units" | grep -q '^upstream\.' ||
    complain "the symbol table names no unit of this library: was it stripped?"
apart=$(echo "$units" | grep -vE '^(upstream|compiler_builtins)\.' || true)
[ -z "$apart" ] || complain "no link-time optimisation: these were compiled apart:" $apart

[ "$failed" -ne 0 ] ||
    echo "$(wc -l <"$work/exported") functions, soname $soname, nodelete, optimised as one"
exit "$failed"
