package crypto_test

import (
	"bytes"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// eachGolden runs a test on every stored transcript.
func eachGolden(t *testing.T, f func(t *testing.T, g fields, who *cast, suite string)) {
	for _, suite := range crypto.SuiteNames() {
		t.Run(suite, func(t *testing.T) { f(t, readFields(t, goldenFile(suite)), loadCast(t), suite) })
	}
}

// TestGoldenConnectReplay decodes the recorded connect handshake and lines with
// the relay's recorded key.
func TestGoldenConnectReplay(t *testing.T) {
	eachGolden(t, func(t *testing.T, g fields, who *cast, suite string) {
		var p1 proto.Connect1
		var p2 proto.Connect2
		var p3 proto.Connect3
		var p4 proto.Connect4
		for i, v := range []any{&p1, &p2, &p3, &p4} {
			if err := proto.ReadConnect([]byte(g.get(t, "line"+string(rune('1'+i)))), i+1, v); err != nil {
				t.Fatal(err)
			}
		}
		relay := crypto.NewConnect([]byte(g.get(t, "line1")))
		if key, err := trust.ParsePublicKey(p2.PublicKey); err != nil || !key.Verify(relay.RelaySigns(p2.Cipher, p2.Data, p2.PublicKey), p2.Signature) {
			t.Errorf("the relay's signature does not hold, %v", err)
		}
		relay.Line2([]byte(g.get(t, "line2")))
		s := crypto.SuiteByName(suite)
		key := crypto.ParseKEMKey(t, suite, g.hex(t, "relay-kem-private"))
		if !bytes.Equal(key.Public(), p2.Data) {
			t.Error("the private key gives another public half")
		}
		if err := relay.Decapsulate(s, key, p3.Data); err != nil {
			t.Fatal(err)
		}
		plain, err := relay.OpenHello(p3.Payload)
		if err != nil || string(plain) != g.get(t, "hello") {
			t.Fatalf("hello is %q, %v", plain, err)
		}
		h, err := crypto.ReadHello(plain)
		if err != nil {
			t.Fatal(err)
		}
		if !who.alice.Public().Verify(relay.ClientSigns(h), h.Signature) {
			t.Error("the client's signature does not hold")
		}
		relay.Line3([]byte(g.get(t, "line3")))
		if got := relay.SealWelcome([]byte(g.get(t, "welcome"))); !bytes.Equal(got, p4.Payload) {
			t.Error("the welcome is sealed to other bytes")
		}
		c2s, s2c := relay.Finish([]byte(g.get(t, "line4")))
		for _, dir := range []struct {
			key string
			hop *crypto.Hop
		}{{"c2s", c2s}, {"s2c", s2c}} {
			for i, line := range g[dir.key] {
				seq, plain, text, err := crypto.OpenLine(dir.hop, []byte(line))
				if want := g.hexes(t, dir.key+"-payload")[i]; err != nil || !bytes.Equal(plain, want) {
					t.Fatalf("line %s %d is %q, %v", dir.key, i, plain, err)
				}
				if body, ok := proto.DecodeBase64(nil, text); !ok || !bytes.Equal(body, g.hexes(t, dir.key+"-body")[i]) {
					t.Errorf("line %s %d has the body %q", dir.key, i, text)
				}
				header, signature, _, err := proto.SplitPayload(plain)
				if err != nil {
					t.Fatal(err)
				}
				if signature != nil && !who.alice.Public().Verify(dir.hop.RequestSigns(seq, header), signature) {
					t.Error("the signature of the request does not hold")
				}
			}
		}
	})
}

// TestGoldenConversationReplay takes the recorded p2, p3 and messages.
func TestGoldenConversationReplay(t *testing.T) {
	eachGolden(t, func(t *testing.T, g fields, who *cast, suite string) {
		a, b := who.locals(t, suite)
		h := &crypto.Replay{
			A: a, B: b, EndA: aliceEnd, EndB: bobEnd, Verify: who.verify,
			P1: g.body(t, "p1"), P2: g.body(t, "p2"), P3: g.body(t, "p3"),
			KeyA: crypto.ParseKEMKey(t, suite, g.hex(t, "p1-private")),
			KeyB: crypto.ParseKEMKey(t, suite, g.hex(t, "p2-private")),
			Next: crypto.ParseKEMKey(t, suite, g.hex(t, "p3-private")),
		}
		ca, cb := h.Conversations(t)
		if !bytes.Equal(cb.T3[:], g.hex(t, "t3")) {
			t.Error("T3 is another")
		}
		// Alice says which letter to Bob was her last one. She has no mailbox for his.
		if ca.PeerLetter != 0 || cb.PeerLetter != 7 {
			t.Errorf("the last letters are number %d of Bob's and %d of Alice's", ca.PeerLetter, cb.PeerLetter)
		}
		if _, _, err := h.Initiator(t).Phase2(h.P2, who.verify); err != nil {
			t.Errorf("p2: %v", err)
		}
		now := goldenTime
		take := func(c *crypto.Conversation, key string, after time.Duration) *crypto.Opened {
			t.Helper()
			now = now.Add(after)
			o, err := c.Open(g.message(t, key), now)
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			for i, r := range o.ExactRecords {
				if string(r) != g[key+"-record"][i] {
					t.Errorf("%s: record %d is %s", key, i, r)
				}
			}
			if len(o.Records) != len(g[key+"-record"]) {
				t.Errorf("%s: %d records", key, len(o.Records))
			}
			c.Commit(o)
			return o
		}
		if o := take(ca, "answer", 0); o.Receipt.Delivered != 0 {
			t.Error("the answer to p3 speaks of records")
		}
		// A's text was sealed by the recorded A: B takes it, and AsSent corrects this A's count.
		take(cb, "text", time.Second)
		crypto.AsSent(ca, cb)
		if o := take(ca, "receipt", 2*time.Minute); o.Receipt.Delivered != 2 || o.Receipt.Read != 1 || o.Header.Step == nil {
			t.Errorf("receipt %+v", o.Receipt)
		}
	})
}
