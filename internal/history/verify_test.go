package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
	"chatsecure/testdata/spoil"
)

// told fills both histories with one of everything, in two conversations, and
// closes them. It returns the ids of Ana's records.
func told(p *pair) (ids []string) {
	p.T.Helper()
	first := p.record("waited", to(p.b))
	p.Must(p.a.h.Pending(first, []string{"Bruno"}))
	p.SendRecords(first)
	ids = append(ids, first.ID)
	p.Must(p.a.h.Taken(p.Ca.T3, 1))
	ids = append(ids, p.Send("two", "three", "\u2028 <&> \x00 \"quoted\" {\"id\":\"\n")...)
	p.Receipt(4, 1)
	p.Must(p.b.h.Shown(p.Cb.T3, 3))
	p.Receipt(4, 3)
	p.Must(p.a.h.Taken(p.Ca.T3, 4))
	end, err := p.Ca.SealEnd(p.Clock.Now())
	p.Must(err)
	o, err := p.Cb.Open(end.Body, p.Clock.Now())
	p.Must(err)
	p.Must(p.b.h.Ended(p.Cb, o))
	p.Must(p.a.h.Gap(p.Ca.T3, "the relay was lost"))
	p.Connect()
	ids = append(ids, p.Send("in the second conversation")...)
	p.Must(p.a.h.Failed(ids[4], "Bruno", "not delivered within 30s"))
	p.Must(p.b.h.Seen(p.Cb.T3, 1))
	p.close(p.a)
	p.close(p.b)
	return ids
}

