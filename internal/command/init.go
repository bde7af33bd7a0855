package command

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// setup asks for what the file config needs, and writes it.
type setup struct {
	*app
	person   *term.Terminal // nil: nobody is asked
	settings []state.Setting
	found    []string     // URIs of tokens, in the order of their numbers
	lacks    doctorObject // the first failed check of the card, if any
	who      string       // the name and whose card it is, for a sentence
}

// checker returns the value that an answer stands for.
type checker func(ctx context.Context, answer string) (value string, err error)

// notForFile has options of init itself.
var notForFile = []string{"state", "version", "batch", "json", "q", "v"}

// runInit writes options into the file config: those of the command line and, at a terminal,
// answers.
func runInit(a *app, ctx context.Context) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	if err := state.MakeDir(dir); err != nil {
		return state.Failure(err)
	}
	st, err := state.Open(dir, a.opt.name)
	if err != nil {
		return err
	}
	a.tellOutvoted()
	s := &setup{app: a, person: a.person()}
	if err := s.take(ctx, st.Name()); err != nil {
		if errors.Is(err, io.EOF) {
			err = usageError("nothing is written: not every question was answered")
		}
		return err
	}
	if len(s.settings) == 0 {
		return usageError("there is nothing to write, and nobody to ask here").
			With("give the options to write before the command: " +
				fail.Command("client -relay HOST:PORT -name NAME init"))
	}
	text, err := a.opt.file.Change(s.settings)
	if err == nil {
		err = state.ReplaceFile(a.opt.file.Path, text)
	}
	if err != nil {
		return state.Failure(err)
	}
	written := proto.Visible(a.opt.file.Path) + " is written"
	if s.lacks.Check != "" {
		a.out.notice("%s, but a connection would fail: %s", written, s.lacks.Message)
		if s.lacks.Hint != "" {
			a.out.notice("%s", s.lacks.Hint)
		}
		return nil
	}
	next := a.opt.client()
	a.out.notice("%s; next: %s (%sbefore it, %s doctor checks everything)", written, next, s.who, next)
	return nil
}

// take collects the settings: first the three that are asked for. owner is the name that the state
// directory has, if any: it needs none in the file.
func (s *setup) take(ctx context.Context, owner string) error {
	opt := &s.opt
	if _, given := opt.typed["relay"]; given {
		if err := opt.checkRelay(); err != nil {
			return err
		}
		opt.typed["relay"] = opt.relay
	}
	questions := []struct {
		option, text string
		now          *string
		check        checker
	}{
		{"relay", "Relay, as HOST:PORT", &opt.relay, s.relay},
		{"name", "Name", &opt.name, s.name},
		{"card", "", &opt.card, s.card},
	}
	for _, q := range questions {
		_, given := opt.typed[q.option]
		if given || s.person == nil || q.option == "name" && owner != "" {
			continue
		}
		text, now := q.text, *q.now
		if q.option == "card" {
			text, now = s.cardQuestion(ctx, now)
		}
		value, err := s.ask(ctx, text, now, q.check)
		if err != nil {
			return err
		}
		if *q.now = value; value != "" {
			s.settings = append(s.settings, state.Setting{Name: q.option, Value: value})
		}
	}
	if err := s.given(); err != nil {
		return err
	}
	return s.tryCard(ctx)
}

// tryCard checks the card as a connection would, up to the PIN. A person is asked for the
// roots of a card that those at hand do not lead to.
func (s *setup) tryCard(ctx context.Context) error {
	for s.opt.card != "" {
		d := &doctor{a: s.app}
		d.lookAtCard(ctx)
		d.lookAtCertificate()
		if err := d.lookAtTrust(ctx); err != nil {
			return err
		}
		if leaf, err := x509.ParseCertificate(d.leaf); err == nil && s.opt.name != "" {
			s.who = fmt.Sprintf("as %s, with the card of %s; ", s.opt.name,
				proto.Visible(trust.SubjectName(leaf)))
		}
		if s.lacks = d.failure(); s.lacks.Check != "chain" || s.person == nil {
			return ctx.Err()
		}
		s.tell(s.lacks.Message, s.lacks.Hint)
		option, _ := s.opt.roots()
		text := map[string]string{"ca-bundle": "More", "only-ca": "The"}[option]
		file, err := s.ask(ctx, text+" roots to trust, as a PEM file, or nothing", "", s.roots)
		if err != nil || file == "" {
			s.lacks.Message = "the roots do not lead to the card" // the rest was told
			return err
		}
		s.settings = append(s.settings, state.Setting{Name: option, Value: file})
	}
	return nil
}

// absolute is a path from an answer, which no shell has read.
func absolute(answer string) (string, error) {
	var given Path
	if err := given.Set(answer); err != nil {
		return "", err
	}
	return filepath.Abs(string(given))
}

// roots takes a file with roots, in place of the one in use.
func (s *setup) roots(_ context.Context, answer string) (string, error) {
	if answer == "" {
		return "", nil
	}
	file, err := absolute(answer)
	if err != nil {
		return "", err
	}
	_, used := s.opt.roots()
	before := *used
	*used = file
	bundle, _, err := s.readCABundle()
	if err == nil {
		_, err = s.trustStore(bundle)
	}
	if err != nil {
		*used = before
	}
	return file, err
}

