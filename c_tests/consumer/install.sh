#!/bin/sh
# install.sh BUILD STAGE: install BUILD twice, below STAGE. One copy stays where it was put, the other is moved after it
# was installed, so that a path kept from the installation would be seen.
set -eu
build=$1 stage=$2
rm -rf "$stage"
"$CMAKE" --install "$build" --prefix "$stage/stayed"
"$CMAKE" --install "$build" --prefix "$stage/first-place"
mkdir "$stage/somewhere"
mv "$stage/first-place" "$stage/somewhere/moved"

if grep -rlIF -e "$stage" -e "$build" "$stage"; then
    echo "These installed files name the folder they were built or installed in."
    exit 1
fi
