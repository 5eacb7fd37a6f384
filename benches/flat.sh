#!/usr/bin/env bash
# How many instructions each step of `identity` and `dispatch` takes in a small world and in a large one, under
# callgrind: whether the work grows with the fleet. Fails beyond 3 percent.
#
#   benches/flat.sh [SMALL [LARGE]]   1000 and 125000 where nothing is said: tables are filled alike at both, half
#
# Digests count here as they run without the processor's own instructions for them.
set -euo pipefail
cd "$(dirname "$0")/.."

sizes=("${1:-1000}" "${2:-125000}")
tolerance=3 # percent
count=4096

command -v valgrind >/dev/null || { echo "flat: valgrind is not installed" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT

# measure BENCH STEP SIZE: only what happens inside of the measured region is counted.
measure() {
    local made total
    made=$(valgrind --tool=callgrind --callgrind-out-file="$scratch/out" --collect-atstart=no \
        --toggle-collect='*measured_region*' "$1" --instructions "$2" "$3" "$count" 2>"$scratch/log")
    total=$(sed -n 's/^.*Collected : \([0-9]*\).*$/\1/p' "$scratch/log")
    [ -n "$total" ] && [ "$total" -gt 0 ] || { cat "$scratch/log" >&2; return 1; }
    echo $((total / made))
}

failed=0
flat() {
    local name=$1 bench step small large verdict
    shift
    bench=$(cargo bench --locked --bench "$name" --no-run 2>&1 | sed -n "s/.*Executable benches\/$name.rs (\(.*\))/\1/p")
    [ -x "$bench" ] || { echo "flat: the bench $name was not built" >&2; exit 1; }
    for step in "$@"; do
        small=$(measure "$bench" "$step" "${sizes[0]}")
        large=$(measure "$bench" "$step" "${sizes[1]}")
        verdict=flat
        if [ $((large * 100)) -gt $((small * (100 + tolerance))) ]; then
            verdict="more than $tolerance % more"
            failed=1
        fi
        printf '%-42s %7d instructions at %d, %7d at %d: %s\n' \
            "$step" "$small" "${sizes[0]}" "$large" "${sizes[1]}" "$verdict"
    done
}

flat identity authenticate authenticate_fingerprint authenticate_with_revocations \
    authenticate_fingerprint_with_revocations
flat dispatch enqueue enqueue_any dispatch complete
exit $failed