// verified returns the report on a directory.
func verified(t testing.TB, dir string, v *trust.Verifier) *Report {
	t.Helper()
	r, err := Verify(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerifyHistory(t *testing.T) {
	p := newPair(t)
	told(p)
	a, b := verified(t, p.a.dir, p.Verifier), verified(t, p.b.dir, p.Verifier)
	for who, r := range map[string]*Report{"Ana": a, "Bruno": b} {
		if !r.OK() {
			t.Errorf("%s's history does not hold: %v", who, r.Findings)
		}
		if r.Files != 1 || r.Bundles != 2 || r.Conversations != 2 || r.Messages != 3 || r.Records != 5 {
			t.Errorf("%s's report counts %+v", who, r)
		}
	}
	if a.Receipts != 2 || b.Ends != 1 {
		t.Errorf("%d receipts and %d ends were checked, want 2 and 1", a.Receipts, b.Ends)
	}
	if r := verified(t, filepath.Join(p.a.dir, "none"), p.Verifier); !r.OK() || r.Lines != 0 {
		t.Errorf("a history that is not there is %+v", r)
	}
}

// TestVerifyHistoryWhileWritten: the unfinished line of a running client is no damage.
func TestVerifyHistoryWhileWritten(t *testing.T) {
	p := newPair(t)
	p.Send("one")
	if r := verified(t, p.a.dir, p.Verifier); !r.OK() || r.Messages != 1 {
		t.Errorf("an open history is %+v", r)
	}
	path := filepath.Join(p.a.dir, "0.jsonl")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	p.Must(err)
	defer f.Close()
	_, err = f.WriteString(`{"v":1,"prev":"`)
	p.Must(err)
	if r := verified(t, p.a.dir, p.Verifier); !r.OK() || r.Messages != 1 {
		t.Errorf("with a line half-written it is %+v", r)
	}
	info, err := os.Stat(path)
	p.Must(err)
	p.Must(os.Truncate(path, info.Size()-int64(len(`{"v":1,"prev":"`))))
}

// readFiles reads a directory, writeFiles writes it anew somewhere else.
func readFiles(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func writeFiles(t testing.TB, files map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, data := range files {
		if data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func lines(data []byte) [][]byte {
	return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
}

// rechain makes a chaining file of lines, with its head, as anybody can who knows the
// format.
func rechain(files map[string][]byte, slot string, lines [][]byte) {
	var prev [sha256.Size]byte
	var data []byte
	for _, line := range lines {
		line = slices.Concat([]byte(prevStart+hex.EncodeToString(prev[:])), line[len(prevStart)+2*sha256.Size:])
		prev = sha256.Sum256(line)
		data = append(append(data, line...), '\n')
	}
	files[slot+Ext] = data
	files[slot+headExt] = appendHead(nil, uint64(len(lines)), &prev)
}

// nth returns the index of the n-th line of a type, from 0.
func nth(t testing.TB, lines [][]byte, typ string, n int) int {
	t.Helper()
	for i, line := range lines {
		if bytes.Contains(line, []byte(`,"type":"`+typ+`"`)) {
			if n == 0 {
				return i
			}
			n--
		}
	}
	t.Fatalf("no such %s line", typ)
	return 0
}

// TestRow25HistoryDamage: row 25. Files are edited, truncated and swapped, and nothing
// is made to fit.
func TestRow25HistoryDamage(t *testing.T) {
	p := newPair(t)
	told(p)
	other, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	second, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	p.Must(second.Begin(p.Cb, p.b.Local.Bundle))
	p.Must(other.Close())
	p.Must(second.Close())
	good := readFiles(t, p.b.dir)
	if len(good) != 5 {
		t.Fatalf("files are %d, want two of lines, two heads and the gate", len(good))
	}

	lines := func(files map[string][]byte) [][]byte { return lines(files["0.jsonl"]) }
	put := func(files map[string][]byte, lines [][]byte) {
		files["0.jsonl"] = append(bytes.Join(lines, []byte("\n")), '\n')
	}
	replace := func(old, new string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			if !bytes.Contains(files["0.jsonl"], []byte(old)) {
				t.Fatalf("the history has no %s", old)
			}
			files["0.jsonl"] = bytes.Replace(files["0.jsonl"], []byte(old), []byte(new), 1)
		}
	}
	for name, damage := range map[string]func(files map[string][]byte){
		"edited text":     replace(`"text":"two"`, `"text":"TWO"`),
		"edited status":   replace(`"seq":3}`, `"seq":4}`),
		"edited time":     replace(`,"type":"received"`, `0,"type":"received"`),
		"added space":     replace(`,"type":"received"`, ` ,"type":"received"`),
		"edited type":     replace(`,"type":"shown"`, `,"type":"taken"`),
		"edited hash":     replace(`"prev":"`+strings.Repeat("0", 8), `"prev":"`+strings.Repeat("1", 8)),
		"rows swapped":    func(f map[string][]byte) { l := lines(f); l[3], l[4] = l[4], l[3]; put(f, l) },
		"a row removed":   func(f map[string][]byte) { put(f, slices.Delete(lines(f), 4, 5)) },
		"first removed":   func(f map[string][]byte) { put(f, lines(f)[1:]) },
		"last removed":    func(f map[string][]byte) { l := lines(f); put(f, l[:len(l)-1]) },
		"a row doubled":   func(f map[string][]byte) { put(f, slices.Insert(lines(f), 4, lines(f)[4])) },
		"last doubled":    func(f map[string][]byte) { l := lines(f); put(f, append(l, l[len(l)-1])) },
		"truncated":       func(f map[string][]byte) { f["0.jsonl"] = f["0.jsonl"][:len(f["0.jsonl"])-9] },
		"no newline":      func(f map[string][]byte) { f["0.jsonl"] = f["0.jsonl"][:len(f["0.jsonl"])-1] },
		"torn":            func(f map[string][]byte) { f["0.jsonl"] = append(f["0.jsonl"], `{"v":1,"pr`...) },
		"emptied":         func(f map[string][]byte) { f["0.jsonl"] = []byte{} },
		"removed":         func(f map[string][]byte) { f["0.jsonl"] = nil },
		"zeros appended":  func(f map[string][]byte) { f["0.jsonl"] = append(f["0.jsonl"], make([]byte, 4096)...) },
		"a line appended": func(f map[string][]byte) { f["0.jsonl"] = append(f["0.jsonl"], "{}\n"...) },
		"blank line":      func(f map[string][]byte) { f["0.jsonl"] = append(f["0.jsonl"], '\n') },
		"long line": func(f map[string][]byte) {
			f["0.jsonl"] = append(append(f["0.jsonl"], bytes.Repeat([]byte("x"), 2*MaxLine)...), '\n')
		},
		"head removed": func(f map[string][]byte) { f["0.head"] = nil },
		"head emptied": func(f map[string][]byte) { f["0.head"] = []byte{} },
		"head ahead": func(f map[string][]byte) {
			f["0.head"] = bytes.Replace(f["0.head"], []byte(`"count":1`), []byte(`"count":9`), 1)
		},
		"head of another":   func(f map[string][]byte) { f["0.head"] = f["1.head"] },
		"files swapped":     func(f map[string][]byte) { f["0.jsonl"], f["1.jsonl"] = f["1.jsonl"], f["0.jsonl"] },
		"files put instead": func(f map[string][]byte) { f["0.jsonl"], f["0.head"] = f["1.jsonl"], f["1.head"] },
		"slots swapped": func(f map[string][]byte) {
			f["0.jsonl"], f["1.jsonl"] = f["1.jsonl"], f["0.jsonl"]
			f["0.head"], f["1.head"] = f["1.head"], f["0.head"]
		},
		"lower slot gone": func(f map[string][]byte) { f["0.jsonl"], f["0.head"] = nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			files := make(map[string][]byte)
			for name, data := range good {
				files[name] = bytes.Clone(data)
			}
			damage(files)
			dir := writeFiles(t, files)
			r := verified(t, dir, p.Verifier)
			if r.OK() {
				t.Fatal("not found")
			}
			if after := readFiles(t, dir); !equalFiles(after, files) {
				t.Error("the verification changed a file")
			}
			checkOpenAfterDamage(t, dir, name == "torn" || name == "zeros appended", files)
		})
	}
}

// checkOpenAfterDamage opens a damaged history: opening tells of it, and does not change
// the damaged file unless that is only torn.
func checkOpenAfterDamage(t *testing.T, dir string, torn bool, files map[string][]byte) {
	t.Helper()
	h, notices, err := Open(Config{Dir: dir, Receiving: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if files["0.jsonl"] == nil && files["0.head"] == nil {
		return // an opening client finds no trace of it
	}
	if len(notices) == 0 {
		t.Error("nothing is said on opening")
	}
	if torn {
		return
	}
	if h.Slot() == "0" {
		t.Error("a damaged file is written on")
	}
	after := readFiles(t, dir)
	for _, name := range []string{"0.jsonl", "0.head"} {
		if files[name] != nil && !bytes.Equal(after[name], files[name]) {
			t.Errorf("%s was changed", name)
		}
	}
}

func equalFiles(a, b map[string][]byte) bool {
	for name, data := range b {
		if data != nil && !bytes.Equal(a[name], data) {
			return false
		}
	}
	return true
}

// TestHistoryEveryByteCounts changes each byte of a file of lines and of its head.
func TestHistoryEveryByteCounts(t *testing.T) {
	p := newPair(t)
	told(p)
	good := readFiles(t, p.b.dir)
	dir := writeFiles(t, good)
	stride := map[string]int{"0.jsonl": 211, "0.head": 1} // prime, to meet all parts of lines
	if spoil.Whole() {
		stride["0.jsonl"] = 1
	}
	for _, name := range []string{"0.jsonl", "0.head"} {
		path := filepath.Join(dir, name)
		for i := 0; i < len(good[name]); i += stride[name] {
			changed := bytes.Clone(good[name])
			changed[i] ^= 1
			p.Must(os.WriteFile(path, changed, 0o600))
			if r := verified(t, dir, p.Verifier); r.OK() {
				t.Fatalf("%s, byte %d: not found: %q", name, i, proofContext(changed, i))
			}
		}
		p.Must(os.WriteFile(path, good[name], 0o600))
	}
	if r := verified(t, dir, p.Verifier); !r.OK() {
		t.Errorf("put back, it does not hold: %v", r.Findings)
	}
}

// edit changes lines. The rest of the file is made to fit.
type edit func(t *testing.T, lines [][]byte) [][]byte

// changeLine decodes the n-th line of a type and lets f change it.
func changeLine(typ string, n int, f func(l *Line)) edit {
	return func(t *testing.T, lines [][]byte) [][]byte {
		i := nth(t, lines, typ, n)
		l, err := parseLine(lines[i])
		if err != nil {
			t.Fatal(err)
		}
		f(l)
		lines[i] = proto.MustMarshal(l)
		return lines
	}
}

// changeRecord replaces old by new in the i-th record.
func changeRecord(l *Line, i int, old, new string) {
	l.Records[i] = bytes.Replace(l.Records[i], []byte(old), []byte(new), 1)
}

// doubleLine copies the n-th line of a type to another place.
func doubleLine(typ string, n, at int) edit {
	return func(t *testing.T, lines [][]byte) [][]byte {
		return slices.Insert(lines, at, lines[nth(t, lines, typ, n)])
	}
}

func removeLine(typ string, n int) edit {
	return func(t *testing.T, lines [][]byte) [][]byte {
		i := nth(t, lines, typ, n)
		return slices.Delete(lines, i, i+1)
	}
}

// swapLines swaps the n-th line of one type with the m-th of another.
func swapLines(a string, n int, b string, m int) edit {
	return func(t *testing.T, lines [][]byte) [][]byte {
		i, j := nth(t, lines, a, n), nth(t, lines, b, m)
		lines[i], lines[j] = lines[j], lines[i]
		return lines
	}
}

// batchEdits returns the edits for either side. batch is the type of its messages.
func batchEdits(batch string) map[string]edit {
	return map[string]edit{
		"text edited":          changeLine(batch, 1, func(l *Line) { changeRecord(l, 0, `"text":"two"`, `"text":"TWO"`) }),
		"to edited":            changeLine(batch, 1, func(l *Line) { changeRecord(l, 0, `"name":"bruno"`, `"name":"carla"`) }),
		"id edited":            changeLine(batch, 1, func(l *Line) { changeRecord(l, 0, `{"id":"`, `{"id":"00`) }),
		"record renumbered":    changeLine(batch, 1, func(l *Line) { changeRecord(l, 0, `"seq":2`, `"seq":3`) }),
		"records swapped":      changeLine(batch, 1, func(l *Line) { l.Records[0], l.Records[1] = l.Records[1], l.Records[0] }),
		"record removed":       changeLine(batch, 1, func(l *Line) { l.Records = l.Records[:2] }),
		"signature edited":     changeLine(batch, 0, func(l *Line) { l.Signature[0] ^= 1 }),
		"signature cut":        changeLine(batch, 0, func(l *Line) { l.Signature = l.Signature[:63] }),
		"ciphertext edited":    changeLine(batch, 0, func(l *Line) { l.CipherHash[31] ^= 1 }),
		"before edited":        changeLine(batch, 1, func(l *Line) { l.Before[0] ^= 1 }),
		"header edited":        changeLine(batch, 1, func(l *Line) { l.Header = bytes.Replace(l.Header, []byte(`"n":`), []byte(`"n":1`), 1) }),
		"header of nothing":    changeLine(batch, 1, func(l *Line) { l.Header = json.RawMessage(`{"conversation":""}`) }),
		"message removed":      removeLine(batch, 0),
		"messages swapped":     swapLines(batch, 0, batch, 1),
		"conversation moved":   swapLines(lineConversation, 0, lineConversation, 1),
		"conversation removed": removeLine(lineConversation, 0),
		"conversation doubled": doubleLine(lineConversation, 0, 5),
		"peer's identity":      changeLine(lineConversation, 0, func(l *Line) { l.Peer.Identity = strings.Repeat("ab", 32) }),
		"own identity":         changeLine(lineConversation, 0, func(l *Line) { l.Me.Identity = strings.Repeat("ab", 32) }),
		"peer's name":          changeLine(lineConversation, 0, func(l *Line) { l.Peer.Name = "Carla" }),
		"direction":            changeLine(lineConversation, 0, func(l *Line) { l.Direction = reverse(l.Direction) }),
		"parties swapped":      changeLine(lineConversation, 0, func(l *Line) { l.Me, l.Peer = l.Peer, l.Me }),
		"bundle removed":       removeLine(lineBundle, 0),
		"bundle misnamed":      changeLine(lineBundle, 0, func(l *Line) { l.Hash[0] ^= 1 }),
		"bundle edited":        changeLine(lineBundle, 0, func(l *Line) { l.Bundle.NotAfter++ }),
		"file in the middle":   doubleLine(lineFile, 0, 3),
	}
}

// nowhere is a conversation that is in no history.
var nowhere = bytes.Repeat([]byte{7}, 32)

var receivedEdits = map[string]edit{
	"end moved up":       doubleLine(lineEnd, 0, 4),
	"end before a text":  swapLines(lineEnd, 0, lineReceived, 0),
	"shown too far":      changeLine(lineShown, 0, func(l *Line) { l.Seq = 5 }),
	"shown of nothing":   changeLine(lineShown, 0, func(l *Line) { l.Conversation = nowhere }),
	"shown of what went": changeLine(lineShown, 0, func(l *Line) { l.Direction = reverse(l.Direction) }),
}

var sentEdits = map[string]edit{
	"receipt removed":  removeLine(lineReceipt, 0),
	"receipts swapped": swapLines(lineReceipt, 0, lineReceipt, 1),
	"receipt edited": changeLine(lineReceipt, 0, func(l *Line) {
		l.Receipt = bytes.Replace(l.Receipt, []byte(`"read":1`), []byte(`"read":2`), 1)
	}),
	"receipt malformed":   changeLine(lineReceipt, 0, func(l *Line) { l.Receipt = json.RawMessage(`{}`) }),
	"receipt unsigned":    changeLine(lineReceipt, 0, func(l *Line) { l.Signature[5] ^= 1 }),
	"receipt before text": swapLines(lineReceipt, 0, lineSent, 0),
	"taken too much":      changeLine(lineTaken, 0, func(l *Line) { l.Seq = 9 }),
	"taken back":          swapLines(lineTaken, 0, lineTaken, 1),
	"taken of nothing":    changeLine(lineTaken, 0, func(l *Line) { l.Conversation = nowhere }),
	"gap of nothing":      changeLine(lineGap, 0, func(l *Line) { l.Conversation = nowhere }),
}

// TestHistoryRechainedIsFound: anybody who can write the file can make it chain again.
// The signed parts still hold only as they were.
func TestHistoryRechainedIsFound(t *testing.T) {
	p := newPair(t)
	told(p)
	for _, side := range []struct {
		user  *user
		edits []map[string]edit
	}{
		{p.a, []map[string]edit{sentEdits, batchEdits(lineSent)}},
		{p.b, []map[string]edit{receivedEdits, batchEdits(lineReceived)}},
	} {
		good := readFiles(t, side.user.dir)
		for _, edits := range side.edits {
			for name, edit := range edits {
				t.Run(side.user.End.Name+"/"+name, func(t *testing.T) {
					files := make(map[string][]byte)
					rechain(files, "0", edit(t, lines(good["0.jsonl"])))
					if bytes.Equal(files["0.jsonl"], good["0.jsonl"]) {
						t.Fatal("the edit changed nothing")
					}
					r := verified(t, writeFiles(t, files), p.Verifier)
					if r.OK() {
						t.Error("not found")
					}
					if strings.Contains(fmt.Sprint(r.Findings), "does not follow the line before") {
						t.Errorf("it does not chain, so that this test shows nothing:\n%v", r)
					}
				})
			}
		}
		files := make(map[string][]byte)
		rechain(files, "0", lines(good["0.jsonl"]))
		if r := verified(t, writeFiles(t, files), p.Verifier); !r.OK() {
			t.Errorf("unchanged, it does not hold: %v", r.Findings)
		}
	}
}

// TestVerifyHistoryWhen: a certificate that was valid then and has expired since holds,
// with a note.
func TestVerifyHistoryWhen(t *testing.T) {
	p := newPair(t)
	told(p)
	p.Clock.Add(6 * 365 * 24 * time.Hour)
	r := verified(t, p.a.dir, p.Verifier)
	if !r.OK() || !strings.Contains(strings.Join(r.Notes, "\n"), "Ana: valid then, not now") {
		t.Errorf("six years later: %+v", r)
	}
}

func TestVerifyHistoryRevoked(t *testing.T) {
	for name, test := range map[string]struct {
		at   time.Duration // of the revocation, from the first message on
		good bool
	}{
		"before then":   {-time.Minute, false},
		"in the middle": {2500 * time.Millisecond, false},
		"after":         {time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			pki, err := lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return wire.Epoch }})
			if err != nil {
				t.Fatal(err)
			}
			p := newPairIn(t, pki)
			ids := p.Send("first")
			p.Clock.Add(2 * time.Second)
			ids = append(ids, p.Send("second")...)
			p.close(p.a)
			holders := pki.Holders()
			i := slices.IndexFunc(holders, func(h *lab.Holder) bool { return h.Name == "Ana" })
			pki.Revoke(holders[i], wire.Epoch.Add(test.at), 1)
			v := revokingVerifier(t, pki, p.Clock)
			r := verified(t, p.a.dir, v)
			if r.OK() != test.good {
				t.Errorf("the report is %+v", r)
			}
			if test.good && !strings.Contains(strings.Join(r.Notes, "\n"), "valid then, not now") {
				t.Errorf("notes are %q", r.Notes)
			}
			for i, id := range ids {
				data, err := ExportProof(p.a.dir, id)
				p.Must(err)
				want := test.at > time.Duration(1+3*i)*time.Second
				if _, err := VerifyProof(data, v); (err == nil) != want {
					t.Errorf("proof %d: %v", i, err)
				}
			}
		})
	}
}

// revokingVerifier knows the lab's present lists.
func revokingVerifier(t testing.TB, pki *lab.PKI, clock *wire.Clock) *trust.Verifier {
	t.Helper()
	dir := t.TempDir()
	lists, err := pki.CRLs()
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range lists {
		if err := os.WriteFile(filepath.Join(dir, name+".crl"), der, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := trust.NewCRLStore()
	if problems := store.LoadDir(dir); len(problems) > 0 {
		t.Fatal(problems)
	}
	return trust.NewVerifier(trust.VerifierConfig{Trust: people.Trust(t, pki), CRLs: store, Now: clock.Now})
}

// TestVerifyHistoryOtherTrust: a history of people under an untrusted root does not
// hold.
func TestVerifyHistoryOtherTrust(t *testing.T) {
	p := newPair(t)
	told(p)
	store, err := trust.NewStore(nil)
	p.Must(err)
	r := verified(t, p.a.dir, trust.NewVerifier(trust.VerifierConfig{Trust: store, Now: p.Clock.Now}))
	if r.OK() {
		t.Error("a history of people under a root that is not trusted holds")
	}
}

// TestHistoryHints: the hint fits the findings.
func TestHistoryHints(t *testing.T) {
	tear := func(data []byte) []byte { return append(data, `{"v":1,"prev`...) }
	edit := func(data []byte) []byte { return bytes.Replace(data, []byte("a text"), []byte("A text"), 1) }
	store := public(t)
	for name, test := range map[string]struct {
		spoil    func([]byte) []byte
		stranger bool // the authorities are not known
		says     string
	}{
		"whole":                   {func(data []byte) []byte { return data }, false, ""},
		"torn":                    {tear, false, "sets it right"},
		"edited":                  {edit, false, "a backup"},
		"edited and torn":         {func(data []byte) []byte { return tear(edit(data)) }, false, "a backup"},
		"no authority":            {func(data []byte) []byte { return data }, true, "-ca-bundle"},
		"no authority and torn":   {tear, true, "-ca-bundle"},
		"no authority and edited": {edit, true, "a backup"},
	} {
		p := newPair(t)
		p.Send("a text")
		p.close(p.a)
		file := filepath.Join(p.a.dir, "0.jsonl")
		data, err := os.ReadFile(file)
		p.Must(err)
		p.Must(os.WriteFile(file, test.spoil(data), 0o600))
		verifier := p.Verifier
		if test.stranger {
			verifier = trust.NewVerifier(trust.VerifierConfig{Trust: store, Policy: trust.PolicyOff, Now: p.Clock.Now})
		}
		if r := verified(t, p.a.dir, verifier); !strings.Contains(r.Hint, test.says) || r.OK() != (r.Hint == "") {
			t.Errorf("%s: the hint is %q, want one with %q; found is %v", name, r.Hint, test.says, r.Findings)
		}
	}
}

// TestHistoryFilesGone: which missing files are found, and which cannot be. PROTOCOL.md,
// "History".
func TestHistoryFilesGone(t *testing.T) {
	for gone, want := range map[string]string{
		"s0.jsonl s0.head":                  "s0.jsonl: it is gone, and its head with it",
		"s1.jsonl":                          "s1.jsonl: it is gone, and only its head is left",
		"s1.head":                           "s1.jsonl: its head file is gone",
		"s1.jsonl s1.head":                  "", // the last of its kind
		"s0.jsonl s0.head s1.jsonl s1.head": "",
	} {
		p := newPair(t)
		p.Send("a text")
		var open []*History
		for range 2 {
			h, _, err := Open(Config{Dir: p.a.dir, Now: p.Clock.Now})
			p.Must(err)
			open = append(open, h)
		}
		for _, h := range open {
			p.Must(h.Close())
		}
		p.close(p.a)
		for file := range strings.FieldsSeq(gone) {
			p.Must(os.Remove(filepath.Join(p.a.dir, file)))
		}
		var found []string
		for _, f := range verified(t, p.a.dir, p.Verifier).Findings {
			found = append(found, f.String())
		}
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("without %s: found is %q, want %q", gone, got, want)
		}
	}
}

// FuzzHistoryFile: the reading of any file ends.
func FuzzHistoryFile(f *testing.F) {
	p := newPair(f)
	told(p)
	files := readFiles(f, p.b.dir)
	if r, err := Verify(p.b.dir, p.Verifier); err != nil || !r.OK() {
		f.Fatalf("the history that is the seed: %v", err)
	}
	corpus.Check(f, len(files["0.jsonl"]))
	f.Add(files["0.jsonl"], files["0.head"])
	f.Add(files["0.jsonl"][:1000], files["0.head"])
	f.Add([]byte("\n"), []byte("{}"))
	f.Fuzz(func(t *testing.T, data, head []byte) {
		dir := writeFiles(t, map[string][]byte{"0.jsonl": data, "0.head": head, "lock": {}})
		r, err := Verify(dir, p.Verifier)
		if err != nil {
			t.Fatal(err)
		}
		// A history that holds opens without a notice.
		h, notices, err := Open(Config{Dir: dir, Receiving: true, Now: p.Clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if r.OK() && len(r.Notes) == 0 && len(notices) > 0 {
			t.Errorf("it holds, and opening says %q", notices)
		}
	})
}
