#!/bin/sh
# snippets.sh FILE CC FLAGS...: each block of C in a Markdown file compiles by itself.
set -eu
file=$1
shift
folder=$(mktemp -d "${TMPDIR:-/tmp}/upstream-snippets.XXXXXX")
trap 'rm -rf "$folder"' EXIT
awk -v folder="$folder" '
    /^```c$/ { name = sprintf("%s/%02d.c", folder, ++count); next }
    /^```/ { name = "" }
    name != "" { print > name }
' "$file"
found=0
for snippet in "$folder"/*.c; do
    [ -e "$snippet" ] || break
    echo "block $((found += 1)) of $file"
    "$@" "$snippet"
done
[ "$found" -gt 0 ]