// given adds the options of the command line, with absolute paths. One of them takes away the
// others that it excludes.
func (s *setup) given() error {
	var files bool
	var err error
	new(options).flags().VisitAll(func(o *flag.Flag) {
		value, given := s.opt.typed[o.Name]
		if !given || slices.Contains(notForFile, o.Name) {
			return
		}
		if _, isPath := o.Value.(*Path); isPath && value != "" {
			files = true
			if abs, absErr := filepath.Abs(value); !card.IsURI(value) {
				value, err = abs, errors.Join(err, absErr)
			}
		}
		s.settings = append(s.settings, state.Setting{Name: o.Name, Value: value})
		for _, group := range exclusive {
			if value == "" || !slices.Contains(group, o.Name) {
				continue
			}
			for _, other := range group {
				if _, alsoGiven := s.opt.typed[other]; !alsoGiven {
					s.settings = append(s.settings, state.Setting{Name: other})
				}
			}
		}
	})
	if !files || err != nil {
		return err
	}
	_, err = s.trust("")
	return err
}

// ask asks until an answer passes its check. An empty answer stands for now.
func (s *setup) ask(ctx context.Context, text, now string, check checker) (string, error) {
	if now != "" {
		text += " [" + proto.Visible(now) + "]"
	}
	for {
		answer, err := s.person.Question(ctx, text+": ")
		if err != nil {
			return "", err
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = now
		}
		value, err := check(ctx, answer)
		if err == nil || ctx.Err() != nil || errors.Is(err, io.EOF) {
			return value, err
		}
		e, hint := fail.AsError(err), ""
		if e.Code != proto.Usage {
			hint = s.opt.advice(e.Advice())
		}
		s.tell(fail.Text(e), hint)
	}
}

// tell says sentences to the person, between the questions.
func (s *setup) tell(sentences ...string) {
	for _, sentence := range sentences {
		if sentence != "" {
			s.person.Print("  " + shown(sentence) + "\n")
		}
	}
}

// lookTime bounds the look at a relay.
const lookTime = 10 * time.Second

// relay checks an address. The person decides about one where no relay answers now.
func (s *setup) relay(ctx context.Context, addr string) (string, error) {
	s.opt.relay = addr
	if err := s.opt.checkRelay(); err != nil {
		return "", err
	}
	asking, cancel := context.WithTimeout(ctx, min(lookTime, s.opt.timeout))
	defer cancel()
	shown, err := client.ProbeRelay(asking, s.opt.relay, s.opt.ciphers, s.tellBusy)
	if err == nil {
		s.tell("A relay answers there. Compare its fingerprint with relay -fingerprint there:", shown)
		return s.opt.relay, nil
	}
	s.tell(fail.Text(err))
	keep, askErr := s.person.Confirm(ctx, "", "Take this relay all the same? (y/n) ")
	if askErr != nil || keep {
		return s.opt.relay, askErr
	}
	return "", usageError("then name another one")
}

func (s *setup) name(_ context.Context, answer string) (string, error) { return oneName(answer) }

// cardQuestion shows the tokens at hand, and returns the question and its default.
func (s *setup) cardQuestion(ctx context.Context, now string) (text, _ string) {
	s.found = nil
	report, err := card.Survey(ctx, "", card.Options{Batch: true})
	if err != nil {
		report = new(card.Report)
	}
	for _, m := range report.Modules {
		for _, slot := range m.Slots {
			if t := slot.Token; t != nil && t.Err == nil && len(t.Certificates) > 0 {
				s.found = append(s.found, card.TokenURI(m.Path, t))
				s.tell(fmt.Sprintf("%d. %s in %s", len(s.found), proto.Quote(t.Label), slot.Description))
			}
		}
	}
	if len(s.found) == 0 {
		s.tell("No card is in a reader now.")
		return "Card, as a pkcs11: URI or a software card's directory", now
	}
	return "Card, by its number, as a pkcs11: URI or a software card's directory", cmp.Or(now, "1")
}

// card checks a card by its certificate, without a PIN. An empty answer leaves the choice to
// each connection.
func (s *setup) card(ctx context.Context, answer string) (string, error) {
	if answer == "" {
		return "", nil
	}
	if n, err := strconv.Atoi(answer); err == nil && 0 < n && n <= len(s.found) {
		answer = s.found[n-1]
	}
	if !card.IsURI(answer) {
		var err error
		if answer, err = absolute(answer); err != nil {
			return "", err
		}
	}
	report, err := card.Survey(ctx, answer, card.Options{Batch: true})
	switch {
	case err != nil:
		return "", err
	case report.Err != nil:
		return "", report.Err
	}
	leaf, err := s.ownLeaf(usedOn(report.Used()))
	if err != nil {
		return "", err
	}
	s.tell("The card of " + leaf.Subject.CommonName + ".")
	return answer, nil
}
