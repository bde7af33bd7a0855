package crypto

import (
	"testing"
)

func TestDigestLog(t *testing.T) {
	d := func(i int) [32]byte { return [32]byte{byte(i), byte(i >> 8)} }
	l := newDigestLog(d(0))
	for i := 1; i <= 1000; i++ {
		l.append(d(i))
	}
	check := func(from, upTo int) {
		t.Helper()
		if seq, last := l.last(); seq != uint64(upTo) || last != d(upTo) {
			t.Errorf("last is %d", seq)
		}
		for seq := 0; seq <= upTo+2; seq++ {
			got, ok := l.at(uint64(seq))
			if want := seq >= from && seq <= upTo; ok != want || ok && got != d(seq) {
				t.Errorf("at %d: %v", seq, ok)
			}
		}
		if _, ok := l.at(^uint64(0)); ok {
			t.Error("a digest for the largest number")
		}
	}
	check(0, 1000)
	l.trim(0)
	check(0, 1000)
	l.trim(10)
	check(10, 1000)
	l.trim(3) // never back
	check(10, 1000)
	l.trim(999)
	check(999, 1000)
	if cap(l.d) > 100 {
		t.Errorf("room for %d digests is kept for two", cap(l.d))
	}
	l.trim(5000) // the newest always stays
	check(1000, 1000)
	l.append(d(1001), d(1002))
	check(1000, 1002)
}
