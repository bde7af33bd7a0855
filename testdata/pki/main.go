// Command pki makes a lab: certificate authorities, CRLs and cards of invented
// people, for tests and trials of relay and client. See package lab.
//
//	go run ./testdata/pki -out lab alice bob
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatsecure/internal/state"
	"chatsecure/testdata/lab"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const usage = `usage: go run ./testdata/pki -out DIR [-relay HOST:PORT] [-softhsm] [-base-url URL] NAME[:OPTION,...]...
       go run ./testdata/pki -out DIR -append [-relay HOST:PORT] [-softhsm] [-revoke NAME,...] [NAME[:OPTION,...]...]

Makes a lab in DIR: three CAs like the Portuguese ones, their CRLs, and a card
for each NAME. Without a key option the first, third, ... NAME gets EC P-256,
like cards since 2024, and the others RSA-2048.

  ec p384 p521 rsa rsa3072 rsa4096    the card's key
  expired notyet revoked              a fault of its certificate
  untrusted                           issued by another lab
  selfsigned                          issued by no CA
  noca                                no CA certificates on the card, like cards
                                      since 2024
  renew                               with -append: a new card for a NAME with a card;
                                      -revoke NAME revokes the old one

sh DIR/relay.sh starts a relay, and client -state DIR/state/NAME is NAME's client,
which knows the relay's key. -append -relay moves the relay, and all who are at it.
DIR/ca-bundle.pem is for -only-ca, DIR/crl for -crl, DIR/NAME for -card.
All CRLs are valid for thirty days; -append without NAME makes new ones.

`

// config is the parsed command line.
type config struct {
	out, baseURL  string
	relay         string
	softHSM, more bool
	revoke        []string
	people        []person
}

// run runs the command and returns its exit status: 0 done, 1 failed, 2 usage.
func run(args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err == nil:
		err = c.execute(stdout)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "pki: error: %v\n", err)
	var hint hintError
	if errors.As(err, &hint) {
		fmt.Fprintf(stderr, "pki: hint: %s\n", hint.hint)
		if hint.usage {
			return 2
		}
	}
	return 1
}

// hintError is an error with a remedy.
type hintError struct {
	error
	hint  string
	usage bool // exit status 2
}

// parse reads the command line.
func parse(args []string, stdout io.Writer) (*config, error) {
	c := new(config)
	var revoke string
	f := flag.NewFlagSet("pki", flag.ContinueOnError)
	f.StringVar(&c.out, "out", "", "the lab's `DIR`, made if needed")
	f.BoolVar(&c.softHSM, "softhsm", false, "also make a SoftHSM2 token for each NAME")
	f.StringVar(&c.baseURL, "base-url", "", "`URL` of DIR on a web server, for CRLs and issuers "+
		"(default "+lab.DefaultBaseURL+", where nothing listens)")
	f.BoolVar(&c.more, "append", false, "add to the lab in DIR: the same CAs, more cards, new CRLs")
	f.StringVar(&c.relay, "relay", "", "`HOST:PORT` of the lab's relay (default that of the lab, "+defaultRelay+" in a new one)")
	f.StringVar(&revoke, "revoke", "", "with -append: revoke the cards of these `NAME,...`")
	f.SetOutput(io.Discard) // else flag prints the usage for every error
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		f.SetOutput(stdout)
		fmt.Fprint(stdout, usage)
		f.PrintDefaults()
		return nil, err
	} else if err != nil {
		return nil, hintError{err, "pki -h lists the flags", true}
	}
	if c.relay != "" {
		addr, err := state.RelayAddr(c.relay)
		if err != nil {
			return nil, hintError{fmt.Errorf("-relay is %w, not %q", err, c.relay), "give one that is free, as 127.0.0.1:8081", true}
		}
		c.relay = addr
	}
	if revoke != "" {
		c.revoke = strings.Split(revoke, ",")
	}
	for i, arg := range f.Args() {
		p, err := parsePerson(arg, i)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(c.people, func(q person) bool { return q.name == p.name }) {
			return nil, hintError{fmt.Errorf("%s is named twice", p.name), "give each person one NAME with all options", true}
		}
		c.people = append(c.people, p)
	}
	return c, c.check()
}

// check refuses options that contradict each other.
func (c *config) check() error {
	switch {
	case c.out == "":
		return hintError{errors.New("no -out DIR"), "pki -h shows the usage", true}
	case len(c.people) == 0 && !c.more:
		return hintError{errors.New("no NAME"), "name at least one person for a card", true}
	case c.softHSM && len(c.people) == 0:
		return hintError{errors.New("-softhsm without a NAME"), "name the people for the tokens", true}
	case c.revoke != nil && !c.more:
		return hintError{errors.New("-revoke without -append"),
			"only cards of an existing lab can be revoked; in a new lab write NAME:revoked", true}
	case c.baseURL != "" && c.more:
		return hintError{errors.New("-base-url with -append"), "the URL is in the CAs' certificates: make a new lab to change it", true}
	}
	return nil
}

// execute makes the lab or adds to it, and reports the result. It revokes first,
// so that -revoke NAME with NAME:renew revokes the old card.
func (c *config) execute(stdout io.Writer) error {
	p, err := c.open()
	if err != nil {
		return err
	}
	for _, name := range c.revoke {
		h := holder(p, name)
		if h == nil || h.Issuer == nil {
			return fmt.Errorf("%s has no card of this lab to revoke", name)
		}
		p.Revoke(h, time.Now(), 1) // keyCompromise
	}
	var made []*lab.Holder
	for _, who := range c.people {
		opts, err := who.issue(p)
		if err != nil {
			return err
		}
		h, err := p.Issue(who.name, opts...)
		if err != nil {
			return err
		}
		made = append(made, h)
	}
	if err := p.Write(c.out); err != nil {
		return err
	}
	if err := c.writeStates(p, made); err != nil {
		return err
	}
	var tokens *lab.Tokens
	if c.softHSM {
		if tokens, err = p.SoftHSM(c.out, made...); err != nil {
			return err
		}
	}
	report{stdout, c, p, made, tokens}.print()
	return nil
}

// open makes a new lab, or loads the lab in DIR with -append.
func (c *config) open() (*lab.PKI, error) {
	switch exists := lab.Exists(c.out); {
	case exists && !c.more:
		return nil, hintError{error: fmt.Errorf("%s has a lab already", c.out),
			hint: "use -append to add to it, or remove the directory"}
	case !exists && c.more:
		return nil, hintError{error: fmt.Errorf("%s has no lab to append to", c.out), hint: "leave out -append to make one"}
	case exists:
		return lab.Load(c.out, lab.Options{})
	}
	names := []string{"ca-bundle.pem", "intermediates.pem", "ca", "crl", "aia", "tokens", "state", "relay.sh"}
	for _, who := range c.people {
		names = append(names, who.name)
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(c.out, name)); err == nil {
			return nil, hintError{error: fmt.Errorf("%s exists already and is not part of a lab", filepath.Join(c.out, name)),
				hint: "choose a new or empty directory"}
		}
	}
	return lab.New(lab.Options{BaseURL: strings.TrimSuffix(c.baseURL, "/")})
}

// holder returns the last holder of this name in the lab, or nil.
func holder(p *lab.PKI, name string) *lab.Holder {
	for _, h := range slices.Backward(p.Holders()) {
		if h.Name == name {
			return h
		}
	}
	return nil
}
