#!/bin/sh
# Runs ava, which it is given, on the tests of a suite in TypeScript and writes one line a test.
# Usage: report-ava.sh AVA [ARGUMENT...]
export NODE_OPTIONS=--import=tsx/esm
node "$@" --tap --concurrency 2 | awk '
    { print > "/dev/stderr" }
    # Not a test: an error nobody caught, or how its process ended.
    !/ › / { next }
    /^ok .* # (SKIP|TODO)$/ { sub(/^ok [0-9]+ - /, ""); sub(/ # (SKIP|TODO)$/, ""); print "skipped " $0 }
    /^ok / { sub(/^ok [0-9]+ - /, ""); print "passed " $0 }
    /^not ok / { sub(/^not ok [0-9]+ - /, ""); print "failed " $0 }
' > "$SUITE_REPORT"
