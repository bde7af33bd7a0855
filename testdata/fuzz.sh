#!/bin/sh
# Runs every fuzz target of every package, one at a time: each for the time or
# the number of inputs given (30s, 500x). Stops at the first that finds
# something, and says at the end how many inputs there were.
#   testdata/fuzz.sh [TIME [PACKAGE...]]
set -eu
time=${1:-30s}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- ./...
out=$(mktemp)
trap 'rm -f "$out"' EXIT
trap 'exit 1' HUP INT TERM
targets=0 inputs=0
for package in $(go list "$@"); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || :); do
		# A hundred tries to make an input smaller: the default minute for
		# each that is new would leave no time to look for others.
		if ! go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x -parallel "${FUZZPARALLEL:-2}" "$package" >"$out" 2>&1; then
			# A worker that is busy when the time is over is a failure to Go,
			# and none here: https://go.dev/issue/75804.
			if ! grep -q '^ *context deadline exceeded$' "$out" || grep -q 'Failing input\|panic' "$out"; then
				cat "$out"
				echo "*** $package $target has found something ***"
				exit 1
			fi
		fi
		n=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$out" | tail -n 1)
		if [ "${n:-0}" -eq 0 ]; then # there were not more than the seeds
			n=$(sed -n 's/.*baseline coverage: \([0-9]*\)\/.*/\1/p' "$out" | tail -n 1)
		fi
		printf '%10s  %s %s\n' "${n:-0}" "$package" "$target"
		if [ "${n:-0}" -eq 0 ]; then
			cat "$out"
			echo "*** $package $target has run nothing ***"
			exit 1
		fi
		targets=$((targets + 1)) inputs=$((inputs + n))
	done
done
echo "fuzz: $targets targets, $inputs inputs, nothing found"
[ "$targets" -gt 0 ]
