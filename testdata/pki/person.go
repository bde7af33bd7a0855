package main

import (
	"errors"
	"fmt"
	"strings"

	"chatsecure/testdata/lab"
)

// person is one NAME[:OPTION,...] of the command line.
type person struct {
	name  string
	opts  []lab.IssueOption
	words []string // the options as written
	renew bool
}

// options maps the words after NAME: to options of the lab. "renew" is handled
// apart: it needs the lab.
var options = map[string]lab.IssueOption{
	"ec": lab.P256, "p256": lab.P256, "p384": lab.P384, "p521": lab.P521,
	"rsa": lab.RSA2048, "rsa2048": lab.RSA2048, "rsa3072": lab.RSA3072, "rsa4096": lab.RSA4096,
	"expired": lab.Expired, "notyet": lab.NotYetValid, "revoked": lab.Revoked,
	"untrusted": lab.Untrusted, "selfsigned": lab.SelfSigned, "noca": lab.NoCA,
}

// parsePerson reads the argument at this position, counted from 0. Keys alternate,
// so that a lab of two has both kinds of card.
func parsePerson(arg string, position int) (person, error) {
	name, list, _ := strings.Cut(arg, ":")
	p := person{name: name, opts: []lab.IssueOption{lab.P256}}
	if position%2 == 1 {
		p.opts[0] = lab.RSA2048
	}
	if err := lab.CheckName(name); err != nil {
		return p, hintError{err, "choose another NAME", true}
	}
	for word := range strings.SplitSeq(list, ",") {
		opt, ok := options[word]
		switch {
		case word == "":
			continue
		case word == "renew":
			p.renew = true
		case ok:
			p.opts = append(p.opts, opt)
		default:
			return p, hintError{fmt.Errorf("%s: no option %q", name, word), "pki -h lists the options", true}
		}
		p.words = append(p.words, word)
	}
	return p, nil
}

// issue returns the options for a card in this lab. A second card for a name needs
// "renew": it replaces the first in the directory.
func (who person) issue(p *lab.PKI) ([]lab.IssueOption, error) {
	old := holder(p, who.name)
	switch {
	case who.renew && old == nil:
		return nil, hintError{error: fmt.Errorf("%s has no card to renew", who.name),
			hint: "leave out renew to make the first one"}
	case !who.renew && old != nil:
		return nil, hintError{error: errors.New(who.name + " has a card in this lab already"),
			hint: "write " + who.name + ":renew for a new card of the same person, or choose another NAME"}
	case who.renew:
		return append(who.opts, lab.RenewalOf(old)), nil
	}
	return who.opts, nil
}
