package card

import (
	"errors"
	"maps"
	"net/url"
	"os"
	"strings"
	"testing"

	"chatsecure/testdata/corpus"
)

func TestURIAccepted(t *testing.T) {
	for _, tc := range []struct {
		in   string
		path map[string]string
		rest uri
	}{
		{"", map[string]string{}, uri{}},
		{"pkcs11:", map[string]string{}, uri{}},
		{"pkcs11:?", map[string]string{}, uri{}},
		{"PkCs11:token=a", map[string]string{"token": "a"}, uri{}},
		{"pkcs11:token=", map[string]string{"token": ""}, uri{}},
		{"pkcs11:token=Cart%C3%a3o%20de%20Cidad%C3%A3o;serial=0123", map[string]string{"token": "Cartão de Cidadão", "serial": "0123"}, uri{}},
		{"pkcs11:object=a:[]@!$'()*+,=&b-._~;type=cert", map[string]string{"object": "a:[]@!$'()*+,=&b-._~", "type": "cert"}, uri{}},
		{"pkcs11:id=%45%00%00%00%00%00%00%00", map[string]string{"id": "E\x00\x00\x00\x00\x00\x00\x00"}, uri{}},
		{"pkcs11:id=E%ff", map[string]string{"id": "E\xff"}, uri{}},
		{"pkcs11:slot-id=3;slot-manufacturer=m;slot-description=d",
			map[string]string{"slot-id": "3", "slot-manufacturer": "m", "slot-description": "d"}, uri{slotID: 3}},
		{"pkcs11:manufacturer=m;model=x;library-manufacturer=l;library-description=d;library-version=2.6;type=private",
			map[string]string{"manufacturer": "m", "model": "x", "library-manufacturer": "l",
				"library-description": "d", "library-version": "2.6", "type": "private"}, uri{}},
		{"pkcs11:?module-path=/a/b.so&module-name=c&pin-source=file:/run/p?in|", map[string]string{},
			uri{modulePath: "/a/b.so", moduleName: "c", pinSource: "file:/run/p?in|"}},
		{"pkcs11:token=a?pin-source=file%3A%2F%2F%2Frun%2Fmy%20pin", map[string]string{"token": "a"}, uri{pinSource: "file:///run/my pin"}},
	} {
		u, err := parseURI(tc.in)
		if err != nil {
			t.Errorf("%q: %v", tc.in, err)
			continue
		}
		if !maps.Equal(u.path, tc.path) || u.slotID != tc.rest.slotID || u.modulePath != tc.rest.modulePath ||
			u.moduleName != tc.rest.moduleName || u.pinSource != tc.rest.pinSource {
			t.Errorf("%q: got %+v", tc.in, u)
		}
	}
}

// Every refusal is a BadSpec with a hint. It repeats no value: a misspelt pin-value
// holds a PIN.
func TestURIRefused(t *testing.T) {
	for _, in := range []string{
		"pkcs11:token",                                         // no value
		"pkcs11:=73194628",                                     // no name
		"pkcs11:;token=73194628",                               // empty part
		"pkcs11:token=73194628;",                               // empty part
		"pkcs11:token=a;token=73194628",                        // twice
		"pkcs11:Token=73194628",                                // names have a case
		"pkcs11:x-vendor=73194628",                             // cannot be matched
		"pkcs11:pin-value=73194628",                            // not of the path
		"pkcs11:token=73194628%",                               // cut short
		"pkcs11:token=73194628%4",                              // cut short
		"pkcs11:token=73194628%4g",                             // not hex
		"pkcs11:token=73194628 b",                              // a blank
		"pkcs11:token=73194628/b",                              // / is for the query only
		"pkcs11:token=73194628#b",                              // no fragments
		"pkcs11:token=Cart\u00e3o73194628",                     // not percent-encoded
		"pkcs11:token=%ff73194628",                             // not UTF-8
		"pkcs11:token=%0073194628",                             // NUL
		"pkcs11:slot-id=73194628x",                             // not a number
		"pkcs11:slot-id=+73194628",                             // not a number of RFC 7512
		"pkcs11:slot-id=",                                      // not a number
		"pkcs11:slot-id=731946280000000000000000",              // too large
		"pkcs11:type=73194628",                                 // no such type
		"pkcs11:type=secret-key",                               // not looked for here
		"pkcs11:library-version=73194628.",                     // no minor version
		"pkcs11:library-version=7.3.1",                         // too many
		"pkcs11:?pin-value=73194628",                           // a PIN in an argument
		"pkcs11:?pin-valu=73194628",                            // misspelt
		"pkcs11:?pin_value=73194628",                           // misspelt
		"pkcs11:?module-path=/73194628&module-path=/b",         // twice
		"pkcs11:?module-path=",                                 // empty
		"pkcs11:?module-path=/a%0073194628",                    // NUL: C would stop there
		"pkcs11:?pin-source=/run/73194628",                     // not a file: URI
		"pkcs11:?pin-source=%7Ccat%2073194628",                 // a command
		"pkcs11:?pin-source=http://73194628",                   // not a file
		"pkcs11:?pin-source=file:",                             // no path
		"pkcs11:?pin-source=file://73194628/pin",               // another host
		"pkcs11:?pin-source=file://localhost",                  // no path
		"pkcs11:?a&b",                                          // no values
		"pkcs11:token=" + strings.Repeat("73194628", maxURI/8), // too long
	} {
		u, err := parseURI(in)
		e, ok := errors.AsType[*Error](err)
		if !ok || u != nil || !errors.Is(err, BadSpec) {
			t.Errorf("%.60q: accepted, or another error: %v", in, err)
			continue
		}
		if e.Hint == "" || strings.Contains(e.Message+e.Hint, "73194628") {
			t.Errorf("%.60q: %q, hint %q", in, e.Message, e.Hint)
		}
	}
}

