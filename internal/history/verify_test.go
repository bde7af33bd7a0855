package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
	p.Must(p.a.h.Taken(p.Ca.T3, p.Ca.SendDirection(), 1))
	ids = append(ids, p.Send("two", "three", "\u2028 <&> \x00 \"quoted\" {\"id\":\"\n")...)
	p.Receipt(4, 1)
	p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 3))
	p.Receipt(4, 3)
	p.Must(p.a.h.Taken(p.Ca.T3, p.Ca.SendDirection(), 4))
	end, err := p.Ca.SealEnd(p.Clock.Now())
	p.Must(err)
	o, err := p.Cb.Open(end.Body, p.Clock.Now())
	p.Must(err)
	p.Must(p.b.h.Ended(p.Cb, o))
	p.Must(p.a.h.Gap(p.Ca.T3, p.Ca.SendDirection(), "the relay was lost"))
	p.Connect()
	ids = append(ids, p.Send("in the second conversation")...)
	p.Must(p.a.h.Failed(ids[4], "Bruno", "not delivered within 30s"))
	p.Must(p.b.h.Seen(p.Cb.T3, p.Cb.SendDirection(), 1))
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
		if r.Bundles != 2 || r.Conversations != 2 || r.Messages != 3 || r.Records != 5 || r.Heads < 3 {
			t.Errorf("%s's report counts %+v", who, r)
		}
		if r.Owner.Name != who || !strings.HasPrefix(r.Certificate, strings.ToUpper(who)) || int(r.Head.Line) != r.Lines || r.After != 0 {
			t.Errorf("%s's report says %q", who, r.Sentences())
		}
	}
	if a.Receipts != 2 || b.Ends != 1 {
		t.Errorf("%d receipts and %d ends were checked, want 2 and 1", a.Receipts, b.Ends)
	}
	if r := verified(t, filepath.Join(p.a.dir, "none"), p.Verifier); !r.OK() || r.Lines != 0 || !slices.Equal(r.Sentences(), []string{noLines}) {
		t.Errorf("a history that is not there is %+v", r)
	}
	_, headless, _ := bytes.Cut(readFiles(t, p.a.dir)[linesName], []byte("\n"))
	if r := verified(t, writeFile(t, headless), p.Verifier); r.OK() || r.Sentences() != nil {
		t.Errorf("a history without the line of its owner is told as %q", r.Sentences())
	}
}

// TestVerifyHistoryWhileWritten: the unfinished line of a running client is no damage. It holds the
// file of lines while it writes one.
func TestVerifyHistoryWhileWritten(t *testing.T) {
	p := newPair(t)
	p.Send("one")
	if r := verified(t, p.a.dir, p.Verifier); !r.OK() || r.Messages != 1 {
		t.Errorf("an open history is %+v", r)
	}
	f, err := os.OpenFile(filepath.Join(p.a.dir, linesName), os.O_WRONLY|os.O_APPEND, 0)
	p.Must(err)
	defer f.Close()
	info, err := f.Stat()
	p.Must(err)
	_, err = f.WriteString(prevStart)
	p.Must(err)
	for _, writing := range []bool{true, false} {
		how := map[bool]int{true: syscall.LOCK_EX, false: syscall.LOCK_UN}[writing]
		p.Must(syscall.Flock(int(f.Fd()), how))
		if r := verified(t, p.a.dir, p.Verifier); r.OK() != writing || r.Messages != 1 {
			t.Errorf("with a line half-written (by a client that lives: %t) it is %+v", writing, r)
		}
	}
	p.Must(f.Truncate(info.Size()))
}

// TestVerifyHistoryInUse: a client writes all the while, and nothing of that is a finding.
func TestVerifyHistoryInUse(t *testing.T) {
	p := newPair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			p.Send("a text")
		}
	}()
	defer func() { <-done }()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		r, err := Verify(p.a.dir, p.Verifier)
		l, err2 := Read(p.a.dir, Query{N: 3})
		if err != nil || err2 != nil || !r.OK() || len(l.Problems) > 0 {
			t.Fatalf("while a client writes: %v %+v, %v %+v", err, r, err2, l)
		}
	}
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

