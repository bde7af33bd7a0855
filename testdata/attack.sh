#!/bin/sh
# Runs all tests of attacks, and those that break a session at every place,
# with everything tried of which go test tries a sample, and says how much that
# was. The argument bounds each package's time.
# Not under the race detector: `make test` has that, and this is ten times as
# much work.
set -eu
cd "$(dirname "$0")/.."
status=$(mktemp)
trap 'rm -f "$status"' EXIT
start=$(date +%s)
{
	CHATSECURE_ATTACK=1 go test -count=1 -v -timeout "${1:-30m}" -run 'Attack|Row|Schedules|FaultyTransport|SessionCut' ./... 2>&1 && echo passed >"$status" || :
} | awk '
	/^=== / || /^ +--- PASS/ || /no test files|no tests to run/ { next }
	{ print; fflush() }
	/: tried [0-9]+ of [0-9]+ in / { for (i = 1; i < NF; i++) if ($i == "tried") { tried += $(i + 1); of += $(i + 3) } }
	END { printf "row 12: %d wrong forms tried, of %d positions\n", tried, of }'
echo "all attacks: $(($(date +%s) - start)) s"
test -s "$status"