func TestPINInURI(t *testing.T) {
	_, err := parseURI("pkcs11:token=a?pin-value=1234")
	if e := wantKind(t, err, BadSpec); !strings.Contains(e.Message, "never taken from an argument") || !strings.Contains(e.Hint, "pin-source") {
		t.Errorf("said %q, hint %q", e.Message, e.Hint)
	}
}

func TestURIWants(t *testing.T) {
	u, err := parseURI("pkcs11:token=a;serial=")
	if err != nil {
		t.Fatal(err)
	}
	if !u.want("token", "a") || u.want("token", "A") || u.want("serial", "1") || !u.want("serial", "") || !u.want("model", "any") {
		t.Error("attributes match wrongly")
	}
	if u.wantsObject() {
		t.Error("a token is not an object")
	}
}

func TestPINSourcePath(t *testing.T) {
	for in, want := range map[string]string{
		"file:/run/pin": "/run/pin", "file:///run/pin": "/run/pin", "file://localhost/run/pin": "/run/pin", "file:pin": "pin",
	} {
		if got, err := pinSourcePath(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
}

// FuzzURI: no input makes the parser panic. An accepted URI means the same after it
// is written and read again.
func FuzzURI(f *testing.F) {
	if seeds, err := os.ReadDir("testdata/fuzz/FuzzURI"); err != nil || len(seeds) == 0 {
		f.Fatalf("the corpus is empty: %v", err)
	}
	corpus.Add(f, func(s string) bool { _, err := parseURI(s); return err == nil }, []string{
		"pkcs11:token=Cart%C3%A3o%20de%20Cidad%C3%A3o;object=a;id=%45%00?module-path=/usr/local/lib/libpteidpkcs11.so&pin-source=file:/run/pin",
	})
	f.Fuzz(func(t *testing.T, s string) {
		if s != "" && !IsURI(s) {
			return
		}
		u, err := parseURI(s)
		if err != nil {
			if !errors.Is(err, BadSpec) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if u.pinSource != "" {
			path, err := pinSourcePath(u.pinSource)
			if err != nil || path == "" {
				t.Fatalf("%q was taken, and names the file %q, %v", u.pinSource, path, err)
			}
		}
		for attr := range strings.SplitSeq(strings.SplitN(s[min(len(s), len(uriScheme)):], "?", 2)[0], ";") {
			name, raw, _ := strings.Cut(attr, "=")
			if want, err := url.PathUnescape(raw); name != "" && (err != nil || u.path[name] != want) {
				t.Fatalf("%q: %s is %q, and net/url says %q, %v", s, name, u.path[name], want, err)
			}
		}
		var path, query []string
		for name, value := range u.path {
			path = append(path, name+"="+escape(value))
		}
		for name, value := range map[string]string{"module-path": u.modulePath, "module-name": u.moduleName, "pin-source": u.pinSource} {
			if value != "" {
				query = append(query, name+"="+escape(value))
			}
		}
		again := uriScheme + strings.Join(path, ";") + "?" + strings.Join(query, "&")
		v, err := parseURI(again)
		if len(again) > maxURI {
			return // escapes made it too long
		}
		if err != nil || !maps.Equal(u.path, v.path) || u.slotID != v.slotID || u.modulePath != v.modulePath ||
			u.moduleName != v.moduleName || u.pinSource != v.pinSource {
			t.Fatalf("%q became %q: %+v, %v", s, again, v, err)
		}
	})
}

// TestTokenURI: the URI of a token is read back as the token's.
func TestTokenURI(t *testing.T) {
	for _, token := range []TokenReport{{Label: "Cartão de Cidadão"}, {Label: "a;b=c?d&e/f%", Serial: "00 1;2"}, {}} {
		s := TokenURI("/usr/lib/a b&c.so", &token)
		u, err := parseURI(s)
		if err != nil || u.path["token"] != token.Label || u.path["serial"] != token.Serial || u.modulePath != "/usr/lib/a b&c.so" {
			t.Errorf("%s: %+v %v", s, u, err)
		}
	}
}
