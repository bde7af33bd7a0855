package history

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// TestHistoryLinesAreCanonical: lines are written by hand, and are the canonical JSON
// of package proto.
func TestHistoryLinesAreCanonical(t *testing.T) {
	p := newPost(t)
	toldLetters(p)
	types := make(map[string]bool)
	for _, u := range []*user{p.a, p.b} {
		data, err := os.ReadFile(filepath.Join(u.dir, linesName))
		p.Must(err)
		for _, line := range lines(data) {
			l, err := parseLine(line)
			if err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			types[l.Type] = true
			if again := proto.MustMarshal(l); !bytes.Equal(again, line) {
				t.Errorf("written  %s\ncanonical %s", line, again)
			}
			if typ, _, ok := peekType(line); !ok || string(typ) != l.Type {
				t.Errorf("a %s line looks like %s", l.Type, typ)
			}
		}
	}
	for typ := range Fields {
		if !types[typ] && typ != lineText && typ != lineLetter {
			t.Errorf("no %s line was written", typ)
		}
	}
}

// TestHistoryHasNoKeys: no message key is ever in the history, so that it opens no
// captured ciphertext.
func TestHistoryHasNoKeys(t *testing.T) {
	p := newPost(t)
	toldLetters(p)
	data, err := os.ReadFile(filepath.Join(p.b.dir, linesName))
	p.Must(err)
	allowed := regexp.MustCompile(`^(v|prev|time|type|hash|bundle|conversation|suite|direction|me|peer|seq|id|name|reason|names|run|` +
		`header|cipher_hash|signature|before|record|records|receipt|` +
		`until|left|receipts|letter|mailbox|enc-hash|level|conn|identity|kind|n|random|step|enc|key|src-bundle|dst-bundle|count|digest|to|text|salt|` +
		`public_key|not_before|not_after|mailbox|mailbox_end|public_key_signature|x509|x509_chain|delivered|delivered_digest|read|read_digest)$`)
	for _, name := range regexp.MustCompile(`[,{]"([^"\\]+)":`).FindAllSubmatch(data, -1) {
		if !allowed.Match(name[1]) {
			t.Errorf("the history has a field %s", name[1])
		}
	}
	private := p.b.Local.Key.PKCS8()
	if bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(private))) {
		t.Error("the history has the private key")
	}
	for _, secret := range [][]byte{p.bruno.box.Secret(), p.bruno.box.Public(), p.ana.box.Public()} {
		if bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(secret))) {
			t.Error("the history has the key of a mailbox")
		}
	}
}

// TestHistoryLineRefused: JSON with the right fields need not be a line of the history.
func TestHistoryLineRefused(t *testing.T) {
	zeros, hash := strings.Repeat("0", 64), base64.StdEncoding.EncodeToString(make([]byte, 32))
	const end = `{"name":"a","conn":"b","identity":"","bundle":""}`
	const bundle = `{"name":"a","public_key":"","not_before":0,"not_after":0,` +
		`"public_key_signature":"","x509":"","x509_chain":[]}`
	start := `{"v":2,"prev":"` + zeros + `","time":1,"type":`
	good := `"owner","name":"a","identity":"` + zeros + `"}`
	if _, err := parseLine([]byte(start + good)); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"version":           strings.Replace(start, `2`, `1`, 1) + good,
		"type":              start + `"other","name":"a","identity":"` + zeros + `"}`,
		"field missing":     start + `"owner","name":"a"}`,
		"field of another":  start + strings.TrimSuffix(good, "}") + `,"seq":1}`,
		"field unknown":     start + strings.TrimSuffix(good, "}") + `,"key":"AA=="}`,
		"space":             start + ` ` + good,
		"prev short":        `{"v":2,"prev":"00","time":1,"type":` + good,
		"prev in capitals":  `{"v":2,"prev":"` + strings.Repeat("A", 64) + `","time":1,"type":` + good,
		"time before 1970":  `{"v":2,"prev":"` + zeros + `","time":-1,"type":` + good,
		"time is null":      `{"v":2,"prev":"` + zeros + `","time":null,"type":` + good,
		"seq too large":     start + `"taken","conversation":"` + hash + `","direction":"AB","seq":9223372036854775808}`,
		"a name is null":    start + `"pending","run":"00","names":[null],"record":{}}`,
		"record is null":    start + `"pending","run":"00","names":["bob"],"record":null}`,
		"a null within":     start + `"pending","run":"00","names":["bob"],"record":{"to":null}}`,
		"a large number in": start + `"pending","run":"00","names":["bob"],"record":{"seq":9223372036854775808}}`,
		"an issuer is null": start + `"bundle","hash":"` + hash + `","bundle":` + strings.Replace(bundle, "[]", "[null]", 1) + `}`,
		"conversation":      start + `"taken","conversation":"AA==","direction":"AB","seq":1}`,
		"seq of nothing":    start + `"taken","conversation":"` + hash + `","direction":"AB","seq":0}`,
		"direction":         start + `"shown","conversation":"` + hash + `","direction":"AC","seq":1}`,
		"no end of the two": start + `"conversation","conversation":"` + hash + `","suite":"s","direction":"AB","me":` + end + `,"peer":` + end + `}`,
	} {
		if l, err := parseLine([]byte(line)); err == nil {
			t.Errorf("%s: taken as %+v", name, l)
		}
	}
}

func FuzzHistoryLine(f *testing.F) {
	p := newPair(f)
	told(p)
	var good [][]byte
	for _, u := range []*user{p.a, p.b} {
		data, err := os.ReadFile(filepath.Join(u.dir, linesName))
		p.Must(err)
		good = append(good, lines(data)...)
	}
	corpus.Add(f, func(line []byte) bool { _, err := parseLine(line); return err == nil }, good)
	f.Fuzz(func(t *testing.T, line []byte) {
		// The peek functions and the whole decoding agree.
		x := newIndex("", nil, nil)
		x.take(line, 0, false)
		l, err := parseLine(line)
		if err != nil {
			return
		}
		if again := proto.MustMarshal(l); !bytes.Equal(again, line) {
			t.Errorf("taken %q\nis    %q", line, again)
		}
		if typ, _, ok := peekType(line); !ok || string(typ) != l.Type {
			t.Errorf("a %s line looks like %q", l.Type, typ)
		}
		if hash, ok := peekBundle(line); ok != (l.Type == lineBundle) || ok && !bytes.Equal(hash[:], l.Hash) {
			t.Errorf("the bundle looks like %x", hash)
		}
		if l.Type == lineConversation && len(x.convs) != 1 {
			t.Error("the conversation is not known")
		}
		v := newView(Query{}, Owner{})
		if v.line(1, line); len(v.problems) > 0 {
			t.Errorf("reading: %v", v.problems)
		}
		v.finish(false)
	})
}