func lines(data []byte) [][]byte {
	return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
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

// TestRow25HistoryDamage: row 25. The file is edited and truncated, and nothing passes. Nor does the
// verification change it.
func TestRow25HistoryDamage(t *testing.T) {
	p := newPair(t)
	told(p)
	good := readFiles(t, p.b.dir)[linesName]
	put := func(edit func(l [][]byte) [][]byte) func([]byte) []byte {
		return func(data []byte) []byte { return append(bytes.Join(edit(lines(data)), []byte("\n")), '\n') }
	}
	replace := func(old, new string) func([]byte) []byte {
		return func(data []byte) []byte { return bytes.Replace(data, []byte(old), []byte(new), 1) }
	}
	for name, damage := range map[string]func([]byte) []byte{
		"edited text":     replace(`"text":"two"`, `"text":"TWO"`),
		"edited status":   replace(`"seq":3}`, `"seq":4}`),
		"edited time":     replace(`,"type":"received"`, `0,"type":"received"`),
		"added space":     replace(`,"type":"received"`, ` ,"type":"received"`),
		"edited type":     replace(`,"type":"shown"`, `,"type":"taken"`),
		"edited hash":     replace(`"prev":"`+strings.Repeat("0", 8), `"prev":"`+strings.Repeat("1", 8)),
		"edited owner":    replace(`"name":"Bruno"`, `"name":"bruna"`),
		"rows swapped":    put(func(l [][]byte) [][]byte { l[5], l[6] = l[6], l[5]; return l }),
		"a row removed":   put(func(l [][]byte) [][]byte { return slices.Delete(l, 4, 5) }),
		"first removed":   put(func(l [][]byte) [][]byte { return l[1:] }),
		"a row doubled":   put(func(l [][]byte) [][]byte { return slices.Insert(l, 4, l[4]) }),
		"last doubled":    put(func(l [][]byte) [][]byte { return append(l, l[len(l)-1]) }),
		"truncated":       func(data []byte) []byte { return data[:len(data)-9] },
		"no newline":      func(data []byte) []byte { return data[:len(data)-1] },
		"torn":            func(data []byte) []byte { return append(data, prevStart...) },
		"zeros appended":  func(data []byte) []byte { return append(data, make([]byte, 4096)...) },
		"a line appended": func(data []byte) []byte { return append(data, "{}\n"...) },
		"blank line":      func(data []byte) []byte { return append(data, '\n') },
		"long line": func(data []byte) []byte {
			return append(append(data, bytes.Repeat([]byte("x"), 2*MaxLine)...), '\n')
		},
	} {
		t.Run(name, func(t *testing.T) {
			spoilt := damage(bytes.Clone(good))
			if bytes.Equal(spoilt, good) {
				t.Fatal("nothing was changed")
			}
			dir := writeFile(t, spoilt)
			if r := verified(t, dir, p.Verifier); r.OK() {
				t.Error("not found")
			}
			if after := readFiles(t, dir)[linesName]; !bytes.Equal(after, spoilt) {
				t.Error("the verification changed the file")
			}
			if _, err := Read(dir, Query{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHistoryCutShort: lines that are gone from the end are told of, at the next start and by
// verification, as long as an index knows of them.
func TestHistoryCutShort(t *testing.T) {
	small(t, 16, 1)
	p := newPair(t)
	told(p)
	p.close(p.b)
	path := filepath.Join(p.b.dir, linesName)
	data, err := os.ReadFile(path)
	p.Must(err)
	if r := verified(t, p.b.dir, p.Verifier); !r.OK() {
		t.Fatal(r.Findings)
	}
	all := lines(data)
	for _, left := range []int{0, 1, len(all) - 1} {
		dir := writeFiles(t, readFiles(t, p.b.dir))
		p.Must(os.WriteFile(filepath.Join(dir, linesName), bytes.Join(append(all[:left:left], nil), []byte("\n")), 0o600))
		if r := verified(t, dir, p.Verifier); r.OK() || !strings.Contains(r.Findings[0].What, "its index knows of more") {
			t.Errorf("%d lines are left: %v", left, r.Findings)
		}
		for i, want := range []string{"its index knows of more", ""} {
			cfg := p.config(p.b)
			cfg.Dir = dir
			h, notices, err := Open(cfg)
			p.Must(err)
			if said := strings.Join(notices, ""); strings.Contains(said, "its index knows of more") != (want != "") {
				t.Errorf("%d lines are left, start %d says %q", left, i, notices)
			}
			p.Must(h.Close())
		}
	}
}

// TestVerifyHistoryGone: an index says that there were lines.
func TestVerifyHistoryGone(t *testing.T) {
	p := newPair(t)
	told(p)
	file := filepath.Join(p.a.dir, linesName)
	for what, gone := range map[string]func() error{
		"emptied": func() error { return os.WriteFile(file, nil, 0o600) },
		"removed": func() error { return os.Remove(file) },
	} {
		p.Must(gone())
		for _, index := range []bool{false, true} {
			os.Remove(filepath.Join(p.a.dir, indexName))
			if index {
				p.Must(os.WriteFile(filepath.Join(p.a.dir, indexName), []byte("{}"), 0o600))
			}
			if r := verified(t, p.a.dir, p.Verifier); r.OK() == index || r.Lines != 0 {
				t.Errorf("%s, with an index (%t): %+v", what, index, r)
			}
		}
	}
}

// TestHistoryEveryByteCounts changes each byte of the file of lines.
func TestHistoryEveryByteCounts(t *testing.T) {
	p := newPair(t)
	told(p)
	good := readFiles(t, p.b.dir)[linesName]
	dir := writeFile(t, good)
	path := filepath.Join(dir, linesName)
	sweep := spoil.NewSweep(t, "bytes of a history")
	for i := range sweep.Positions(len(good), 200) {
		changed := bytes.Clone(good)
		changed[i] ^= 1
		p.Must(os.WriteFile(path, changed, 0o600))
		if r := verified(t, dir, p.Verifier); r.OK() {
			t.Fatalf("byte %d: not found: %q", i, proofContext(changed, i))
		}
	}
	p.Must(os.WriteFile(path, good, 0o600))
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
		"conversation doubled": doubleLine(lineConversation, 0, 7),
		"peer's identity":      changeLine(lineConversation, 0, func(l *Line) { l.Peer.Identity = strings.Repeat("ab", 32) }),
		"own identity":         changeLine(lineConversation, 0, func(l *Line) { l.Me.Identity = strings.Repeat("ab", 32) }),
		"peer's name":          changeLine(lineConversation, 0, func(l *Line) { l.Peer.Name = "Carla" }),
		"direction":            changeLine(lineConversation, 0, func(l *Line) { l.Direction = reverse(l.Direction) }),
		"parties swapped":      changeLine(lineConversation, 0, func(l *Line) { l.Me, l.Peer = l.Peer, l.Me }),
		"bundle removed":       removeLine(lineBundle, 0),
		"bundle misnamed":      changeLine(lineBundle, 0, func(l *Line) { l.Hash[0] ^= 1 }),
		"bundle edited":        changeLine(lineBundle, 0, func(l *Line) { l.Bundle.NotAfter++ }),
		"owner in the middle":  doubleLine(lineOwner, 0, 3),
	}
}

// nowhere is a conversation that is in no history.
var nowhere = bytes.Repeat([]byte{7}, 32)

var receivedEdits = map[string]edit{
	"end moved up":       doubleLine(lineEnd, 0, 5),
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

// TestHistoryRechainedIsFound: anybody who can write the file can make it chain again. The signed
// parts still hold only as they were, also where no head covers them.
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
		good := slices.DeleteFunc(lines(readFiles(t, side.user.dir)[linesName]), func(line []byte) bool {
			typ, _, _ := peekType(line)
			return string(typ) == lineHead
		})
		for _, edits := range side.edits {
			for name, edit := range edits {
				t.Run(side.user.End.Name+"/"+name, func(t *testing.T) {
					spoilt := rechain(edit(t, slices.Clone(good)))
					if slices.EqualFunc(spoilt, rechain(good), bytes.Equal) {
						t.Fatal("the edit changed nothing")
					}
					r := verified(t, writeLines(t, spoilt), p.Verifier)
					if r.OK() {
						t.Error("not found")
					}
					if strings.Contains(fmt.Sprint(r.Findings), "does not follow the line before") {
						t.Errorf("it does not chain, so that this test shows nothing:\n%v", r)
					}
				})
			}
		}
		r := verified(t, writeLines(t, rechain(good)), p.Verifier)
		if said := strings.Join(r.Sentences(), " "); !r.OK() || !strings.Contains(said, "No head is in it") {
			t.Errorf("unchanged, it does not hold: %v; %s", r.Findings, said)
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

// superseded is a reason that leaves no doubt about the time before.
const superseded = 4

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
			pki.Revoke(holders[i], wire.Epoch.Add(test.at), superseded)
			v := revokingVerifier(t, pki, p.Clock)
			r := verified(t, p.a.dir, v)
			if r.OK() != test.good {
				t.Errorf("the report is %+v", r)
			}
			if test.good && !strings.Contains(strings.Join(r.Notes, "\n"), "valid then, not now") {
				t.Errorf("notes are %q", r.Notes)
			}
			for i, id := range ids {
				data, err := ExportProof(p.a.dir, id, p.Verifier)
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
	tear := func(data []byte) []byte { return append(data, prevStart...) }
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
		file := filepath.Join(p.a.dir, linesName)
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

// TestVerifyHistoryBounds: neither many findings nor many messages fill the memory.
func TestVerifyHistoryBounds(t *testing.T) {
	const many = 3 * maxFindings
	r := verified(t, writeFile(t, bytes.Repeat([]byte("{}\n"), many)), wire.NewPair(t).Verifier)
	if len(r.Findings) != maxFindings || len(r.Findings)+r.More < many || r.OK() {
		t.Errorf("%d findings and %d more of %d lines of garbage", len(r.Findings), r.More, many)
	}
	p := wire.NewPair(t)
	a, b := forge(p.A, p.Clock), forge(p.B, p.Clock)
	p.A.Keeps, p.B.Keeps = a, b
	p.Connect()
	for i := range uint64(200) {
		p.Send("a text")
		p.Receipt(i+1, i)
	}
	for who, f := range map[string]*forger{"the sender": a, "the receiver": b} {
		lines, err := openSnapshot(f.write(t))
		p.Must(err)
		defer lines.Close()
		v := newVerification(p.Verifier)
		p.Must(v.read(lines))
		for _, c := range v.convs {
			if kept := len(c.sent.digests) + len(c.received.digests); kept > 4 || len(v.findings) > 0 {
				t.Errorf("of %s's 200 messages %d digests are kept; found is %v", who, kept, v.findings)
			}
		}
	}
}

// FuzzHistoryFile: the reading of any file ends.
func FuzzHistoryFile(f *testing.F) {
	p := newPair(f)
	told(p)
	data := readFiles(f, p.b.dir)[linesName]
	corpus.Add(f, func(data []byte) bool { return verified(f, writeFile(f, data), p.Verifier).OK() }, [][]byte{data}, data[:1000], []byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := writeFile(t, data)
		r := verified(t, dir, p.Verifier)
		l, err := Read(dir, Query{})
		if err != nil {
			t.Fatal(err)
		}
		if r.OK() && (len(l.Problems) > 0 || len(l.Messages) > r.Records) {
			t.Errorf("it holds, and reads as %+v", l)
		}
	})
}

// TestVerifyHistoryUncovered: what no head covers is found all the same where the peer has signed
// its place: receipts that are gone before the first record, and messages behind the peer's end.
func TestVerifyHistoryUncovered(t *testing.T) {
	p := newPair(t)
	a, b := forge(p.A, p.Clock), forge(p.B, p.Clock)
	a.noHeads, b.noHeads = true, true
	p.A.Keeps, p.B.Keeps = a, b
	p.Connect()
	p.Receipt(0, 0)
	first := len(a.lines) - 1
	p.Receipt(0, 0)
	second := len(a.lines)
	p.Send("one")
	p.Receipt(1, 1)
	gone := slices.Concat(a.lines[:first], a.lines[first+1:])
	if r := verified(t, writeLines(t, rechain(gone)), p.Verifier); len(r.Findings) != 1 || r.Findings[0].Line != uint64(second-1) {
		t.Errorf("without a receipt before the first record: %v", r.Findings)
	}
	if r := verified(t, writeLines(t, rechain(gone[:first+1])), p.Verifier); !r.OK() { // as with a pipe
		t.Errorf("without records: %v", r.Findings)
	}

	end, err := p.Ca.SealEnd(p.Clock.Now())
	p.Must(err)
	o, err := p.Cb.Open(end.Body, p.Clock.Now())
	p.Must(err)
	p.Must(b.Ended(p.Cb, o))
	p.Cb.Commit(o)
	p.Send("two")
	if r := verified(t, b.write(t), p.Verifier); len(r.Findings) != 1 || r.Findings[0].Line != uint64(len(b.lines)) {
		t.Errorf("with a text behind the end: %v", r.Findings)
	}
}

// TestSentencesStandInProtocol: PROTOCOL.md has the sentences as they are printed.
func TestSentencesStandInProtocol(t *testing.T) {
	text, err := os.ReadFile("../../PROTOCOL.md")
	must(t, err)
	words := strings.Join(strings.Fields(string(text)), " ")
	for _, sentence := range []string{
		fmt.Sprintf(wholeUntil, "NAME", "TIME", 7), fmt.Sprintf(noHead, "NAME"), fmt.Sprintf(noHeadHold, "NAME"),
		fmt.Sprintf(afterHead, "NAME", "M lines follow"), fmt.Sprintf(laterHeads, "NAME", "M lines follow"),
	} {
		if sentence = strings.Replace(sentence, "line 7", "line N", 1); !strings.Contains(words, "*"+sentence+"*") {
			t.Errorf("it lacks %q", sentence)
		}
	}
}

// TestHeadsAfterDamage: heads after the damage cover what is there, and do not make it whole.
func TestHeadsAfterDamage(t *testing.T) {
	p := newPair(t)
	f := forge(p.A, p.Clock)
	p.A.Keeps = f
	p.Connect()
	p.Send("one") // line 6, after the first head
	p.Must(f.head())
	lines := f.lines
	p.Send("two")
	for what, test := range map[string]struct {
		lines [][]byte
		want  string
	}{
		"a line that follows another": {slices.Delete(slices.Clone(lines), 5, 6), laterHeads},
		"no head after it":            {slices.Delete(slices.Clone(f.lines[:6]), 5, 6), afterHead},
		"none before it":              {slices.Delete(slices.Clone(lines), 2, 3), noHeadHold},
		"nothing is damaged":          {f.lines, afterHead},
	} {
		r := verified(t, writeLines(t, test.lines), p.Verifier)
		want, _, _ := strings.Cut(test.want, "%")
		if said := r.Sentences(); !strings.HasPrefix(said[len(said)-1], want) {
			t.Errorf("%s: it says %q, and %v is found", what, said, r.Findings)
		}
	}
}
