package crypto

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

// The connect handshake as the two programs run it, without the wire. Lines are JSON of the few
// fields that the transcript does not have.

type connectLine2 struct {
	Suite     string
	KEM, SPKI []byte
	Signature []byte
}

type connectLine3 struct{ Enc, Payload []byte }

// clientSide and relaySide each run one side. They return the lines to send, or the reason of a
// refusal.
type clientSide struct {
	suites []string
	relay  []byte // SPKI of the known fingerprint
	c      *Connect
	line1  []byte
}

func newClientSide(suites []string, relay []byte) *clientSide {
	random := unknownSecret()
	line1, _ := json.Marshal(struct {
		Ciphers []string
		Data    []byte
	}{suites, random})
	return &clientSide{suites: suites, relay: relay, c: NewConnect(line1), line1: line1}
}

var errRefused = errors.New("refused")

func (s *clientSide) phase3(line2 []byte) ([]byte, error) {
	var p connectLine2
	if err := json.Unmarshal(line2, &p); err != nil {
		return nil, errRefused
	}
	suite := ChooseSuite([]string{p.Suite}, s.suites)
	key, err := trust.ParsePublicKey(p.SPKI)
	if suite == nil || err != nil || !bytes.Equal(p.SPKI, s.relay) || !key.Verify(s.c.RelaySigns(p.Suite, p.KEM, p.SPKI), p.Signature) {
		return nil, errRefused
	}
	s.c.Line2(line2)
	enc, err := s.c.Encapsulate(suite, p.KEM)
	if err != nil {
		return nil, errRefused
	}
	line3, _ := json.Marshal(connectLine3{enc, s.c.SealHello([]byte("hello"))})
	s.c.Line3(line3)
	return line3, nil
}

func (s *clientSide) finish(line4 []byte) (c2s, s2c *Hop, err error) {
	if _, err := s.c.OpenWelcome(line4); err != nil {
		return nil, nil, err
	}
	c2s, s2c = s.c.Finish(line4)
	return c2s, s2c, nil
}

type relaySide struct {
	k     *trust.Key
	suite Suite
	c     *Connect
	key   KEMKey
	made  int // keys, all different
}

func (r *relaySide) phase2(t testing.TB, line1 []byte) []byte {
	r.c = NewConnect(line1)
	r.key = testKEMKey(t, r.suite, r.made)
	r.made++
	p := connectLine2{Suite: r.suite.Name(), KEM: r.key.Public(), SPKI: r.k.Public().SPKI()}
	p.Signature = r.k.Sign(r.c.RelaySigns(p.Suite, p.KEM, p.SPKI))
	line2, _ := json.Marshal(p)
	r.c.Line2(line2)
	return line2
}

func (r *relaySide) phase4(line3 []byte) ([]byte, error) {
	var p connectLine3
	if err := json.Unmarshal(line3, &p); err != nil {
		return nil, errRefused
	}
	if err := r.c.Decapsulate(r.suite, r.key, p.Enc); err != nil {
		return nil, err
	}
	if _, err := r.c.OpenHello(p.Payload); err != nil {
		return nil, err
	}
	r.c.Line3(line3)
	return r.c.SealWelcome([]byte("welcome")), nil
}

func connectPair(t testing.TB, suite string) (*clientSide, *relaySide) {
	t.Helper()
	k := people.AnyKey(t)
	return newClientSide([]string{suite}, k.Public().SPKI()), &relaySide{k: k, suite: SuiteByName(suite)}
}

