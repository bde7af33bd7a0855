package history

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chatsecure/crypto"
	"chatsecure/testdata/lab/wire"
	"chatsecure/testdata/spoil"
)

// source is a history from which lines are taken.
type source struct {
	owner string
	lines [][]byte
}

// prefix reports whether lines begins with the first n lines of the source.
func (s source) prefix(lines [][]byte, n int) bool {
	return n <= len(s.lines) && slices.EqualFunc(lines[:n], s.lines[:n], bytes.Equal)
}

// tell has two users talk, twice, and leave letters between, and returns both histories. Each ends without a head, as a killed
// client leaves it. id is the first letter's, and the one after it the second's.
func tell(p *wire.Pair, id byte) (a, b source) {
	p.T.Helper()
	fa, fb := forge(p.A, p.Clock), forge(p.B, p.Clock)
	p.A.Keeps, p.B.Keeps = fa, fb
	p.Connect()
	p.Send("one", "two")
	p.Must(fa.mark(lineTaken, p.Ca.T3, p.Ca.SendDirection(), 2))
	p.Receipt(2, 1)
	p.Must(fb.mark(lineShown, p.Cb.T3, p.Ca.SendDirection(), 2))
	end, err := p.Ca.SealEnd(p.Clock.Now())
	p.Must(err)
	o, err := p.Cb.Open(end.Body, p.Clock.Now())
	p.Must(err)
	p.Must(fb.Ended(p.Cb, o))
	letter := &vectorLetter{clock: p.Clock, from: p.A, to: p.B, id: id, n: 1}
	records := letter.texts("a letter", "its second record")
	p.Must(fa.line(letter.kept(records...)))
	p.Must(fb.line(letter.received(records...)))
	p.Must(fb.mark(lineShown, letter.hash(id), ab, 1))
	receipt := &vectorLetter{clock: p.Clock, from: p.B, to: p.A, id: id + 1, n: 1}
	p.Must(fa.line(receipt.receipt(crypto.LevelRead, records...)))
	p.Connect()
	p.Send("three")
	p.Must(fa.mark(lineTaken, p.Ca.T3, p.Ca.SendDirection(), 1))
	p.Must(fb.mark(lineSeen, p.Cb.T3, p.Ca.SendDirection(), 1))
	p.Receipt(1, 0)
	p.Must(fa.head())
	p.Must(fb.head())
	p.Send("four")
	p.Must(fa.mark(lineTaken, p.Ca.T3, p.Ca.SendDirection(), 2))
	p.Must(fb.mark(lineShown, p.Cb.T3, p.Ca.SendDirection(), 2))
	return source{fa.owner.Name, fa.lines}, source{fb.owner.Name, fb.lines}
}

// spoilt is a way to change a history.
type spoilt struct {
	what  string
	lines func() [][]byte
}

// spoils returns every way to remove, double and move a run of lines, and to bring one from another
// history, in addition or in the place of as many.
func spoils(good source, others map[string]source) (all []spoilt) {
	n := len(good.lines)
	add := func(lines func() [][]byte, format string, args ...any) {
		all = append(all, spoilt{fmt.Sprintf(format, args...), lines})
	}
	own := func() [][]byte { return slices.Clone(good.lines) }
	for i := range n {
		for j := i + 1; j <= n; j++ {
			run := good.lines[i:j]
			add(func() [][]byte { return slices.Delete(own(), i, j) }, "lines %d to %d removed", i+1, j)
			for at := range n + 1 {
				add(func() [][]byte { return slices.Insert(own(), at, run...) }, "lines %d to %d doubled at %d", i+1, j, at+1)
				if at+j-i <= n && at != i {
					add(func() [][]byte {
						return slices.Insert(slices.Delete(own(), i, j), at, run...)
					}, "lines %d to %d moved to %d", i+1, j, at+1)
				}
			}
		}
	}
	for of, other := range others {
		for i := range other.lines {
			for j := i + 1; j <= len(other.lines); j++ {
				run := other.lines[i:j]
				for at := range n + 1 {
					add(func() [][]byte { return slices.Insert(own(), at, run...) }, "lines %d to %d of %s at %d", i+1, j, of, at+1)
					add(func() [][]byte {
						return slices.Replace(own(), at, min(n, at+j-i), run...)
					}, "lines %d to %d of %s in place of those at %d", i+1, j, of, at+1)
				}
			}
		}
	}
	return all
}

// TestRow25HistorySpoilt: row 25. Lines are removed, doubled, moved, changed and brought from other
// histories, and everything that is not signed is chained anew. That is found, or it was done behind
// the last head that is left, and the report says where that is.
func TestRow25HistorySpoilt(t *testing.T) {
	p := wire.NewPair(t)
	ana, bruno := tell(p, 1)
	same, _ := tell(p, 3)
	var sources []source
	for _, s := range []source{ana, bruno, same} {
		s.lines = rechain(s.lines)
		sources = append(sources, s)
	}
	dir := t.TempDir()
	found, behind := 0, 0
	check := func(what string, lines [][]byte) {
		t.Helper()
		lines = rechain(lines)
		data := append(bytes.Join(lines, []byte("\n")), '\n')
		p.Must(os.WriteFile(filepath.Join(dir, linesName), data, 0o600))
		r := verified(t, dir, p.Verifier)
		whole := int(r.Head.Line)
		if !slices.ContainsFunc(sources, func(s source) bool { return (whole == 0 || s.owner == r.Owner.Name) && s.prefix(lines, whole) }) {
			t.Errorf("%s: %q, and it is not; found is %v", what, r.Sentences(), r.Findings)
		}
		said := strings.Join(r.Sentences(), " ")
		switch {
		case !r.OK():
			found++
		case whole == 0:
			behind++
			if !strings.Contains(said, "No head is in it") {
				t.Errorf("%s: %q", what, said)
			}
		default:
			behind++
			if r.After != len(lines)-whole || !strings.Contains(said, fmt.Sprintf("(line %d)", whole)) {
				t.Errorf("%s: %d of %d lines follow the head, and the report says %q", what, len(lines)-whole, len(lines), said)
			}
		}
	}
	for _, s := range sources {
		check("nothing", s.lines)
	}
	if found > 0 {
		t.Fatal("a history that is not spoilt does not hold")
	}
	sweep, bytewise := spoil.NewSweep(t, "histories with other lines"), spoil.NewSweep(t, "histories with a changed byte")
	for good, others := range map[int]map[string]source{
		0: {"Bruno's history": sources[1], "another history of Ana's": sources[2]},
		1: {"Ana's history": sources[0]},
	} {
		all := spoils(sources[good], others)
		for i := range sweep.Positions(len(all), 250) {
			check(all[i].what, all[i].lines())
		}
		data := bytes.Join(sources[good].lines, []byte("\n"))
		for i := range bytewise.Positions(len(data), 100) {
			check(fmt.Sprintf("byte %d changed", i), bytes.Split(spoil.Byte(data, i), []byte("\n")))
		}
	}
	t.Logf("%d were found, and %d were spoilt behind the last head", found, behind)
	if found == 0 || behind == len(sources) {
		t.Errorf("%d were found, and %d were spoilt behind the last head", found, behind)
	}
}
