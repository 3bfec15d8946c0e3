#!/bin/sh
# Runs programs of Rust tests, named by the files in tests/ they were built from, and writes one line a test.
# Usage: report-cargo.sh DIRECTORY NAME...
directory=$1
shift
for name; do
    for program in "$directory/$name"-*; do
        case $program in *.d) continue ;; esac
        "$program" --test-threads 4 2>&1 | tee /dev/stderr |
            sed -n "s|^test \(.*\) \.\.\. ok.*|passed $name::\1|p; s|^test \(.*\) \.\.\. FAILED.*|failed $name::\1|p; s|^test \(.*\) \.\.\. ignored.*|skipped $name::\1|p"
    done
done > "$SUITE_REPORT"
