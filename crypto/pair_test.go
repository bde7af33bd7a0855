package crypto

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

// party is one connection of a person in these tests.
type party struct {
	*Local
	end    End
	person *trust.Person
}

// onceRSA makes the few RSA numbers that all tests share: each takes 50 ms, and many times that
// under the race detector. A key wraps them and is erased alone.
var onceRSA = sync.OnceValues(func() (keys []*rsa.PrivateKey, err error) {
	for range 4 {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
})

// sharedRSA is one of three keys or, if i is negative, one that nobody has.
func sharedRSA(t testing.TB, i int) *rsaKEMKey {
	t.Helper()
	keys, err := onceRSA()
	if err != nil {
		t.Fatal(err)
	}
	private := keys[3]
	if i >= 0 {
		private = keys[i%3]
	}
	return &rsaKEMKey{private: private, public: people.SPKI(t, &private.PublicKey)}
}

// testKeys is a KeySource with RSA keys for many handshakes and no background.
func testKeys(t testing.TB) *KeySource {
	var keys []KEMKey
	first := int(sources.Add(1)) // two sources hand out different numbers at a time
	for i := range 512 {
		keys = append(keys, sharedRSA(t, first+i))
	}
	return FixedKeys(keys...)
}

var sources atomic.Int32

// parties are the parties by name: cards are expensive to make and do not change.
var parties = struct {
	sync.Mutex
	byName map[string]*party
}{byName: map[string]*party{}}

// newParty is a connection of the person of that name, who has a card of the shared lab and one K.
func newParty(t testing.TB, name, conn string, suites ...string) *party {
	t.Helper()
	parties.Lock()
	defer parties.Unlock()
	p := parties.byName[name]
	if p == nil {
		key := people.Key(t, trust.KeyEd25519)
		b := people.Bundle(t, people.Card(t, name), name, key)
		person, err := labVerify(t)(b, name)
		if err != nil {
			t.Fatal(err)
		}
		p = &party{person: person, Local: &Local{Key: key, Bundle: b, Identity: person.Identity, FoldedName: strings.ToLower(name), Takes: proto.TakesMessages}}
		parties.byName[name] = p
	}
	local := *p.Local
	local.Suites, local.Keys = suites, &KeySource{closed: true}
	if len(suites) == 0 {
		local.Suites = SuiteNames()
	}
	if slices.ContainsFunc(local.Suites, func(s string) bool { return s != SuiteMLKEM }) {
		local.Keys = testKeys(t)
	}
	return &party{Local: &local, end: End{Name: name, Conn: conn}, person: p.person}
}

// labVerify is the real check of bundles, at people.Now.
func labVerify(t testing.TB) VerifyFunc {
	t.Helper()
	return people.Verifier(t, people.Now).Verify
}

// to is the `to` list with these parties.
func to(parties ...*party) []Recipient {
	var to []Recipient
	for _, p := range parties {
		to = append(to, Recipient{Name: p.FoldedName, Identity: proto.FormatHash(p.Identity)})
	}
	SortRecipients(to)
	return to
}

// shake is a whole handshake.
func shake(t testing.TB, a, b *party) (ca, cb *Conversation) {
	t.Helper()
	verify := labVerify(t)
	i, p1, err := Initiate(a.Local, a.end, b.end)
	if err != nil {
		t.Fatal(err)
	}
	offer, err := ReadOffer(p1, b.end, a.end)
	if err != nil {
		t.Fatal(err)
	}
	p2, r, _, err := offer.Answer(b.Local, nil, verify)
	if err != nil {
		t.Fatal(err)
	}
	p3, ca, err := i.Phase2(p2, verify)
	if err != nil {
		t.Fatal(err)
	}
	cb, err = r.Phase3(p3)
	if err != nil {
		t.Fatal(err)
	}
	return ca, cb
}

// pair is a conversation, seen from both ends.
type pair struct {
	a, b   *party
	ca, cb *Conversation
}

func newPair(t testing.TB, suite string) *pair {
	t.Helper()
	p := &pair{a: newParty(t, "alice", "a1", suite), b: newParty(t, "bob", "b1", suite)}
	p.ca, p.cb = shake(t, p.a, p.b)
	return p
}

// records are new ones from one party to the other.
func newRecords(from, dst *party, texts ...string) []*Record {
	var records []*Record
	for _, text := range texts {
		records = append(records, NewRecord(from.Identity, to(dst), text, people.Now))
	}
	return records
}

// text seals texts from a to b, or from b to a.
func (p *pair) text(t testing.TB, fromA bool, now time.Time, texts ...string) *Sealed {
	t.Helper()
	c, src, dst := p.ca, p.a, p.b
	if !fromA {
		c, src, dst = p.cb, p.b, p.a
	}
	s, _, err := c.SealRecords(newRecords(src, dst, texts...), now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// take opens and commits; it leaves the body as it is.
func take(t testing.TB, c *Conversation, s *Sealed, now time.Time) *Opened {
	t.Helper()
	o, err := c.Open(bytes.Clone(s.Body), now)
	if err != nil {
		t.Fatal(err)
	}
	c.Commit(o)
	return o
}

func receipt(t testing.TB, c *Conversation, delivered, read uint64, now time.Time) *Sealed {
	t.Helper()
	s, err := c.SealReceipt(delivered, read, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eachSuite runs a test for every suite.
func eachSuite(t *testing.T, f func(t *testing.T, suite string)) {
	for _, name := range SuiteNames() {
		t.Run(name, func(t *testing.T) { f(t, name) })
	}
}

// stateOf is all state that a message may change, to compare two ends or two moments.
func stateOf(c *Conversation) string {
	var b strings.Builder
	sent, ds := c.sent.last()
	received, dr := c.received.last()
	fmt.Fprintf(&b, "send %x %d recv %x %d root %x theirs %x steps %d last %v since %d sent %d %x received %d %x receipts %d %d %d",
		c.send.ck, c.send.n, c.recv.ck, c.recv.n, c.root, c.theirs, c.steps, c.last, c.since, sent, ds, received, dr, c.lastN, c.lastM, c.saidN)
	if c.mine != nil {
		fmt.Fprintf(&b, " mine %x", c.mine.Public())
	}
	return b.String()
}

// forge makes the message that c's side would send next if it were dishonest: any header, any
// plaintext, with right keys and signature. The conversation does not advance.
func forge(c *Conversation, kind string, plaintext []byte, edit func(h *MessageHeader)) []byte {
	h := &MessageHeader{
		Conversation: c.T3[:], Direction: c.SendDirection(), Kind: kind, N: c.send.n, Random: unknownSecret(),
		SrcBundle: c.myHash[:], DstBundle: c.peerHash[:], Time: people.Now.UnixMilli(),
	}
	if edit != nil {
		edit(h)
	}
	header := proto.MustMarshal(h)
	mk, _ := c.send.keys(h.Random)
	return sign(c, header, c.suite.Seal(nil, mk, header, plaintext))
}

// sign makes a body with a right signature of c's side.
func sign(c *Conversation, header, sealed []byte) []byte {
	signature := c.local.Key.Sign(MessageSigns(header, sha256.Sum256(sealed)))
	return slices.Concat(header, []byte("\n"), base64.StdEncoding.AppendEncode(nil, signature), []byte("\n"), sealed)
}

// cutBody takes a message's body apart.
func cutBody(t testing.TB, body []byte) (header, signature, sealed []byte) {
	t.Helper()
	parts := bytes.SplitN(bytes.Clone(body), []byte("\n"), 3)
	if len(parts) != 3 {
		t.Fatalf("a body of %d parts", len(parts))
	}
	return parts[0], parts[1], parts[2]
}

// refused opens a message that must be refused and change nothing.
func refused(t testing.TB, c *Conversation, body []byte, now time.Time) error {
	t.Helper()
	before := stateOf(c)
	o, err := c.Open(bytes.Clone(body), now)
	if err == nil {
		t.Errorf("accepted: %s", o.Exact)
		return nil
	}
	if o != nil {
		t.Error("an error, and a message with it")
	}
	if after := stateOf(c); after != before {
		t.Errorf("a message refused with %q changed the state from\n%s to\n%s", err, before, after)
	}
	return err
}
