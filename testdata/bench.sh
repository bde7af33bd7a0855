#!/bin/sh
# Measures, beside programs that do less, and with a commit of wire format 1 as argument
# by turns with that commit as well.
set -eu
cd "$(dirname "$0")/.."
if [ "${1-}" ]; then
	dir=$(mktemp -d)
	trap 'git worktree remove --force "$dir"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	git worktree add -q --detach "$dir" "$1"
	export BENCH_OLD_DIR="$dir"
fi
go test -run '^$' -bench . -skip '^BenchmarkCRL$' -benchtime 1s -timeout 60m ./...
# By itself: the memory of its process is measured.
go test -run '^$' -bench '^BenchmarkCRL$' ./crypto/trust
