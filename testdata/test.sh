#!/bin/sh
# Runs go test -v with these arguments. It prints a line a package, each test that
# was skipped with its reason, each part that could not be checked on this machine
# (the lines in stars), and everything about a failure. go test alone hides the
# output of packages that pass, and with it those reasons.
set -eu
cd "$(dirname "$0")/.."
mkdir -p bin
log=bin/test.log
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT
{ go test -v "$@" 2>&1 || echo "$?" >"$failed"; } | tee "$log" | awk '
	/^ *--- SKIP/ { print before }
	/^ *--- (SKIP|FAIL)/ || /^\*\*\*/ || /^(ok|FAIL|panic|\?)/ { print; fflush() }
	{ before = $0 }'
if [ -s "$failed" ]; then
	echo "== All that was said, but for tests that pass (whole: $log)"
	grep -v '^=== \|^ *--- PASS\|^PASS$' "$log"
	# Once more, last and alone: of a long output only the end may be kept.
	echo "== The tests that failed"
	grep -B 60 '^ *--- FAIL' "$log" | grep -v '^=== \|^ *--- PASS\|^PASS$\|spoil.go:' | tail -n 200
	exit 1
fi
