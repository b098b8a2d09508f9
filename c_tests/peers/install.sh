#!/bin/sh
# install.sh FOLDER: put the Forward servers of other authors, at the versions of package-lock.json,
# into FOLDER, together with the programs of this folder that start them. Does nothing if they are
# there already.
set -eu
source=$(cd "$(dirname "$0")" && pwd)
folder=$1
mkdir -p "$folder"

find "$source" -maxdepth 1 -name '*.js' -exec cp {} "$folder" \;
if [ -d "$folder/node_modules" ] &&
    cmp -s "$source/package-lock.json" "$folder/package-lock.json"; then
    echo "already installed"
    exit 0
fi
rm -rf "$folder/node_modules"
cp "$source/package.json" "$folder"
# The lock file comes last: it says that the installation ended well.
mkdir -p "$folder/.new"
cp "$source/package.json" "$source/package-lock.json" "$folder/.new"
npm ci --prefix "$folder/.new" --ignore-scripts --no-audit --no-fund </dev/null
mv "$folder/.new/node_modules" "$folder/node_modules"
cp "$source/package-lock.json" "$folder/package-lock.json"
rm -rf "$folder/.new"
