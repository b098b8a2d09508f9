#!/bin/sh
# valgrind.sh PROGRAM [ARG...]: run a test under valgrind's memcheck, and fail on an error, a leak
# of memory, or a descriptor that the program opened and left open at its end (which valgrind 3.19
# reports but does not count).
set -u
log=$(mktemp "${TMPDIR:-/tmp}/upstream-valgrind.XXXXXX") || exit 1
trap 'rm -f "$log"' EXIT

# A forked child writes nothing to the log; its parent sees by the exit status what went wrong.
valgrind --quiet --error-exitcode=99 \
    --leak-check=full --errors-for-leak-kinds=definite,indirect,possible \
    --track-fds=yes --child-silent-after-fork=yes --num-callers=30 \
    --log-file="$log" "$@"
status=$?

# An open descriptor is a line "Open ...". The next line says where it was opened, or that it was
# inherited.
report=$(sed -e '/^==[0-9]*== Open /{' -e N -e '/inherited from parent/d' -e '}' "$log")
if printf '%s\n' "$report" | grep -q '^==[0-9]*== Open '; then
    echo "Descriptors were left open at exit:" >&2
    [ "$status" -ne 0 ] || status=98
fi
[ "$status" -eq 0 ] || printf '%s\n' "$report" >&2
exit "$status"
