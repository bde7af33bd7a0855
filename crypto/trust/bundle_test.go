package trust

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// bytesBundle is a bundle of fixed bytes, for tests that do not parse it.
func bytesBundle() *Bundle {
	return &Bundle{
		Name: "Ana", PublicKey: []byte("key"), NotBefore: 1000, NotAfter: 2000, Mailbox: []byte{},
		Signature: []byte("signature"), X509: []byte("leaf"), Chain: [][]byte{[]byte("issuer"), []byte("root")},
	}
}

func TestBundleCheck(t *testing.T) {
	day, fortnight := int64(MaxDelegation/time.Second), int64(14*24*3600)
	mailbox := func(size int, end int64) func(*Bundle) {
		return func(b *Bundle) { b.Mailbox, b.MailboxEnd = make([]byte, size), end }
	}
	for _, test := range []struct {
		name string
		edit func(*Bundle)
		code proto.Code // "" if it passes
	}{
		{"good", func(*Bundle) {}, ""},
		{"no issuers", func(b *Bundle) { b.Chain = [][]byte{} }, ""},
		{"24 hours", func(b *Bundle) { b.NotAfter = b.NotBefore + day }, ""},
		{"one second", func(b *Bundle) { b.NotAfter = b.NotBefore }, ""},
		{"eight certificates", func(b *Bundle) { b.Chain = make8(7, 100) }, ""},
		{"20 KiB", func(b *Bundle) { b.Chain = [][]byte{make([]byte, MaxChainBytes-len(b.X509))} }, ""},
		{"null chain", func(b *Bundle) { b.Chain = nil }, proto.BundleMalformed},
		{"nine certificates", func(b *Bundle) { b.Chain = make8(8, 100) }, proto.BundleMalformed},
		{"1,000 certificates", func(b *Bundle) { b.Chain = make8(999, 1) }, proto.BundleMalformed},
		{"20 KiB and one", func(b *Bundle) { b.Chain = [][]byte{make([]byte, MaxChainBytes-len(b.X509)+1)} }, proto.BundleMalformed},
		{"large leaf", func(b *Bundle) { b.X509 = make([]byte, MaxChainBytes+1) }, proto.BundleMalformed},
		{"no leaf", func(b *Bundle) { b.X509 = nil }, proto.BundleMalformed},
		{"empty certificate", func(b *Bundle) { b.Chain[0] = []byte{} }, proto.BundleMalformed},
		{"no name", func(b *Bundle) { b.Name = "" }, proto.BundleMalformed},
		{"name of 10 kB", func(b *Bundle) { b.Name = strings.Repeat("x", 10000) }, proto.BundleMalformed},
		{"name not UTF-8", func(b *Bundle) { b.Name = "\xff" }, proto.BundleMalformed},
		{"no key", func(b *Bundle) { b.PublicKey = nil }, proto.BundleMalformed},
		{"large key", func(b *Bundle) { b.PublicKey = make([]byte, maxSPKI+1) }, proto.BundleMalformed},
		{"no signature", func(b *Bundle) { b.Signature = nil }, proto.BundleMalformed},
		{"large signature", func(b *Bundle) { b.Signature = make([]byte, maxDelegationSignature+1) }, proto.BundleMalformed},
		{"negative time", func(b *Bundle) { b.NotBefore = -1 }, proto.BundleMalformed},
		{"both negative", func(b *Bundle) { b.NotBefore, b.NotAfter = -10, -5 }, proto.BundleMalformed},
		{"least time", func(b *Bundle) { b.NotBefore = -1 << 63 }, proto.BundleMalformed},
		{"greatest time", func(b *Bundle) { b.NotAfter = 1<<63 - 1 }, proto.BundleMalformed},
		{"year 10000", func(b *Bundle) { b.NotBefore, b.NotAfter = 253402300800, 253402300900 }, proto.BundleMalformed},
		{"over 24 hours", func(b *Bundle) { b.NotAfter = b.NotBefore + day + 1 }, proto.DelegationInvalid},
		{"a mailbox", mailbox(32, 1001), ""},
		{"a mailbox of 14 days", mailbox(32, 1000+fortnight), ""},
		{"null mailbox", func(b *Bundle) { b.Mailbox = nil }, proto.BundleMalformed},
		{"null mailbox with an end", func(b *Bundle) { b.Mailbox, b.MailboxEnd = nil, 2000 }, proto.BundleMalformed},
		{"mailbox of 31 bytes", mailbox(31, 2000), proto.BundleMalformed},
		{"mailbox of 33 bytes", mailbox(33, 2000), proto.BundleMalformed},
		{"mailbox of one byte", mailbox(1, 2000), proto.BundleMalformed},
		{"mailbox without an end", mailbox(32, 0), proto.BundleMalformed},
		{"an end without a mailbox", mailbox(0, 2000), proto.BundleMalformed},
		{"a negative end without a mailbox", mailbox(0, -1), proto.BundleMalformed},
		{"mailbox that ends at once", mailbox(32, 1000), proto.DelegationInvalid},
		{"mailbox that ended before", mailbox(32, 999), proto.DelegationInvalid},
		{"mailbox with a negative end", mailbox(32, -1), proto.BundleMalformed},
		{"mailbox with the least end", mailbox(32, -1<<63), proto.BundleMalformed},
		{"mailbox of 14 days and a second", mailbox(32, 1001+fortnight), proto.DelegationInvalid},
		{"mailbox with the greatest end", mailbox(32, 1<<63-1), proto.BundleMalformed},
		{"backwards", func(b *Bundle) { b.NotAfter = b.NotBefore - 1 }, proto.DelegationInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := bytesBundle()
			test.edit(b)
			err := b.Check()
			if test.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantCode(t, err, test.code)
		})
	}
}

