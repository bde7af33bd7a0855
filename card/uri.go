package card

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	uriScheme = "pkcs11:"

	// maxURI bounds a URI in bytes. PKCS#11 labels have 32 to 64 bytes, which
	// percent-encoding trebles; two paths have 4,096 each at most.
	maxURI = 16384
)

// uri is a PKCS#11 URI (RFC 7512). The zero value matches every token.
type uri struct {
	path       map[string]string // path attributes, decoded
	slotID     uint              // of slot-id, if it is in path
	modulePath string
	moduleName string
	pinSource  string
}

// The path attributes of RFC 7512, section 2.3.
var pathAttributes = []string{
	"token", "manufacturer", "serial", "model",
	"object", "type", "id",
	"slot-id", "slot-manufacturer", "slot-description",
	"library-manufacturer", "library-description", "library-version",
}

const uriHint = "write it as 'pkcs11:token=LABEL;object=LABEL;id=%45?module-path=/PATH&pin-source=file:/PATH'; " +
	"every part may be left out"

// parseURI parses a PKCS#11 URI strictly. Unknown attributes are refused: in the
// path they cannot match (RFC 7512, section 2.3), and in the query a misspelt one
// would be ignored in silence. Repeated attributes are refused too. The empty
// string is the zero uri. No error repeats a value: it may be a PIN.
func parseURI(s string) (*uri, error) {
	u := &uri{path: map[string]string{}}
	if s == "" {
		return u, nil
	}
	if len(s) > maxURI {
		return nil, fail(BadSpec, uriHint, "the card's URI is longer than %d bytes", maxURI)
	}
	path, query, _ := strings.Cut(s[len(uriScheme):], "?")
	if path != "" {
		for attr := range strings.SplitSeq(path, ";") {
			name, value, err := parseAttribute(attr, "&")
			if err != nil {
				return nil, err
			}
			if err := u.setPath(name, value); err != nil {
				return nil, err
			}
		}
	}
	if query != "" {
		seen := map[string]bool{}
		for attr := range strings.SplitSeq(query, "&") {
			name, value, err := parseAttribute(attr, "/?|")
			if err != nil {
				return nil, err
			}
			if seen[name] {
				return nil, fail(BadSpec, uriHint, "the card's URI has %q twice", name)
			}
			seen[name] = true
			if err := u.setQuery(name, value); err != nil {
				return nil, err
			}
		}
	}
	return u, nil
}

func (u *uri) setPath(name, value string) error {
	if !slices.Contains(pathAttributes, name) {
		return fail(BadSpec, "the known attributes are "+strings.Join(pathAttributes, ", "), "the card's URI has the unknown attribute %q", name)
	}
	if _, twice := u.path[name]; twice {
		return fail(BadSpec, uriHint, "the card's URI has %q twice", name)
	}
	if name != "id" && !isText(value) {
		return fail(BadSpec, uriHint, "%q in the card's URI is not UTF-8 text", name)
	}
	switch name {
	case "slot-id":
		n, err := strconv.ParseUint(value, 10, strconv.IntSize)
		if err != nil {
			return fail(BadSpec, uriHint, "slot-id in the card's URI is not a number")
		}
		u.slotID = uint(n)
	case "type":
		if value != "cert" && value != "private" {
			return fail(BadSpec, "say type=cert or type=private, or leave it out",
				"the card's URI asks for an object that is neither a certificate nor a private key")
		}
	case "library-version":
		if !isVersion(value) {
			return fail(BadSpec, uriHint, "library-version in the card's URI is not of the form 1 or 1.2")
		}
	}
	u.path[name] = value
	return nil
}

func (u *uri) setQuery(name, value string) error {
	if name == "pin-value" {
		return fail(BadSpec, "type it when it is asked for, or give pin-source=file:PATH",
			"the card's URI has a pin-value: a PIN is never taken from an argument, where other users can read it")
	}
	if value == "" || !isText(value) {
		return fail(BadSpec, uriHint, "%q in the card's URI is empty or not UTF-8 text", name)
	}
	switch name {
	case "module-path":
		u.modulePath = value
	case "module-name":
		u.moduleName = value
	case "pin-source":
		if _, err := pinSourcePath(value); err != nil {
			return err
		}
		u.pinSource = value
	default:
		return fail(BadSpec, "the known attributes are module-path, module-name and pin-source",
			"the card's URI has the unknown query attribute %q", name)
	}
	return nil
}

// parseAttribute splits and decodes name=value. more are characters that need no
// encoding in this part of the URI, beside those allowed everywhere.
func parseAttribute(attr, more string) (name, value string, err error) {
	name, raw, ok := strings.Cut(attr, "=")
	if !ok || name == "" || strings.ContainsFunc(name, notNameChar) {
		return "", "", fail(BadSpec, uriHint, "the card's URI has a part that is not of the form name=value")
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case isUnreserved(c) || strings.IndexByte(":[]@!$'()*+,=", c) >= 0 || strings.IndexByte(more, c) >= 0:
			b.WriteByte(c)
		case c == '%' && i+2 < len(raw) && isHex(raw[i+1]) && isHex(raw[i+2]):
			n, _ := strconv.ParseUint(raw[i+1:i+3], 16, 8) // two hex digits: it cannot fail
			b.WriteByte(byte(n))
			i += 2
		default:
			return "", "", fail(BadSpec, "write it as % and two hex digits, a space as %20",
				"the value of %q in the card's URI has a character that must be percent-encoded", name)
		}
	}
	return name, b.String(), nil
}

// want reports whether the URI allows this value of an attribute.
func (u *uri) want(name, value string) bool {
	w, given := u.path[name]
	return !given || w == value
}

// wantsObject reports whether the URI names a certificate or key.
func (u *uri) wantsObject() bool {
	_, object := u.path["object"]
	_, id := u.path["id"]
	return object || id
}

// escapeAll percent-encodes every byte, as RFC 7512 recommends for id.
func escapeAll(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		const digits = "0123456789ABCDEF"
		s.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return s.String()
}

// escape percent-encodes text for a URI in a hint.
func escape(text string) string {
	var s strings.Builder
	for i := range len(text) {
		if isUnreserved(text[i]) {
			s.WriteByte(text[i])
		} else {
			s.WriteString(escapeAll([]byte{text[i]}))
		}
	}
	return s.String()
}

// isText reports whether a decoded value is UTF-8 without NUL, which would end a
// path in C.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func isVersion(s string) bool {
	major, minor, two := strings.Cut(s, ".")
	return isDigits(major) && (!two || isDigits(minor))
}

func isDigits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isUnreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("-._~", c) >= 0
}

func notNameChar(r rune) bool {
	return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '-' || r == '_')
}

// TokenURI returns the URI that names a token of a module.
func TokenURI(module string, t *TokenReport) string {
	u := uriScheme + "token=" + escape(t.Label)
	if t.Serial != "" {
		u += ";serial=" + escape(t.Serial)
	}
	return u + "?module-path=" + strings.ReplaceAll(escape(module), "%2F", "/")
}