func TestConnect(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		client, relay := connectPair(t, suite)
		line3, err := client.phase3(relay.phase2(t, client.line1))
		if err != nil {
			t.Fatal(err)
		}
		line4, err := relay.phase4(line3)
		if err != nil {
			t.Fatal(err)
		}
		c2s, s2c, err := client.finish(line4)
		if err != nil {
			t.Fatal(err)
		}
		rc2s, rs2c := relay.c.Finish(line4)
		sealLine := func(h *Hop, payload, text string) proto.SecureLine {
			line := proto.SecureLine{Seq: h.Seq(), Text: []byte(text)}
			line.Payload = h.Seal(nil, &line.Random, []byte(payload), line.Text)
			return line
		}
		opened := func(h *Hop, line proto.SecureLine) (string, error) { // line stays as it is
			line.Payload = bytes.Clone(line.Payload)
			b, err := h.Open(&line)
			return string(b), err
		}
		for _, dir := range []struct{ from, to *Hop }{{c2s, rc2s}, {rs2c, s2c}} {
			for seq, text := range []string{"", "body", ""} {
				if dir.from.Seq() != uint64(seq) || dir.to.Seq() != uint64(seq) {
					t.Fatal("numbers")
				}
				line := sealLine(dir.from, "line", text)
				// Spoiled in any part it does not open, and a failure changes nothing.
				for what, spoil := range map[string]func(*proto.SecureLine){
					"another number": func(l *proto.SecureLine) { l.Seq++ },
					"another random": func(l *proto.SecureLine) { l.Random[0] ^= 1 },
					"cut":            func(l *proto.SecureLine) { l.Payload = l.Payload[1:] },
					"another text":   func(l *proto.SecureLine) { l.Text = []byte("bodY") },
					"a longer text":  func(l *proto.SecureLine) { l.Text = append(bytes.Clone(l.Text), 'y') },
					"other places":   func(l *proto.SecureLine) { l.Text, l.Payload = l.Payload, l.Text },
				} {
					spoiled := line
					spoil(&spoiled)
					if _, err := opened(dir.to, spoiled); !errors.Is(err, ErrDecrypt) {
						t.Errorf("%s: %v", what, err)
					}
				}
				if got, err := opened(dir.to, line); err != nil || got != "line" {
					t.Fatalf("%q, %v", got, err)
				}
			}
		}
		// Row 9: a line sent back.
		line := sealLine(c2s, "mine", "")
		reflected := line
		reflected.Seq = s2c.Seq()
		if _, err := opened(s2c, reflected); !errors.Is(err, ErrDecrypt) {
			t.Errorf("reflection: %v", err)
		}
		// Row 7: a repeated line.
		if _, err := opened(rc2s, line); err != nil {
			t.Error(err)
		}
		for seq := range uint64(5) {
			line.Seq = seq
			if _, err := opened(rc2s, line); !errors.Is(err, ErrDecrypt) {
				t.Errorf("replay as line %d: %v", seq, err)
			}
		}
		if bytes.Equal(c2s.RequestSigns(0, []byte("h")), c2s.RequestSigns(1, []byte("h"))) {
			t.Error("a request is signed without its number")
		}
		c2s.Erase()
		if _, err := opened(rc2s, sealLine(c2s, "", "")); !errors.Is(err, ErrDecrypt) {
			t.Errorf("sealed after Erase: %v", err)
		}
	})
}

// Row 4: a connect handshake forwarded to another relay, or replayed to the same.
func TestRow04ConnectForwarded(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		client, relay := connectPair(t, suite)
		evil := &relaySide{k: people.Key(t, trust.KeyEd25519), suite: relay.suite, made: 1}
		line2 := relay.phase2(t, client.line1)
		// Another relay forwards the real one's line 2 and gets line 3. It can only forward that
		// too: it is good for the real one.
		evil.phase2(t, client.line1)
		line3, err := client.phase3(line2)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := evil.phase4(line3); !errors.Is(err, ErrDecrypt) {
			t.Errorf("line 3 at another relay: %v", err)
		}
		// The real relay's key under a signature by the other's, and the reverse.
		var real, fake connectLine2
		Must(t, json.Unmarshal(line2, &real))
		Must(t, json.Unmarshal(evil.phase2(t, client.line1), &fake))
		for what, p := range map[string]connectLine2{
			"another relay":               fake,
			"another relay's KEM key":     {real.Suite, fake.KEM, real.SPKI, real.Signature},
			"another relay's signature":   {real.Suite, real.KEM, real.SPKI, fake.Signature},
			"the real key, signed by her": {real.Suite, real.KEM, fake.SPKI, evil.k.Sign(evil.c.RelaySigns(real.Suite, real.KEM, fake.SPKI))},
		} {
			line, _ := json.Marshal(p)
			fresh := *client.c
			again := &clientSide{suites: client.suites, relay: client.relay, c: &fresh}
			if _, err := again.phase3(line); !errors.Is(err, errRefused) {
				t.Errorf("%s: %v", what, err)
			}
		}
		// Line 3 again at the same relay: another KEM key, another transcript.
		if _, err := relay.phase4(line3); err != nil {
			t.Fatal(err)
		}
		relay.phase2(t, client.line1)
		if _, err := relay.phase4(line3); !errors.Is(err, ErrDecrypt) {
			t.Errorf("line 1 and 3 replayed: %v", err)
		}
		// Line 2 of an earlier handshake, to a client that begins anew.
		if _, err := newClientSide(client.suites, client.relay).phase3(line2); !errors.Is(err, errRefused) {
			t.Errorf("line 2 replayed: %v", err)
		}
		// The client's signature in phase 3 covers the relay's key.
		var p connectLine3
		Must(t, json.Unmarshal(line3, &p))
		h := &Hello{Name: "alice", Bundle: new(trust.Bundle)}
		if bytes.Equal(client.c.ClientSigns(h), evil.c.ClientSigns(h)) {
			t.Error("what the client signs serves at another relay")
		}
	})
}

