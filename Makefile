# ChatSecure. `make demo` shows it working, `make test` proves it.

VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo dev)
GOFLAGS_BUILD := -trimpath -ldflags "-X main.version=$(VERSION)"
# ./... does not reach into testdata.
TESTDATA := $(addprefix ./,$(sort $(dir $(shell git ls-files 'testdata/*.go'))))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME := 30s
SOAK := 1h

# What make check leaves to make test: each takes more than three seconds, and
# all of them together most of the time.
SLOW := TestSchedules|TestPipeOfAGiB|TestPipeKilledHalfWay|TestTrustByPrograms|TestRow20ListsByPrograms|TestNothingPassesInClear|TestOnlyPipesAreLinked|TestRevokedWhileTalking|TestFaultyTransport|TestAttack28KilledAtRandom|TestSecondClient.*|TestRelayDiesAgainAndAgain|TestBadNetwork|TestSoftHSM.*|TestBatchNever.*|TestAttack02.*|TestAttack06SuiteOfAPeer|TestAttack09Reflection|TestAttack10.*|TestAttack12.*|TestAttack18.*|TestAttack22SecureLines|TestAttack25FullDisk|TestAttack25LettersFullDisk|TestAttack28LettersKilled|TestAttack29LettersFromABackup|TestLettersTwoDevices|TestLettersAtTwoPrompts|TestAttack26.*|TestHistoryHeld|TestUnshownIsHeldBack|TestSuitesAndKeys|TestProofEveryByte|TestCRL|TestAtATerminal|TestTmux.*

.PHONY: build demo deps check test attack soak bench fuzz lint lint-go clean

build:
	go build $(GOFLAGS_BUILD) -o bin/ ./cmd/relay ./cmd/client

demo: build
	sh testdata/demo.sh

# What the tests need and a bare machine lacks: SoftHSM2.
deps:
	sh testdata/deps.sh

# For every commit: no race detector, and none of the slow tests.
check: lint-go
	go test -skip '^($(SLOW))$$' ./... $(TESTDATA)

test: deps build lint-go
	sh testdata/test.sh -race -timeout 40m ./... $(TESTDATA)

lint-go:
	out=$$(gofmt -s -l $$(git ls-files '*.go')) && if [ -n "$$out" ]; then echo "gofmt -s would change: $$out" >&2; exit 1; fi
	go vet ./... $(TESTDATA)
	go vet -tags soak ./internal/attack
	CGO_ENABLED=0 go build -o /dev/null ./cmd/client

# Also what the programs are made of: see testdata/supply.sh.
lint: lint-go
	go run $(STATICCHECK) ./... $(TESTDATA)
	go run $(STATICCHECK) -tags soak ./internal/attack
	sh testdata/supply.sh

# Every attack, and all of those of which make test tries a sample.
attack: deps
	sh testdata/attack.sh 45m

# Each beside a program that does less. BENCH_OLD=COMMIT measures by turns with a
# commit of wire format 1, too: see testdata/bench.sh.
bench: build
	sh testdata/bench.sh $(BENCH_OLD)

# 200 clients that come, talk, pipe, leave and are killed: SOAK=2m for a try,
# CHATSECURE_SOAK_SEED=N for the clients of another run.
soak:
	CHATSECURE_SOAK=$(SOAK) go test -tags soak -run '^TestSoak$$' -count 1 -v -timeout 0 ./internal/attack

# Every fuzz target, one after the other.
fuzz:
	sh testdata/fuzz.sh $(FUZZTIME) ./...

clean:
	rm -rf bin lab
