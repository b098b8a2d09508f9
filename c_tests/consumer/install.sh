#!/bin/sh
# install.sh BUILD STAGE CMAKE CPACK: put the library of BUILD below STAGE in each way a user may
# get it. `stayed`: installed. `somewhere/moved`: installed and then moved, so that a fixed path is
# found. `unpacked`: from the archives. `debian/usr`: from the Debian packages, if this system can
# unpack them.
set -eu
# Not by the environment: cpack asks cargo once more, and build scripts that see another CC or CMAKE
# compile anew.
build=$1 stage=$2 cmake=$3 cpack=$4
rm -rf "$stage"
mkdir -p "$stage/somewhere" "$stage/unpacked" "$stage/debian"

"$cmake" --install "$build" --prefix "$stage/stayed"
"$cmake" --install "$build" --prefix "$stage/first-place"
mv "$stage/first-place" "$stage/somewhere/moved"

(cd "$build" && "$cpack" -G "TGZ;DEB" -B "$stage/packages")
for part in runtime devel; do
    tar -xzf "$stage/packages/"*-"$part.tar.gz" -C "$stage/unpacked"
done
if command -v dpkg-deb >/dev/null; then
    for part in libupstream0 libupstream-dev; do
        dpkg-deb -x "$stage/packages/$part"_*.deb "$stage/debian"
    done
    # A program must run with the runtime package alone.
    if dpkg-deb --contents "$stage/packages/libupstream0"_*.deb |
        grep -E '\.(h|a|cmake|pc)$|libupstream\.so( |$)'; then
        echo "These belong into libupstream-dev."
        exit 1
    fi
fi
rm -rf "$stage/packages"

if grep -rlIF -e "$stage" -e "$build" "$stage"; then
    echo "These installed files name the folder they were built or installed in."
    exit 1
fi