// Row 6: suites stripped from line 1, or an answer with another.
func TestRow06ConnectDowngrade(t *testing.T) {
	k := people.AnyKey(t)
	client := newClientSide([]string{SuiteMLKEM, SuiteRSA256}, k.Public().SPKI())
	relay := &relaySide{k: k, suite: SuiteByName(SuiteRSA256)}
	stripped := bytes.Replace(client.line1, []byte(`"`+SuiteMLKEM+`",`), nil, 1)
	if bytes.Equal(stripped, client.line1) {
		t.Fatal("nothing was stripped")
	}
	if _, err := client.phase3(relay.phase2(t, stripped)); !errors.Is(err, errRefused) {
		t.Errorf("suites stripped on the way: %v", err)
	}
	relay.suite = SuiteByName(SuiteRSA128)
	if _, err := client.phase3(relay.phase2(t, client.line1)); !errors.Is(err, errRefused) {
		t.Errorf("a suite that was not offered: %v", err)
	}
}

// Row 19: KEM keys and ciphertexts of connect.
func TestRow19ConnectKeys(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		s := SuiteByName(suite)
		for what, key := range badKEMKeys(t, suite) {
			c := NewConnect([]byte("1"))
			c.Line2([]byte("2"))
			if _, err := c.Encapsulate(s, key); err == nil {
				t.Errorf("a KEM key of %s: taken", what)
			}
		}
		for _, n := range []int{0, 1, 255, 256, 257, 1119, 1120, 1121, 60000} {
			r := NewConnect([]byte("1"))
			r.Line2([]byte("2"))
			key := testKEMKey(t, s, 0)
			err := r.Decapsulate(s, key, make([]byte, n))
			if err == nil {
				_, err = r.OpenHello(make([]byte, 64))
			}
			if !errors.Is(err, ErrDecrypt) {
				t.Errorf("a ciphertext of %d bytes: %v", n, err)
			}
			if len(secrets(key)) != 0 {
				t.Error("the key serves again")
			}
		}
	})
}

// The secrets of the handshake serve once. Afterwards sealed texts are closed to everybody.
func TestConnectSecretsServeOnce(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		client, relay := connectPair(t, suite)
		line3, err := client.phase3(relay.phase2(t, client.line1))
		if err != nil {
			t.Fatal(err)
		}
		relay2 := *relay.c
		if _, err := relay.phase4(line3); err != nil {
			t.Fatal(err)
		}
		var p connectLine3
		Must(t, json.Unmarshal(line3, &p))
		if _, err := relay.c.OpenHello(p.Payload); !errors.Is(err, ErrDecrypt) {
			t.Errorf("hello a second time: %v", err)
		}
		again := client.c.SealHello([]byte("again"))
		zero := *client.c
		for _, key := range [][]byte{make([]byte, secretSize), {}} {
			zero.c2s = key
			if _, err := zero.OpenHello(bytes.Clone(again)); !errors.Is(err, ErrDecrypt) {
				t.Errorf("a second hello opens under a key of %d zeros", len(key))
			}
		}
		// After Erase too, though the transcripts are equal.
		relay2.Erase()
		client.c.Erase()
		relay2 = *client.c
		sealed := relay2.SealWelcome([]byte("x"))
		if _, err := client.c.OpenWelcome(sealed); !errors.Is(err, ErrDecrypt) {
			t.Errorf("welcome after Erase: %v", err)
		}
		c2s, _ := relay2.Finish(nil)
		again2, _ := client.c.Finish(nil)
		if bytes.Equal(c2s.chain.ck, again2.chain.ck) {
			t.Error("two erased handshakes have one key")
		}
	})
}
