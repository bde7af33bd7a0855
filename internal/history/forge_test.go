package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// forger writes a history as anybody can who knows the format. With the owner's K it signs heads.
// It is no History: what a client would never write is its purpose.
type forger struct {
	owner   Owner
	bundle  *trust.Bundle
	key     *trust.Key
	clock   *wire.Clock
	lines   [][]byte
	bundles map[[32]byte]bool
	noHeads bool // it signs none by itself
}

// forge begins a history of a user's.
func forge(u *wire.User, clock *wire.Clock) *forger {
	f := &forger{
		owner: Owner{u.Local.Bundle.Name, u.Local.Identity}, bundle: u.Local.Bundle, key: u.Local.Key, clock: clock,
		bundles: make(map[[32]byte]bool),
	}
	f.line(Line{Type: lineOwner, Name: f.owner.Name, Identity: proto.FormatHash(f.owner.Identity)})
	return f
}

// line writes a line that chains on.
func (f *forger) line(l Line) error {
	l.V, l.Time = version, f.clock.Now().UnixMilli()
	prev := f.last()
	l.Prev = hex.EncodeToString(prev[:])
	f.lines = append(f.lines, proto.MustMarshal(&l))
	return nil
}

func (f *forger) last() (hash [32]byte) {
	if n := len(f.lines); n > 0 {
		return sha256.Sum256(f.lines[n-1])
	}
	return hash
}

// head signs all lines so far.
func (f *forger) head() error {
	hash := f.bundle.Hash()
	f.know(f.bundle)
	signature := f.key.Sign(headSigns(f.last(), f.clock.Now().UnixMilli(), hash))
	return f.line(Line{Type: lineHead, Hash: hash[:], Signature: signature})
}

func (f *forger) know(b *trust.Bundle) {
	if hash := b.Hash(); !f.bundles[hash] {
		f.bundles[hash] = true
		f.line(Line{Type: lineBundle, Hash: hash[:], Bundle: b})
	}
}

func (f *forger) Begin(c *crypto.Conversation, mine *trust.Bundle) error {
	f.know(mine)
	f.know(c.PeerBundle)
	myBundle, theirBundle := c.MyBundle(), c.TheirBundle()
	f.line(Line{
		Type: lineConversation, Conversation: c.T3[:], Suite: c.Suite(), Direction: c.SendDirection(),
		Me:   &End{c.Me.Name, c.Me.Conn, proto.FormatHash(c.MyIdentity()), myBundle[:]},
		Peer: &End{c.Peer.Name, c.Peer.Conn, proto.FormatHash(c.Person.Identity), theirBundle[:]},
	})
	if f.noHeads {
		return nil
	}
	return f.head()
}

func (f *forger) Sent(_ *crypto.Conversation, s *crypto.Sealed, exact [][]byte) error {
	return f.line(Line{
		Type: lineSent, Header: s.Header, CipherHash: s.CipherHash[:], Signature: s.Signature,
		Before: s.Before[:], Records: raw(exact),
	})
}

func (f *forger) Received(_ *crypto.Conversation, o *crypto.Opened) error {
	return f.line(Line{
		Type: lineReceived, Header: o.Exact, CipherHash: o.CipherHash[:], Signature: o.Signature,
		Before: o.Before[:], Records: raw(o.ExactRecords),
	})
}

func (f *forger) Receipt(_ *crypto.Conversation, o *crypto.Opened) error {
	return f.line(Line{
		Type: lineReceipt, Header: o.Exact, CipherHash: o.CipherHash[:], Signature: o.Signature, Receipt: o.ExactReceipt,
	})
}

func (f *forger) Ended(_ *crypto.Conversation, o *crypto.Opened) error {
	f.line(Line{Type: lineEnd, Header: o.Exact, CipherHash: o.CipherHash[:], Signature: o.Signature})
	if f.noHeads {
		return nil
	}
	return f.head()
}

func (f *forger) Pending(r *crypto.Record, names []string) error {
	return f.line(Line{Type: linePending, Run: "00112233445566aa", Names: names, Record: r.Encode()})
}

// mark writes a line about a conversation up to a number.
func (f *forger) mark(typ string, t3 [32]byte, direction string, seq uint64) error {
	return f.line(Line{Type: typ, Conversation: t3[:], Direction: direction, Seq: seq})
}

func raw(exact [][]byte) (records []json.RawMessage) {
	for _, e := range exact {
		records = append(records, json.RawMessage(bytes.Clone(e)))
	}
	return records
}

// write puts the lines into a new directory.
func (f *forger) write(t testing.TB) (dir string) {
	t.Helper()
	return writeLines(t, f.lines)
}

func writeLines(t testing.TB, lines [][]byte) (dir string) {
	t.Helper()
	return writeFile(t, append(bytes.Join(lines, []byte("\n")), '\n'))
}

func writeFile(t testing.TB, data []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, linesName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rechain makes lines chain, as anybody can who knows the format.
func rechain(lines [][]byte) [][]byte {
	var prev [sha256.Size]byte
	var chained [][]byte
	for _, line := range lines {
		line = bytes.Clone(line)
		if _, ok := peekPrev(line); ok {
			hex.Encode(line[len(prevStart):], prev[:])
		}
		prev = sha256.Sum256(line)
		chained = append(chained, line)
	}
	return chained
}