// withMailbox names a mailbox of a week.
func withMailbox(b *Bundle) {
	b.Mailbox, b.MailboxEnd = bytes.Repeat([]byte{0xb0}, sha256.Size), labNow.AddDate(0, 0, 7).Unix()
}

func make8(n, size int) [][]byte {
	chain := make([][]byte, n)
	for i := range chain {
		chain[i] = bytes.Repeat([]byte{byte(i + 1)}, size)
	}
	return chain
}

// FuzzBundleJSON: a decoded bundle is in its one form, and its verification gives an error that can
// be shown. The input is tried as it is, and spliced into a good bundle, of which only the chain is
// not under the card's signature.
func FuzzBundleJSON(f *testing.F) {
	p := testLab(f)
	good := delegate(f, issue(f, p, "Ana"), withMailbox)
	text := proto.MustMarshal(good)
	v := verifierAt(trustOf(f, p.Root.Cert), nil, PolicyTry, labNow)
	if _, err := v.Verify(good, "Ana"); err != nil {
		f.Fatal(err)
	}
	bare := proto.MustMarshal(bytesBundle())
	corpus.Check(f, len(text)) // the bundle around the splice is good, as Verify has just shown
	seeds := [][]byte{
		text, bare, []byte("{}"), []byte("null"), []byte("[]"), []byte("00"), []byte("A"), []byte(`"name":"Bruno",`),
		bytes.Replace(bare, []byte("1000"), []byte("-1"), 1),
		bytes.Replace(bare, []byte("name"), []byte("Name"), 1),
		[]byte(`{"name":"a","public_key":null,"not_before":0,"not_after":0,"mailbox":null,"mailbox_end":0,"public_key_signature":null,"x509":null,"x509_chain":null}`),
		[]byte(`{"name":"a","public_key":"","not_before":0,"not_after":0,"mailbox":"","mailbox_end":0,"public_key_signature":"","x509":"","x509_chain":[]}`),
	}
	for i, seed := range seeds {
		f.Add(seed, uint16(i*37), uint16(i))
	}
	try := func(t *testing.T, text []byte) {
		var b Bundle
		if err := proto.Unmarshal(text, &b); err != nil {
			return
		}
		if !bytes.Equal(proto.MustMarshal(&b), text) {
			t.Errorf("a second form is accepted: %s", text)
		}
		person, err := v.Verify(&b, b.Name)
		if err != nil {
			wantSentence(t, err.Error())
			return
		}
		if person.Name != b.Name {
			t.Errorf("accepted as %+v: %s", person, text)
		}
		if b.Chain = good.Chain; b.Hash() != good.Hash() {
			t.Errorf("a bundle that no card signed was accepted: %s", text)
		}
	}
	f.Fuzz(func(t *testing.T, input []byte, at, cut uint16) {
		try(t, input)
		from := int(at) % len(text)
		try(t, slices.Concat(text[:from], input, text[min(len(text), from+int(cut)):]))
	})
}

// Every byte of a bundle matters: with one bit changed or one byte left out it is refused, or the
// change is in the chain, which nobody signs.
func TestEveryByteOfABundle(t *testing.T) {
	p := testLab(t)
	good := delegate(t, issue(t, p, "Ana"), withMailbox)
	text := proto.MustMarshal(good)
	v := verifierAt(trustOf(t, p.Root.Cert), nil, PolicyTry, labNow)
	for i := range text {
		for _, changed := range [][]byte{
			slices.Concat(text[:i], []byte{text[i] ^ 1}, text[i+1:]),
			slices.Concat(text[:i], text[i+1:]),
		} {
			var b Bundle
			if proto.Unmarshal(changed, &b) != nil {
				continue
			}
			if _, err := v.Verify(&b, "Ana"); err != nil {
				continue
			}
			if b.Chain = good.Chain; b.Hash() != good.Hash() {
				t.Errorf("byte %d changed, and accepted", i)
			}
		}
	}
}
