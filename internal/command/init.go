package command

import (
	"context"
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
	found    []string // URIs of tokens, in the order of their numbers
}

// notForFile has options of init itself.
var notForFile = []string{"state", "version", "batch", "json", "q", "v"}

// runInit writes options into the file config: those of the command line and, at a terminal,
// answers.
func runInit(a *app, ctx context.Context, args []string) error {
	if err := noArguments("init", args); err != nil {
		return err
	}
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
		return &fail.Error{
			Code: proto.Usage, Message: "there is nothing to write, and nobody to ask here",
			Hint: "give the options to write before the command: " + fail.Command("client -relay HOST:PORT -name NAME init"),
		}
	}
	text, err := a.opt.file.Change(s.settings)
	if err != nil {
		return err
	}
	if err := state.ReplaceFile(a.opt.file.Path, text); err != nil {
		return state.Failure(err)
	}
	next := a.opt.client()
	a.out.notice("%s is written; next: %s (before it, %s doctor checks everything)",
		proto.Visible(a.opt.file.Path), next, next)
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
		option, text, now string
		wanted            bool
		check             func(ctx context.Context, answer string) (string, error)
	}{
		{"relay", "Relay, as HOST:PORT", opt.relay, true, s.relay},
		{"name", "Name", opt.name, owner == "", s.name},
		{"card", "", opt.card, true, s.card},
	}
	for _, q := range questions {
		if _, given := opt.typed[q.option]; given || s.person == nil || !q.wanted {
			continue
		}
		if q.option == "card" {
			q.text, q.now = s.cardQuestion(ctx, q.now)
		}
		value, err := s.ask(ctx, q.text, q.now, q.check)
		if err != nil {
			return err
		}
		if value != "" {
			s.settings = append(s.settings, state.Setting{Name: q.option, Value: value})
		}
	}
	return s.given()
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
		if _, isPath := o.Value.(*path); isPath && value != "" {
			files = true
			if !card.IsURI(value) {
				var absErr error
				value, absErr = filepath.Abs(value)
				err = errors.Join(err, absErr)
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
	bundle, err := s.readCABundle()
	if err == nil {
		_, _, err = s.verifier("", bundle)
	}
	return err
}

// ask asks until an answer passes its check. An empty answer stands for now.
func (s *setup) ask(ctx context.Context, text, now string, check func(context.Context, string) (string, error)) (string, error) {
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
		e := fail.AsError(err)
		s.tell("%s", fail.Text(e))
		if hint := e.Advice(); hint != "" && e.Code != proto.Usage {
			s.tell("%s", s.opt.advice(hint))
		}
	}
}

// tell says a sentence to the person, between the questions.
func (s *setup) tell(format string, args ...any) {
	s.person.Print("  " + shown(fmt.Sprintf(format, args...)) + "\n")
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
	shown, err := client.ProbeRelay(asking, s.opt.relay, s.opt.ciphers)
	if err == nil {
		s.tell("A relay answers there. Compare its fingerprint with what relay -fingerprint prints:")
		s.tell("%s", shown)
		return s.opt.relay, nil
	}
	s.tell("%s", fail.Text(err))
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
	report, err := card.Survey(ctx, "", s.quietCard())
	if err == nil {
		for _, m := range report.Modules {
			for _, slot := range m.Slots {
				if t := slot.Token; t != nil && t.Err == nil && len(t.Certificates) > 0 {
					s.found = append(s.found, card.TokenURI(m.Path, t))
					s.tell("%d. %s in %s", len(s.found), proto.Quote(t.Label), slot.Description)
				}
			}
		}
	}
	if len(s.found) == 0 {
		s.tell("No card is in a reader now.")
		return "Card, as a pkcs11: URI or a software card's directory", now
	}
	if now == "" {
		now = "1"
	}
	return "Card, by its number, as a pkcs11: URI or a software card's directory", now
}

func (s *setup) quietCard() card.Options { return card.Options{Batch: true} }

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
		var given path
		err := given.Set(answer)
		if err == nil {
			answer, err = filepath.Abs(string(given))
		}
		if err != nil {
			return "", err
		}
	}
	report, err := card.Survey(ctx, answer, s.quietCard())
	switch {
	case err != nil:
		return "", err
	case report.Err != nil:
		return "", report.Err
	}
	used := report.Used()
	i := slices.IndexFunc(used.Certificates, func(c card.CertificateReport) bool { return c.Used })
	leaf, err := s.ownLeaf(used.Certificates[i].DER)
	if err != nil {
		return "", err
	}
	s.tell("The card of %s.", leaf.Subject.CommonName)
	return answer, nil
}
