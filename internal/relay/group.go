package relay

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
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
	blank   bool              // not even a comment is in it
}

// maxBadLines bounds the lines that an error names.
const maxBadLines = 5

// readRoster reads a file. Its errors name the lines.
func readRoster(path string) (*roster, error) {
	l := &roster{people: make(map[[32]byte]bool), issuers: make(map[[32]byte]bool)}
	text, err := state.ReadGiven(path, maxRoster)
	if err != nil {
		return nil, err
	}
	l.blank = len(bytes.TrimSpace(text)) == 0
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
		Hint: "a line is an identity of 64 hex digits, or the word issuer and the hex SHA-256 of an authority's public key; " +
			"# begins a comment",
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
func (l *roster) has(identity [32]byte, authorities [][32]byte) bool {
	return l.people[identity] || slices.ContainsFunc(authorities, func(hash [32]byte) bool { return l.issuers[hash] })
}

// maxAuthorities bounds the authorities that a connection keeps. The check of all looks at
// every one.
const maxAuthorities = 64

// authoritiesOf returns the SHA-256 of the SPKI of a person's authorities.
func authoritiesOf(p *trust.Person) (hashes [][32]byte) {
	for _, cert := range p.Authorities {
		hashes = append(hashes, sha256.Sum256(cert.RawSubjectPublicKeyInfo))
	}
	return hashes
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
		former := file.into.Load()
		if err == nil && l.blank && former != nil && former.size() > 0 {
			// An editor empties a file before it writes.
			err = fail.Errorf(proto.Internal, "it is empty, and named people or authorities before; a comment makes that certain")
		}
		if err != nil {
			problems = append(problems, &fileError{file.option, file.path, err})
			continue
		}
		file.into.Store(l)
		g.cfg.Log.Info("read "+file.option, "file", file.path, "people", len(l.people), "issuers", len(l.issuers))
		if file.into == &g.allow && l.size() == 0 {
			g.cfg.Log.Warn("nobody may connect: the file of -allow names nobody", "file", file.path)
		}
		if file.into == &g.deny && l.size() == 0 && former != nil && former.size() > 0 {
			g.cfg.Log.Warn("nobody is shut out any more: the file of -deny names nobody", "file", file.path)
		}
	}
	return problems
}

// admit refuses a person whom the relay does not serve.
func (g *group) admit(identity [32]byte, authorities [][32]byte) *proto.Error {
	if l := g.deny.Load(); l != nil && l.has(identity, authorities) {
		return proto.Errorf(proto.NotAllowed, "the operator of this relay has shut you out")
	}
	if l := g.allow.Load(); l != nil && !l.has(identity, authorities) {
		return proto.Errorf(proto.NotAllowed, "this relay serves a closed group, and you are not in it")
	}
	return nil
}
