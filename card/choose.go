//go:build cgo

package card

import (
	"bytes"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"

	"chatsecure/proto"
)

// authenticationLabels are the labels of authentication certificates on known
// cards.
var authenticationLabels = []string{
	"CITIZEN AUTHENTICATION CERTIFICATE",       // Cartão de Cidadão
	"Authentication",                           // Belgian eID
	"Isikutuvastus",                            // Estonian ID
	"CertAutenticacion",                        // Spanish DNIe
	"X.509 Certificate for PIV Authentication", // PIV by ykcs11
	"Certificate for PIV Authentication",       // PIV by OpenSC
}

// signatureLabels are the labels of certificates for signatures with legal
// effect. They are chosen only if the URI names them.
var signatureLabels = []string{
	"CITIZEN SIGNATURE CERTIFICATE",           // Cartão de Cidadão
	"Signature",                               // Belgian eID
	"Allkirjastamine",                         // Estonian ID
	"CertFirmaDigital",                        // Spanish DNIe
	"X.509 Certificate for Digital Signature", // PIV by ykcs11
	"Certificate for Digital Signature",       // PIV by OpenSC
}

// choice is the certificate to use on one token, or the reason for there being
// none.
type choice struct {
	token    *token
	cert     *certificate
	keyLabel string // set if the URI names the key by it
	err      error
}

// choose finds the authentication certificate on one token: the one named by
// the URI, else one with a known label, else the only candidate.
func choose(t *token, u *uri) choice {
	ch := choice{token: t}
	if ch.err = t.err; ch.err != nil {
		return ch
	}
	var people []*certificate // without the certificates of CAs
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
			"several certificates on %s match: %s", t.name(), names(fit))
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

// named returns the certificates selected by the URI's object and id. object is
// the label of a certificate, or of a key visible on the token.
func named(t *token, people []*certificate, u *uri) (fit []*certificate, keyLabel string) {
	object, byObject := u.path["object"]
	for _, c := range people {
		if u.want("id", string(c.id)) && (!byObject || u.path["type"] != "private" && c.label == object) {
			fit = append(fit, c)
		}
	}
	if len(fit) > 0 || !byObject || u.path["type"] == "cert" {
		return fit, ""
	}
	for _, c := range people {
		ofKey := func(k privateKey) bool { return k.label == object && len(k.id) > 0 && bytes.Equal(k.id, c.id) }
		if u.want("id", string(c.id)) && slices.ContainsFunc(t.keys, ofKey) {
			fit = append(fit, c)
		}
	}
	return fit, object
}

// authenticating returns the candidates if the URI names no certificate.
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

// noCertificate explains the lack of a candidate on a token.
func noCertificate(t *token, people []*certificate, u *uri) error {
	switch {
	case len(people) > 0 && u.wantsObject():
		return fail(NoCertificate, "correct object= or id= in the card's URI",
			"no certificate on %s has the label or id in the URI; there are %s", t.name(), names(people))
	case len(people) > 0:
		return fail(NoCertificate, "if it is one of them, name it: "+t.example(people[0]),
			"there is no authentication certificate on %s, only %s", t.name(), names(people))
	}
	for _, c := range t.certs {
		if c.err != nil {
			return c.err
		}
	}
	return fail(NoCertificate, "a contactless reader may see no certificate: put the card into a contact reader",
		"there is no certificate on %s", t.name())
}

// pickKey returns the private key of the chosen certificate, which has exactly
// its CKA_ID and is of its kind. It returns nil without an error if the key may
// be hidden until login.
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
		return nil, fail(Ambiguous, "choose one by its label: pkcs11:type=private;object=LABEL",
			"several private keys on %s have the id of the certificate %s: %s", t.name(), ch.cert.name(),
			list(fit, func(k *privateKey) string { return labelled(k.label, k.id) }))
	case other:
		return nil, fail(NoKey, "", "the private key on %s with the id of the certificate %s is not of the certificate's kind, %s",
			t.name(), ch.cert.name(), kind)
	case len(ch.cert.id) > 0 && t.info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0:
		return nil, nil
	}
	return nil, errNoKey(t, ch.cert)
}

func errNoKey(t *token, c *certificate) error {
	return fail(NoKey, "the key and the certificate of a card have the same id; pkcs11-tool --list-objects shows them",
		"there is no private key on %s for the certificate %s", t.name(), c.name())
}

// decide chooses among the tokens of one module. For Survey it also returns the
// choice on each token.
func decide(seen sight, u *uri) (choice, []choice, error) {
	var all, fit []choice
	var best error
	for _, t := range seen.tokens {
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
		// Some modules show one card as a slot for each PIN, with the
		// certificate in all of them. The slot with the key is the right one.
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
		return choice{}, all, fail(Ambiguous, "choose one with token= or serial=: "+fit[0].token.example(nil), "there are several cards: %s",
			list(fit, func(ch choice) string {
				return ch.token.name() + " with serial " + proto.Quote(ch.token.info.SerialNumber)
			}))
	}
	for _, s := range seen.empty {
		if s.Err != nil {
			best = moreTelling(best, s.Err)
		}
	}
	if best == nil {
		best = noToken(seen.tokens)
	}
	return choice{}, all, best
}

// noToken explains the lack of a matching token in a module.
func noToken(tokens []*token) error {
	tokens = slices.DeleteFunc(slices.Clone(tokens), func(t *token) bool { return !t.initialized() })
	if len(tokens) == 0 {
		return fail(NoCard, "put the card into the reader", "there is no card in any reader")
	}
	return fail(NoCard, "correct the card's URI, or put the right card in",
		"no card matches the URI; there are %s", list(tokens, (*token).name))
}

// moreTelling returns the error of the search that came further, the first of
// two equals.
func moreTelling(a, b error) error {
	if a == nil || rank(b) > rank(a) {
		return b
	}
	return a
}

// rank orders errors by the progress of the search for a card.
func rank(err error) int {
	order := []Kind{NoModule, ModuleMissing, ModuleLoad, ModuleArch, NoCard, Failed, NoCertificate, Unsuitable, NoKey, Ambiguous}
	return slices.Index(order, asError(err).Kind)
}

// example returns an option that selects a token and, if given, a certificate.
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

// same reports whether two objects are the same certificate with the same id.
func (c *certificate) same(o *certificate) bool {
	return bytes.Equal(c.id, o.id) && bytes.Equal(c.der, o.der)
}

func names(certs []*certificate) string { return list(certs, (*certificate).name) }

// list joins names with commas.
func list[T any](all []T, name func(T) string) string {
	var names []string
	for _, v := range all {
		names = append(names, name(v))
	}
	return strings.Join(names, ", ")
}
