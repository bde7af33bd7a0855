package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"chatsecure"
	"chatsecure/card"
	"chatsecure/crypto"
)

// fakeTalker is a client without a relay: what it answers is set, what it is
// told is kept.
type fakeTalker struct {
	name, conn string
	online     []chatsecure.Online
	whois      map[string]*chatsecure.Whois
	sendErr    func(names []string, text string) error
	outcome    chatsecure.Outcome
	outcomes   []chatsecure.Status // levels that Wait was asked for

	events chan []chatsecure.Event // closed: io.EOF

	mu    sync.Mutex
	sent  []fakeSent
	shown []*chatsecure.Message
	seen  chan struct{} // one for every call of Shown
}

type fakeSent struct {
	names []string
	text  string
}

func newFakeTalker() *fakeTalker {
	return &fakeTalker{name: "Ana", conn: "139934559672912", events: make(chan []chatsecure.Event, 16), seen: make(chan struct{}, 64)}
}

func (f *fakeTalker) Name() string { return f.name }
func (f *fakeTalker) Conn() string { return f.conn }

func (f *fakeTalker) Next(ctx context.Context) ([]chatsecure.Event, error) {
	take := func(events []chatsecure.Event, ok bool) ([]chatsecure.Event, error) {
		if !ok {
			return nil, io.EOF
		}
		return events, nil
	}
	// What is there comes before the end of the wait, as a Client has it.
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

func (f *fakeTalker) Shown(messages ...*chatsecure.Message) {
	f.mu.Lock()
	f.shown = append(f.shown, messages...)
	f.mu.Unlock()
	f.seen <- struct{}{}
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

func (f *fakeTalker) Everyone() []string { return []string{"bruno", "carla"} }

func (f *fakeTalker) Wait(_ context.Context, level chatsecure.Status) chatsecure.Outcome {
	f.outcomes = append(f.outcomes, level)
	return f.outcome
}

func (f *fakeTalker) List(context.Context) ([]chatsecure.Online, error) { return f.online, nil }

func (f *fakeTalker) Whois(_ context.Context, name string) (*chatsecure.Whois, error) {
	if w := f.whois[name]; w != nil {
		return w, nil
	}
	return nil, chatsecure.Errorf("no-such-name", "nobody by that name is connected")
}

func (f *fakeTalker) Watch(context.Context) error   { return nil }
func (f *fakeTalker) Release(context.Context) error { return nil }
func (f *fakeTalker) Close(context.Context) error   { close(f.events); return nil }

// fakePerson is somebody with the certificate fields that people are shown.
func fakePerson(name string, identity byte) *crypto.Person {
	return &crypto.Person{Name: name, Identity: [32]byte{identity}, Leaf: &x509.Certificate{
		Subject: pkix.Name{
			CommonName: "BRUNO MIGUEL EXEMPLO", Organization: []string{"Cartão de Cidadão"}, SerialNumber: "BI100000011",
			OrganizationalUnit: []string{"Cidadão Português", "Autenticação do Cidadão"}, Country: []string{"PT"},
		},
		NotAfter: time.Date(2021, 1, 3, 23, 59, 59, 0, time.UTC), NotBefore: time.Date(2016, 1, 4, 16, 59, 29, 0, time.UTC),
	}, Revocation: crypto.RevocationResult{Status: crypto.RevocationGood, Reason: "no revocation list names it"}}
}

// typist is a terminal with somebody at it, who types line after line. Before
// a line is typed, its step happens. What is typed is echoed.
type typist struct {
	out   io.Writer
	steps []step
}

type step struct {
	before func()
	types  string
	hidden bool // nothing is echoed
}

func (p *typist) Read(b []byte) (int, error) {
	if len(p.steps) == 0 {
		return 0, io.EOF
	}
	s := p.steps[0]
	p.steps = p.steps[1:]
	if s.before != nil {
		s.before()
	}
	if !s.hidden {
		io.WriteString(p.out, s.types+"\n")
	}
	return copy(b, s.types+"\n"), nil
}

// paper is what a terminal shows in the end: it knows how to clear a line, and
// refuses every other control sequence. It is safe for concurrent use.
type paper struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, part := range strings.Split(string(b), clearLine) {
		if i > 0 {
			kept := p.text.Bytes()
			p.text.Truncate(bytes.LastIndexByte(kept, '\n') + 1)
		}
		p.text.WriteString(part)
	}
	return len(b), nil
}

func (p *paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// fakeTerminal is a terminal on paper.
func fakeTerminal(out io.Writer, steps ...step) *terminal {
	return newTerminalOf(&typist{out, steps}, out, func(bool) error { return nil })
}

// fakeSystem is what a program has around it that nobody talks to.
func fakeSystem(stdin string) (sys system, stdout, stderr *paper) {
	stdout, stderr = new(paper), new(paper)
	return system{
		version: "dev",
		stdin:   strings.NewReader(stdin), stdout: stdout, stderr: stderr, now: time.Now,
		env: func(string) string { return "" }, cards: card.Open,
	}, stdout, stderr
}

// noTTY is a system without a controlling terminal.
func noTTY() (*os.File, error) { return nil, errNoTTY }
