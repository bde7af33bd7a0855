//go:build cgo

package card

import (
	"bytes"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"
)

// authenticationLabels are the labels of authentication certificates on the
// cards that are known.
var authenticationLabels = []string{
	"CITIZEN AUTHENTICATION CERTIFICATE",       // Cartão de Cidadão
	"Authentication",                           // Belgian eID
	"Isikutuvastus",                            // Estonian ID
	"CertAutenticacion",                        // Spanish DNIe
	"X.509 Certificate for PIV Authentication", // PIV by ykcs11
	"Certificate for PIV Authentication",       // PIV by OpenSC
}

// signatureLabels are those of certificates whose signatures have legal effect.
// They are never chosen unless the URI names them.
var signatureLabels = []string{
	"CITIZEN SIGNATURE CERTIFICATE",           // Cartão de Cidadão
	"Signature",                               // Belgian eID
	"Allkirjastamine",                         // Estonian ID
	"CertFirmaDigital",                        // Spanish DNIe
	"X.509 Certificate for Digital Signature", // PIV by ykcs11
	"Certificate for Digital Signature",       // PIV by OpenSC
}

// choice is the certificate to use on one token, or why there is none.
type choice struct {
	token    *token
	cert     *certificate
	keyLabel string // the key's label, if it is that which the URI named
	err      error
}

// choose finds the authentication certificate on one token: the one that the
// URI names, else one with a known label, else the only one that can be it.
func choose(t *token, u *uri) choice {
	ch := choice{token: t}
	if ch.err = t.err; ch.err != nil {
		return ch
	}
	var people []*certificate // certificates that are not a CA's
	for i := range t.certs {
		if c := &t.certs[i]; c.parsed != nil && !isCA(c.parsed) && !slices.ContainsFunc(people, c.same) {
			people = append(people, c)
		}
	}
	var fit []*certificate
	if u.wantsObject() {
		fit, ch.keyLabel = named(t, people, u)
	} else {
		fit = authenticating(people)
	}
	switch {
	case len(fit) > 1:
		ch.err = fail(Ambiguous, "choose one with id= or object=: "+t.example(fit[0]),
			"several certificates fit on %s: %s", t.name(), names(fit))
	case len(fit) == 1:
		ch.cert = fit[0]
		if ch.err = checkLeaf(ch.cert.parsed); ch.err == nil {
			_, ch.err = pickKey(t, t.keys, ch)
		}
	default:
		ch.err = noCertificate(t, people, u)
	}
	return ch
}

// named returns the certificates that the URI's object and id mean. object is
// a certificate's label, or that of a key that the token shows.
func named(t *token, people []*certificate, u *uri) (fit []*certificate, keyLabel string) {
	id, byID := u.path["id"]
	object, byObject := u.path["object"]
	for _, c := range people {
		if (!byID || id == string(c.id)) && (!byObject || u.path["type"] != "private" && c.label == object) {
			fit = append(fit, c)
		}
	}
	if len(fit) > 0 || !byObject || u.path["type"] == "cert" {
		return fit, ""
	}
	for _, c := range people {
		ofKey := func(k privateKey) bool { return k.label == object && len(k.id) > 0 && bytes.Equal(k.id, c.id) }
		if (!byID || id == string(c.id)) && slices.ContainsFunc(t.keys, ofKey) {
			fit = append(fit, c)
		}
	}
	return fit, object
}

// authenticating returns the certificates that can be meant when none is named.
func authenticating(people []*certificate) []*certificate {
	var known, rest []*certificate
	for _, c := range people {
		switch {
		case !maySign(c.parsed):
		case slices.Contains(authenticationLabels, c.label):
			known = append(known, c)
		case !slices.Contains(signatureLabels, c.label):
			rest = append(rest, c)
		}
	}
	if len(known) > 0 {
		return known
	}
	return rest
}

func noCertificate(t *token, people []*certificate, u *uri) error {
	switch {
	case len(people) > 0 && u.wantsObject():
		return fail(NoCertificate, "correct object= or id= in the card's URI", "no certificate on %s has the label or id that the URI names; there are %s", t.name(), names(people))
	case len(people) > 0:
		return fail(NoCertificate, "if it is one of them, name it: "+t.example(people[0]), "there is no authentication certificate on %s, only %s", t.name(), names(people))
	}
	for _, c := range t.certs {
		if c.err != nil {
			return c.err
		}
	}
	return fail(NoCertificate, "a card read without contact may show nothing: put it into a contact reader", "there is no certificate on %s", t.name())
}

