// Command pki makes a lab: certificate authorities, CRLs and cards for people
// who are none, to try relay and client with and to test them. See package lab.
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

	"chatsecure/testdata/lab"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const usage = `usage: go run ./testdata/pki -out DIR [-softhsm] [-base-url URL] NAME[:OPTION,...]...
       go run ./testdata/pki -out DIR -append [-softhsm] [-revoke NAME,...] [NAME[:OPTION,...]...]

Makes a lab in DIR: three CAs as the Portuguese ones are, their CRLs, and a
card for each NAME. Without a key option the first, third, ... NAME gets EC
P-256, as cards have it since 2024, and the others RSA-2048.

  ec p384 p521 rsa rsa3072 rsa4096    the card's key
  expired notyet revoked              what is wrong with its certificate
  untrusted                           another lab issued it
  selfsigned                          nobody issued it
  noca                                no CA certificates on the card, as since 2024
  renew                               with -append: a new card for NAME, who has one;
                                      -revoke NAME with it revokes the old one

DIR/ca-bundle.pem is for -ca-bundle, DIR/crl for -crl, DIR/NAME for -card.
All CRLs are good for thirty days; -append without NAME makes new ones.

`

// config is what the command line asks for.
type config struct {
	out, baseURL  string
	softHSM, more bool
	revoke        []string
	people        []person
}

// run is the command: 0 done, 1 failed, 2 usage.
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

// hintError is an error with what to do about it.
type hintError struct {
	error
	hint  string
	usage bool
}

// parse reads the command line.
func parse(args []string, stdout io.Writer) (*config, error) {
	c := new(config)
	var revoke string
	f := flag.NewFlagSet("pki", flag.ContinueOnError)
	f.StringVar(&c.out, "out", "", "the lab's `DIR`, made if need be")
	f.BoolVar(&c.softHSM, "softhsm", false, "also make a SoftHSM2 token for each NAME")
	f.StringVar(&c.baseURL, "base-url", "", "`URL` where DIR will be served, for CRLs and issuers (default "+lab.DefaultBaseURL+", where nothing is)")
	f.BoolVar(&c.more, "append", false, "go on with the lab in DIR: the same CAs, more cards, new CRLs")
	f.StringVar(&revoke, "revoke", "", "with -append: revoke the cards of these `NAME,...`")
	f.SetOutput(io.Discard) // flag would print the usage for every error
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		f.SetOutput(stdout)
		fmt.Fprint(stdout, usage)
		f.PrintDefaults()
		return nil, err
	} else if err != nil {
		return nil, hintError{err, "pki -h lists the flags", true}
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

// check refuses what does not go together.
func (c *config) check() error {
	switch {
	case c.out == "":
		return hintError{errors.New("no -out DIR"), "pki -h shows how it is used", true}
	case len(c.people) == 0 && !c.more:
		return hintError{errors.New("no NAME"), "name at least one person who gets a card", true}
	case c.softHSM && len(c.people) == 0:
		return hintError{errors.New("-softhsm without a NAME"), "name those who get a token", true}
	case c.revoke != nil && !c.more:
		return hintError{errors.New("-revoke without -append"), "only cards of a lab that exists can be revoked; for a new one write NAME:revoked", true}
	case c.baseURL != "" && c.more:
		return hintError{errors.New("-base-url with -append"), "the URL stands in the CAs' certificates: make a new lab to change it", true}
	}
	return nil
}

// execute does what the command line asks for and says what was made. It
// revokes first: -revoke NAME with NAME:renew takes the old card back.
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
	var tokens *lab.Tokens
	if c.softHSM {
		if tokens, err = p.SoftHSM(c.out, made...); err != nil {
			return err
		}
	}
	report{stdout, c, p, made, tokens}.print()
	return nil
}

// open makes a new lab, or loads the one that is there if -append says so.
func (c *config) open() (*lab.PKI, error) {
	switch exists := lab.Exists(c.out); {
	case exists && !c.more:
		return nil, hintError{error: fmt.Errorf("%s has a lab already", c.out),
			hint: "use -append to go on with it, or remove the directory"}
	case !exists && c.more:
		return nil, hintError{error: fmt.Errorf("%s has no lab to append to", c.out), hint: "leave out -append to make one"}
	case exists:
		return lab.Load(c.out, lab.Options{})
	}
	names := []string{"ca-bundle.pem", "intermediates.pem", "ca", "crl", "aia", "tokens"}
	for _, who := range c.people {
		names = append(names, who.name)
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(c.out, name)); err == nil {
			return nil, hintError{error: fmt.Errorf("%s is there already and is no lab's", filepath.Join(c.out, name)),
				hint: "choose a directory that is empty or not there yet"}
		}
	}
	return lab.New(lab.Options{BaseURL: strings.TrimSuffix(c.baseURL, "/")})
}

// holder finds who has this name in the lab.
func holder(p *lab.PKI, name string) *lab.Holder {
	for _, h := range slices.Backward(p.Holders()) {
		if h.Name == name {
			return h
		}
	}
	return nil
}
