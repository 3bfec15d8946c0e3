#!/bin/sh
# Runs programs of Rust tests, named by the files in tests/ they were built from, and writes one line a test.
# Usage: report-cargo.sh DIRECTORY NAME...
directory=$1
shift
for name; do
    for program in "$directory/$name"-*; do
        case $program in *.d) continue ;; esac
        "$program" --test-threads 4 2>&1 | awk -v name="$name" '
            { print > "/dev/stderr" }
            /^test .* \.\.\. (ok|FAILED|ignored)/ {
                outcome = / \.\.\. ok/ ? "passed" : / \.\.\. FAILED/ ? "failed" : "skipped"
                sub(/^test /, "")
                sub(/ \.\.\. .*/, "")
                print outcome " " name "::" $0
            }
        '
    done
done > "$SUITE_REPORT"
