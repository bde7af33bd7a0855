package crypto

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"time"
)

// The reasons of RFC 5280, section 5.3.1, that matter for more than their name.
const (
	reasonUnspecified = 0
	reasonHold        = 6
	reasonRemove      = 8 // in a delta: no longer on the list
)

var reasonNames = [...]string{
	"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation",
	"certificateHold", "", "removeFromCRL", "privilegeWithdrawn", "aACompromise",
}

// crlEntry is an entry in a fixed 25 bytes without padding, because a list may
// have a million: the serial number with leading zeros, the date in Unix
// seconds (dates outside 1970 to 2106 are moved to the nearer end), the reason.
type crlEntry [maxSerial + 4 + 1]byte

func (e *crlEntry) serial() []byte { return e[:maxSerial] }
func (e *crlEntry) reason() byte   { return e[maxSerial+4] }

func (e *crlEntry) date() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(e[maxSerial:])), 0).UTC()
}

func (e *crlEntry) setDate(t time.Time) {
	binary.BigEndian.PutUint32(e[maxSerial:], uint32(min(max(t.Unix(), 0), math.MaxUint32)))
}

// setSerial stores the contents of an INTEGER. It reports false for a number
// that is negative or longer than maxSerial, which no certificate accepted here
// has.
func (e *crlEntry) setSerial(integer []byte) bool {
	if integer[0]&0x80 != 0 {
		return false
	}
	for len(integer) > 1 && integer[0] == 0 {
		integer = integer[1:]
	}
	if len(integer) > maxSerial {
		return false
	}
	copy(e[maxSerial-len(integer):], integer)
	return true
}

// parseEntry reads one element of revokedCertificates: RFC 5280, section
// 5.3. problem is why the whole list must not be used because of it. An entry
// that no certificate can match is zero.
func parseEntry(e derElement) (entry crlEntry, problem string, ok bool) {
	serial, rest, ok := derExpect(e.body, derInteger)
	if !ok || e.tag != derSequence || len(serial.body) == 0 {
		return entry, "", false
	}
	when, rest, ok := derNext(rest)
	if !ok {
		return entry, "", false
	}
	date, ok := parseTime(when)
	if !ok {
		return entry, "", false
	}
	reason := byte(reasonUnspecified)
	if len(rest) > 0 {
		if rest, ok = derOnly(rest, derSequence); !ok {
			return entry, "", false
		}
	}
	for len(rest) > 0 {
		var extension derElement
		if extension, rest, ok = derNext(rest); !ok {
			return entry, "", false
		}
		id, critical, value, ok := parseExtension(extension)
		if !ok {
			return entry, "", false
		}
		switch {
		case id == idReasonCode:
			code, ok := derOnly(value, derEnumerated)
			if !ok || len(code) != 1 || int(code[0]) >= len(reasonNames) || reasonNames[code[0]] == "" {
				return entry, "", false
			}
			reason = code[0]
		case id == idCertificateIssuer:
			problem = "it has entries of other authorities (an indirect list), which is not supported"
		case critical:
			problem = "an entry of it has a critical extension that is not known here"
		}
	}
	if !entry.setSerial(serial.body) {
		return crlEntry{}, problem, true
	}
	entry.setDate(date)
	entry[maxSerial+4] = reason
	return entry, problem, true
}

// runLen is how many entries are sorted together. Several runs instead of one
// slice mean that growing never copies more than one of them, which keeps the
// peak near what is held in the end; a look-up searches each.
const runLen = 1 << 18

// crlEntries is a set of entries that is filled once, then searched.
type crlEntries struct {
	runs  [][]crlEntry
	count int
}

func (c *crlEntries) add(e crlEntry) {
	c.count++
	if e == (crlEntry{}) {
		return // counted for people, of no use to search
	}
	last := len(c.runs) - 1
	if last < 0 || len(c.runs[last]) == runLen {
		if last >= 0 {
			sortRun(c.runs[last])
			c.runs = append(c.runs, make([]crlEntry, 0, runLen))
		} else {
			c.runs = append(c.runs, nil)
		}
		last++
	}
	c.runs[last] = append(c.runs[last], e)
}

// finish sorts what is not sorted yet and gives back unused room.
func (c *crlEntries) finish() {
	if last := len(c.runs) - 1; last >= 0 {
		sortRun(c.runs[last])
		if run := c.runs[last]; len(run) < cap(run)/2 {
			c.runs[last] = slices.Clone(run)
		}
	}
}

func sortRun(run []crlEntry) {
	slices.SortFunc(run, func(a, b crlEntry) int { return bytes.Compare(a[:], b[:]) })
}

// find returns the entry for a serial number (big-endian, without leading
// zeros). Where there are several, which there should not be, the earliest
// counts, and one that revokes before one that removes.
func (c *crlEntries) find(serial []byte) (found crlEntry, ok bool) {
	var key crlEntry
	if len(serial) == 0 || len(serial) > maxSerial {
		return key, false
	}
	copy(key[maxSerial-len(serial):], serial)
	for _, run := range c.runs {
		i := sort.Search(len(run), func(i int) bool { return bytes.Compare(run[i].serial(), key.serial()) >= 0 })
		for ; i < len(run) && bytes.Equal(run[i].serial(), key.serial()); i++ {
			e := run[i]
			removes := e.reason() == reasonRemove
			switch {
			case !ok, found.reason() == reasonRemove && !removes:
				found, ok = e, true
			case removes && found.reason() != reasonRemove:
			case e.date().Before(found.date()):
				found = e
			}
		}
	}
	return found, ok
}
