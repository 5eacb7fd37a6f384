#!/usr/bin/env bash
# Shows that a fuzz target finds a bug: applies tests/planted/TARGET.patch to a copy of the repository, runs the target on the
# committed corpus until it fails, and says after how many executions it did. Needs cargo-fuzz and a nightly compiler.
#
#   fuzz/planted.sh strict_reader|document|appraisal|egress_paths [at most so many seconds, 600]
set -euo pipefail
target=$1 seconds=${2:-600}
case $target in egress_*) words=egress ;; *) words=attestation ;; esac
root=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# What the copy depends on is built once for all targets.
export CARGO_TARGET_DIR=$root/fuzz/target/planted
git -C "$root" archive HEAD | tar -x -C "$copy"
cd "$copy"
git init -q .
git apply "$root/tests/planted/$target.patch"
mkdir -p found
if cargo +nightly fuzz run "$target" found "tests/corpus/$target" -- \
    -dict=src/testing/dictionaries/$words.dict -max_total_time="$seconds" -print_final_stats=1 >log 2>&1; then
    echo "$target: NOT FOUND in $seconds s"
    tail -n 20 log
    exit 1
fi
grep -E "panicked at|^assertion|stat::number_of_executed_units|Test unit written" log || { tail -n 30 log; exit 1; }
