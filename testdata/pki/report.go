package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"chatsecure/testdata/lab"
)

// report describes a lab and its use.
type report struct {
	w      io.Writer
	c      *config
	p      *lab.PKI
	made   []*lab.Holder
	tokens *lab.Tokens // nil without -softhsm
}

func (r report) print() {
	root := r.p.Root.Cert
	fmt.Fprintf(r.w, "lab in %s: %s, SHA-256 %x\n", r.c.out, root.Subject.CommonName, sha256.Sum256(root.Raw))
	for _, name := range r.c.revoke {
		fmt.Fprintf(r.w, "revoked %s; a running relay reads the new CRLs on SIGHUP\n", name)
	}
	for i, h := range r.made {
		words := ""
		if w := r.c.people[i].words; len(w) > 0 {
			words = " (" + strings.Join(w, ", ") + ")"
		}
		fmt.Fprintf(r.w, "%s%s: %s, %s, %s, until %s\n", h.Name, words, h.Leaf.Subject.CommonName,
			h.Leaf.Subject.SerialNumber, keyName(h), h.Leaf.NotAfter.Format("2006-01-02"))
	}
	r.commands()
}

// keyName returns the kind and size of a holder's key.
func keyName(h *lab.Holder) string {
	switch pub := h.Key.Public().(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", pub.N.BitLen())
	case *ecdsa.PublicKey:
		return "EC " + pub.Curve.Params().Name
	}
	return fmt.Sprintf("%T", h.Key)
}

// commands prints lines for a shell.
func (r report) commands() {
	if len(r.made) == 0 {
		return
	}
	if url := r.p.BaseURL(); url != lab.DefaultBaseURL {
		fmt.Fprintf(r.w, "\nserve %s at %s, so that CRLs and issuers can be fetched\n", r.c.out, url)
	} else {
		for _, h := range r.made {
			if len(h.Chain) == 0 && h.Issuer != nil {
				fmt.Fprintf(r.w, "note: %s's card has no CA certificates, and without -base-url they cannot be fetched\n", h.Name)
			}
		}
	}
	fmt.Fprintf(r.w, "\nsh %s\n", quote(filepath.Join(r.c.out, "relay.sh")))
	for _, h := range r.made {
		r.client(h, "")
	}
	if r.tokens == nil {
		return
	}
	fmt.Fprintf(r.w, "\nexport SOFTHSM2_CONF=%s\n", quote(r.tokens.Conf))
	for _, h := range r.made {
		r.client(h, " -card "+quote(r.tokens.URI(h.Name))+" -pin-file "+quote(r.tokens.PINFile(h.Name)))
	}
}

func (r report) client(h *lab.Holder, card string) {
	fmt.Fprintf(r.w, "bin/client -state %s%s\n", quote(filepath.Join(r.c.out, "state", h.Name)), card)
}

// quote makes s one word of a shell.
func quote(s string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("/._-+@%:,", c)
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
