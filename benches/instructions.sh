#!/usr/bin/env bash
# How many instructions each of the five hot operations takes, at one thousand workers, under callgrind: a number that
# does not depend on what else the machine does. Compared with benches/instructions.txt; `--write` replaces that.
#
# Wall time is not what this says: digests count here as they run without the processor's own instructions for them.
set -euo pipefail
cd "$(dirname "$0")/.."

tolerance=5 # percent
count=640
operations=(heartbeat acquire renew complete nothing_due)
baseline=benches/instructions.txt

command -v valgrind >/dev/null || { echo "instructions: valgrind is not installed" >&2; exit 1; }
bench=$(cargo bench --locked --bench fleet --no-run 2>&1 | sed -n 's/.*Executable benches\/fleet.rs (\(.*\))/\1/p')
[ -x "$bench" ] || { echo "instructions: the bench was not built" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT

measure() {
    local operation=$1 made total
    # Only what happens inside of the meter is counted.
    made=$(valgrind --tool=callgrind --callgrind-out-file="$scratch/out" --collect-atstart=no \
        --toggle-collect='*measured_region*' "$bench" --instructions "$operation" "$count" 2>"$scratch/log")
    total=$(sed -n 's/^.*Collected : \([0-9]*\).*$/\1/p' "$scratch/log")
    [ -n "$total" ] && [ "$total" -gt 0 ] || { cat "$scratch/log" >&2; return 1; }
    echo $((total / made))
}

failed=0
for operation in "${operations[@]}"; do
    now=$(measure "$operation")
    if [ "${1:-}" = --write ]; then
        echo "$operation $now"
        continue
    fi
    was=$(sed -n "s/^$operation //p" "$baseline")
    [ -n "$was" ] || { echo "instructions: $baseline does not have $operation" >&2; exit 1; }
    if [ $((now * 100)) -gt $((was * (100 + tolerance))) ]; then
        verdict="more than $tolerance % above the baseline"
        failed=1
    elif [ $((now * 100)) -lt $((was * (100 - tolerance))) ]; then
        verdict="better; write it down with benches/instructions.sh --write"
    else
        verdict="as before"
    fi
    printf '%-12s %7d instructions, baseline %7d: %s\n' "$operation" "$now" "$was" "$verdict"
done >"$scratch/table"
[ "${1:-}" = --write ] && cp "$scratch/table" "$baseline"
cat "$scratch/table"
exit $failed
