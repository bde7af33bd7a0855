package command

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/term"
	"chatsecure/proto"
	"chatsecure/testdata/lab/tty"
)

// fakeTalker is a client without a relay. Its answers are set, and calls are
// kept.
type fakeTalker struct {
	name, conn string
	online     []client.Online
	whois      map[string]*client.Whois
	sendErr    func(names []string, text string) error
	watchErr   error
	outcome    client.Outcome
	outcomes   []history.Status // levels given to Wait

	accept   string          // the name to whom Accept says yes
	accepted map[string]bool // by name
	asked    []string        // names given to Accept

	events chan []client.Event // closed: io.EOF

	mu    sync.Mutex
	sent  []fakeSent
	shown []*client.Message
	seen  chan struct{} // one for each call of Shown
}

type fakeSent struct {
	names []string
	text  string
}

func newFakeTalker() *fakeTalker {
	return &fakeTalker{name: "Ana", conn: "139934559672912", accepted: map[string]bool{}, events: make(chan []client.Event, 16), seen: make(chan struct{}, 64)}
}

func (f *fakeTalker) Name() string { return f.name }

func (f *fakeTalker) Conn() string { return f.conn }

func (f *fakeTalker) Next(ctx context.Context) ([]client.Event, error) {
	take := func(events []client.Event, ok bool) ([]client.Event, error) {
		if !ok {
			return nil, io.EOF
		}
		return events, nil
	}
	// Events that are there come before the end of the wait, as in a Client.
	select {
	case events, ok := <-f.events:
		return take(events, ok)
	default:
	}
	select {
	case events, ok := <-f.events:
		return take(events, ok)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fakeTalker) Shown(messages ...*client.Message) {
	f.mu.Lock()
	f.shown = append(f.shown, messages...)
	f.mu.Unlock()
	f.seen <- struct{}{}
}

// Knows says no, unless somebody was accepted.
func (f *fakeTalker) Knows(m *client.Message) bool { return f.accepted[m.From] }

// Accept accepts whom accept names.
func (f *fakeTalker) Accept(_ context.Context, m *client.Message) error {
	f.asked = append(f.asked, m.From)
	if f.accept != m.From {
		return fail.Errorf("unknown-peer", "no")
	}
	f.accepted[m.From] = true
	return nil
}

func (f *fakeTalker) Send(_ context.Context, names []string, text string) (string, error) {
	if f.sendErr != nil {
		if err := f.sendErr(names, text); err != nil {
			return "", err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, fakeSent{names, text})
	return "id" + string(rune('0'+len(f.sent))), nil
}

func (f *fakeTalker) Written(context.Context) error { return nil }

func (f *fakeTalker) Here(string) bool { return false }

func (f *fakeTalker) Everyone() []string { return []string{"bruno", "carla"} }

func (f *fakeTalker) Wait(_ context.Context, level history.Status) client.Outcome {
	f.outcomes = append(f.outcomes, level)
	return f.outcome
}

func (f *fakeTalker) List(context.Context) ([]client.Online, error) { return f.online, nil }

func (f *fakeTalker) Whois(_ context.Context, name string) (*client.Whois, error) {
	if w := f.whois[name]; w != nil {
		return w, nil
	}
	return nil, fail.Errorf(proto.NoSuchName, "nobody by the name of %s is connected", name)
}

func (f *fakeTalker) Watch(context.Context) error { return f.watchErr }

func (f *fakeTalker) Close(context.Context) error { close(f.events); return nil }

// fakePerson is a person with the certificate fields that are shown.
func fakePerson(name string, identity byte) *trust.Person {
	subject := pkix.Name{
		CommonName: "BRUNO MIGUEL EXEMPLO", Organization: []string{"Cartão de Cidadão"}, SerialNumber: "BI100000011",
		OrganizationalUnit: []string{"Cidadão Português", "Autenticação do Cidadão"}, Country: []string{"PT"},
	}
	der, err := asn1.Marshal(subject.ToRDNSequence())
	if err != nil {
		panic(err)
	}
	return &trust.Person{Name: name, Identity: [32]byte{identity}, Leaf: &x509.Certificate{
		Subject: subject, RawSubject: der,
		NotAfter: time.Date(2021, 1, 3, 23, 59, 59, 0, time.UTC), NotBefore: time.Date(2016, 1, 4, 16, 59, 29, 0, time.UTC),
	}, Revocation: trust.RevocationResult{Status: trust.RevocationGood, Reason: "no revocation list names it"}}
}

// fakeTerminal is a terminal on paper.
func fakeTerminal(out io.Writer, steps ...tty.Step) *term.Terminal {
	return term.NewOf(&tty.Typist{Out: out, Steps: steps}, out, func(bool) error { return nil })
}

// fakeSystem is the world of a program to which nobody talks.
func fakeSystem(stdin string) (sys System, stdout, stderr *tty.Paper) {
	stdout, stderr = new(tty.Paper), new(tty.Paper)
	return System{
		Version: "dev",
		Stdin:   strings.NewReader(stdin), Stdout: stdout, Stderr: stderr, Now: time.Now,
		Env: func(string) string { return "" }, cards: card.Open,
	}, stdout, stderr
}

// noTTY is a system without a controlling terminal.
func noTTY() (*os.File, error) { return nil, errNoTTY }