// pickKey returns the private key of the chosen certificate: the one with
// exactly its CKA_ID, of its kind. None is an error, unless keys are hidden
// until login, which the caller knows.
func pickKey(t *token, keys []privateKey, ch choice) (*privateKey, error) {
	kind := keyType(ch.cert.parsed.PublicKey)
	var fit []*privateKey
	other := false
	for i := range keys {
		k := &keys[i]
		if len(k.id) == 0 || !bytes.Equal(k.id, ch.cert.id) || ch.keyLabel != "" && k.label != ch.keyLabel {
			continue
		}
		if k.kind != kind {
			other = true
			continue
		}
		fit = append(fit, k)
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		var labels []string
		for _, k := range fit {
			labels = append(labels, quote(k.label)+" (id="+escapeAll(k.id)+")")
		}
		return nil, fail(Ambiguous, "choose one by its label: pkcs11:type=private;object=LABEL", "several private keys on %s have the id of the certificate %s: %s",
			t.name(), ch.cert.name(), strings.Join(labels, ", "))
	case other:
		return nil, fail(NoKey, "", "the private key on %s with the id of the certificate %s is not of the certificate's kind, %s", t.name(), ch.cert.name(), kind)
	case len(ch.cert.id) > 0 && t.info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0:
		return nil, nil // hidden, perhaps
	}
	return nil, errNoKey(t, ch.cert)
}

func errNoKey(t *token, c *certificate) error {
	return fail(NoKey, "the key and the certificate of a card have the same id; pkcs11-tool --list-objects shows them",
		"there is no private key on %s for the certificate %s", t.name(), c.name())
}

// decide chooses among the tokens of one module. It also returns what was
// found on each, for Survey.
func decide(tokens []*token, empty []SlotReport, u *uri) (choice, []choice, error) {
	var all, fit []choice
	var best error
	for _, t := range tokens {
		if !t.matches {
			all = append(all, choice{token: t})
			continue
		}
		ch := choose(t, u)
		all = append(all, ch)
		if ch.err != nil {
			if t.initialized() {
				best = moreTelling(best, ch.err)
			}
			continue
		}
		// Some modules show one card as several slots, one a PIN, with the
		// certificate in each: the slot with the key is the one.
		same := slices.IndexFunc(fit, func(o choice) bool { return bytes.Equal(o.cert.der, ch.cert.der) })
		switch {
		case same < 0:
			fit = append(fit, ch)
		case len(fit[same].token.keys) == 0 && len(t.keys) > 0:
			fit[same] = ch
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], all, nil
	case len(fit) > 1:
		var tokens []string
		for _, ch := range fit {
			tokens = append(tokens, ch.token.name()+" with serial "+quote(ch.token.info.SerialNumber))
		}
		return choice{}, all, fail(Ambiguous, "choose one with token= or serial=: "+fit[0].token.example(nil),
			"there are several cards: %s", strings.Join(tokens, ", "))
	}
	for _, s := range empty {
		if s.Err != nil {
			best = moreTelling(best, s.Err)
		}
	}
	if best == nil {
		best = noToken(tokens)
	}
	return choice{}, all, best
}

func noToken(tokens []*token) error {
	var names []string
	for _, t := range tokens {
		if t.initialized() {
			names = append(names, t.name())
		}
	}
	if len(names) == 0 {
		return fail(NoCard, "put the card into the reader", "there is no card in any reader")
	}
	return fail(NoCard, "correct the card's URI, or put the right card in", "no card fits the URI; there are %s", strings.Join(names, ", "))
}

// moreTelling returns the error that says more about what stands in the way;
// the first of two that say as much.
func moreTelling(a, b error) error {
	if a == nil || rank(b) > rank(a) {
		return b
	}
	return a
}

// rank orders errors by how far the search for a card came.
func rank(err error) int {
	order := []Kind{NoModule, ModuleMissing, ModuleLoad, ModuleArch, NoCard, Failed, NoCertificate, Unsuitable, NoKey, Ambiguous}
	return slices.Index(order, asError(err).Kind)
}

// example is a URI that chooses a token and, if one is given, a certificate.
func (t *token) example(c *certificate) string {
	s := "-card 'pkcs11:token=" + escape(t.info.Label)
	switch {
	case c == nil:
		s += ";serial=" + escape(t.info.SerialNumber)
	case len(c.id) > 0:
		s += ";id=" + escapeAll(c.id)
	default:
		s += ";object=" + escape(c.label)
	}
	return s + "'"
}

// same reports whether two objects are one certificate with one id.
func (c *certificate) same(o *certificate) bool {
	return bytes.Equal(c.id, o.id) && bytes.Equal(c.der, o.der)
}

func names(certs []*certificate) string {
	var all []string
	for _, c := range certs {
		all = append(all, c.name())
	}
	return strings.Join(all, ", ")
}
