#!/bin/sh
# Runs all tests of attacks, and those that break a session at every place,
# with everything tried of which go test tries a sample, and says how much that
# was. A sweep that has lost its positions passes by itself: so this fails where
# nothing was tried of something, or too little in all. The argument bounds each
# package's time.
# Not under the race detector: `make test` has that, and this is ten times as
# much work.
set -eu
cd "$(dirname "$0")/.."
status=$(mktemp)
trap 'rm -f "$status"' EXIT
trap 'echo "attack.sh was interrupted: what it has not said it has not tried" >&2; exit 130' INT
trap 'echo "attack.sh was ended: what it has not said it has not tried" >&2; exit 143' TERM
# A whole run tries some 247,800 forms.
least=200000
start=$(date +%s)
{
	CHATSECURE_ATTACK=1 go test -count=1 -v -timeout "${1:-45m}" -run 'Attack|Row|Schedules|FaultyTransport|SessionCut|HistoryEveryByte' ./... 2>&1 && echo passed >"$status" || :
} | awk -v least=$least '
	BEGIN { suites = split("MLKEM768X25519_AES256_GCM RSA_AES256_CBC_HMAC RSA_AES128_CBC_HMAC", suite) }
	/^=== / || /^ +--- PASS/ || /no test files|no tests to run/ { next }
	{ print; fflush() }
	/: tried [0-9]+ of [0-9]+ in / { for (i = 1; i < NF; i++) if ($i == "tried") {
		tried += $(i + 1); of += $(i + 3)
		if ($(i + 1) == 0) { print "nothing was tried: " $0; bad = 1 }
		for (k in suite) if (index($0, suite[k])) by[k] += $(i + 1)
	} }
	END {
		printf "row 12: %d wrong forms tried, of %d positions\n", tried, of
		for (k = 1; k <= suites; k++) if (!by[k]) { print "nothing was tried of " suite[k]; bad = 1 }
		if (tried < least) { printf "that is too few: a whole run tries more than %d\n", least; bad = 1 }
		exit bad
	}' || bad=1
echo "all attacks: $(($(date +%s) - start)) s"
test -z "${bad-}" && test -s "$status"
