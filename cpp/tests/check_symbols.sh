#!/bin/sh
# check_symbols.sh NM OBJECT...
# Each object of an instruction set may define one global symbol, its kernel table, and no weak one.
# A weak symbol (an inline or template function with linkage) would be merged with its twin from a
# plainer object, and the linker may keep the copy that an older processor cannot run.
set -eu
export LC_ALL=C
[ $# -ge 2 ] || { echo "usage: $0 NM OBJECT..." >&2; exit 2; }
nm=$1
shift
status=0
for object in "$@"; do
    # Columns: name, type, value, size. Upper case: global; U, v, w: undefined; W, V, u: weak or unique.
    symbols=$("$nm" -P "$object")
    weak=$(printf '%s\n' "$symbols" | awk '$2 ~ /^[WVu]$/')
    global=$(printf '%s\n' "$symbols" | awk '$2 ~ /^[A-TX-Z]$/ && $1 !~ /^__odr_asan\./')
    count=$(printf '%s' "$global" | grep -c . || true)
    if [ -n "$weak" ]; then
        printf '%s defines weak symbols:\n%s\n' "$object" "$weak" >&2
        status=1
    fi
    if [ "$count" -ne 1 ]; then
        printf '%s defines %s global symbols, expected 1:\n%s\n' "$object" "$count" "$global" >&2
        status=1
    fi
done
exit $status
