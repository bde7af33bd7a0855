package relay

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// maxRoster bounds the file of a roster in bytes: more lines than the relay keeps
// names.
const maxRoster = 16 << 20

// roster is the content of the file of -allow or -deny: people, and authorities that
// stand for everybody below them. It does not change.
type roster struct {
	people  map[[32]byte]bool // by identity
	issuers map[[32]byte]bool // by the SHA-256 of the SPKI
}

// maxBadLines bounds the lines that an error names.
const maxBadLines = 5

// readRoster reads a file. Its errors name the lines.
func readRoster(path string) (*roster, error) {
	l := &roster{people: make(map[[32]byte]bool), issuers: make(map[[32]byte]bool)}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRoster+1))
	if err == nil && len(text) > maxRoster {
		err = fmt.Errorf("it has more than %d bytes", maxRoster)
	}
	if err != nil {
		return nil, err
	}
	var bad []string
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	lines.Buffer(nil, maxRoster+1)
	for n := 1; lines.Scan() && len(bad) <= maxBadLines; n++ {
		if !l.take(lines.Text()) {
			bad = append(bad, strconv.Itoa(n))
		}
	}
	if len(bad) == 0 {
		return l, lines.Err()
	}
	message := "line " + bad[0] + " names neither a person nor an authority"
	if len(bad) > 1 {
		if len(bad) > maxBadLines {
			bad[maxBadLines] = "more"
		}
		message = "lines " + strings.Join(bad, ", ") + " name neither people nor authorities"
	}
	return nil, &fail.Error{
		Code: proto.Internal, Message: message,
		Hint: "a line is an identity of 64 hex digits, or the word issuer and the hex SHA-256 of an authority's public key; # begins a comment",
	}
}

// take enters one line, and reports whether it is well formed.
func (l *roster) take(line string) bool {
	line, _, _ = strings.Cut(line, "#")
	words, into := strings.Fields(line), l.people
	if len(words) == 0 {
		return true
	}
	if len(words) == 2 && words[0] == "issuer" {
		words, into = words[1:], l.issuers
	}
	hash, err := hex.DecodeString(words[0])
	if len(words) != 1 || err != nil || len(hash) != sha256.Size {
		return false
	}
	into[[32]byte(hash)] = true
	return true
}

func (l *roster) size() int { return len(l.people) + len(l.issuers) }

// has reports whether the roster names a person, or one of the person's authorities.
func (l *roster) has(identity [32]byte, authorities []*x509.Certificate) bool {
	if l.people[identity] {
		return true
	}
	return len(l.issuers) > 0 && slices.ContainsFunc(authorities, func(cert *x509.Certificate) bool {
		return l.issuers[sha256.Sum256(cert.RawSubjectPublicKeyInfo)]
	})
}

// group holds the people that the relay serves. Without a file of -allow it serves
// everybody whom -deny does not name.
type group struct {
	cfg         *Config
	allow, deny atomic.Pointer[roster] // nil without the option
}

// read reads the files again. A file with a fault keeps its former content.
func (g *group) read() (problems []*fileError) {
	for _, file := range []struct {
		option, path string
		into         *atomic.Pointer[roster]
	}{{"-allow", g.cfg.Allow, &g.allow}, {"-deny", g.cfg.Deny, &g.deny}} {
		if file.path == "" {
			continue
		}
		l, err := readRoster(file.path)
		if err != nil {
			problems = append(problems, &fileError{file.option, file.path, err})
			continue
		}
		file.into.Store(l)
		g.cfg.Log.Info("read "+file.option, "file", file.path, "people", len(l.people), "issuers", len(l.issuers))
		if file.into == &g.allow && l.size() == 0 {
			g.cfg.Log.Warn("nobody may connect: the file of -allow names nobody", "file", file.path)
		}
	}
	return problems
}

// denies reports whether -deny names a person.
func (g *group) denies(identity [32]byte, authorities []*x509.Certificate) bool {
	l := g.deny.Load()
	return l != nil && l.has(identity, authorities)
}

// admit refuses a person whom the relay does not serve.
func (g *group) admit(identity [32]byte, authorities []*x509.Certificate) error {
	if g.denies(identity, authorities) {
		return shutOut()
	}
	if l := g.allow.Load(); l != nil && !l.has(identity, authorities) {
		return proto.Errorf(proto.NotAllowed, "this relay serves a closed group, and you are not in it")
	}
	return nil
}

func shutOut() *proto.Error {
	return proto.Errorf(proto.NotAllowed, "the operator of this relay has shut you out")
}
