package trust

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
	"time"
)

// The reasons with a meaning of their own (RFC 5280, section 5.3.1).
const (
	reasonUnspecified = 0
	reasonHold        = 6
	reasonRemove      = 8 // in a delta: no longer on the list
)

var reasonNames = [...]string{
	"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation",
	"certificateHold", "", "removeFromCRL", "privilegeWithdrawn", "aACompromise",
}

// crlEntry is an entry in 25 bytes without padding, because a list may have a million: serial
// number with leading zeros, date in Unix seconds, moved into 1970 to 2106, and reason.
type crlEntry [maxSerial + 4 + 1]byte

func (e *crlEntry) serial() []byte { return e[:maxSerial] }

func (e *crlEntry) reason() byte { return e[maxSerial+4] }

func (e *crlEntry) date() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(e[maxSerial:])), 0).UTC()
}

func (e *crlEntry) setDate(t time.Time) {
	binary.BigEndian.PutUint32(e[maxSerial:], uint32(min(max(t.Unix(), 0), math.MaxUint32)))
}

// setSerial stores the contents of an INTEGER. It reports false for a negative number or one
// longer than maxSerial, which no accepted certificate has.
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

// parseEntry reads one element of revokedCertificates (RFC 5280, section 5.3). problem is a
// reason not to use the whole list. An entry that matches no certificate is zero.
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

// chunkLen is the number of entries stored together. Growth by chunks copies no entry, so the
// memory never peaks above its final size.
const chunkLen = 1 << 14

// crlEntries is a set of entries, filled once and then searched: the entries in their order, and
// a hash table of their places (open addressing, linear probing). It is built in a third of
// the time of a sort.
type crlEntries struct {
	chunks [][]crlEntry
	stored uint32
	count  int      // with those that match no certificate
	table  []uint32 // place of an entry, plus one; 0 is free
}

// hashSeed is random, so that no authority can choose colliding serials.
var hashSeed = maphash.MakeSeed()

// add adds an entry, before finish.
func (c *crlEntries) add(e crlEntry) {
	c.count++
	if e == (crlEntry{}) {
		return
	}
	last := len(c.chunks) - 1
	switch {
	case last < 0:
		c.chunks = append(c.chunks, nil) // most lists are short, so append sizes it
		last = 0
	case len(c.chunks[last]) == chunkLen:
		c.chunks = append(c.chunks, make([]crlEntry, 0, chunkLen))
		last++
	}
	c.chunks[last] = append(c.chunks[last], e)
	c.stored++
}

func (c *crlEntries) at(place uint32) *crlEntry {
	return &c.chunks[place/chunkLen][place%chunkLen]
}

// slot returns the place in the table where the search for a serial number begins.
func (c *crlEntries) slot(serial []byte) int {
	high, _ := bits.Mul64(maphash.Bytes(hashSeed, serial), uint64(len(c.table)))
	return int(high)
}

// finish makes the set searchable. A third of the table stays free: searches are short and
// always end.
func (c *crlEntries) finish() {
	c.table = make([]uint32, c.stored+c.stored/2+1)
	for place := range c.stored {
		i := c.slot(c.at(place).serial())
		for c.table[i] != 0 {
			if i++; i == len(c.table) {
				i = 0
			}
		}
		c.table[i] = place + 1
	}
}

// find returns the entry of a serial number, big-endian without leading zeros. Of several,
// which no list should have, the earliest counts, and one that revokes before one that
// removes.
func (c *crlEntries) find(serial []byte) (found crlEntry, ok bool) {
	var key crlEntry
	if len(serial) == 0 || len(serial) > maxSerial || c.stored == 0 {
		return key, false
	}
	copy(key[maxSerial-len(serial):], serial)
	for i := c.slot(key.serial()); c.table[i] != 0; {
		e := c.at(c.table[i] - 1)
		if bytes.Equal(e.serial(), key.serial()) {
			removes := e.reason() == reasonRemove
			switch {
			case !ok, found.reason() == reasonRemove && !removes:
				found, ok = *e, true
			case removes && found.reason() != reasonRemove:
			case e.date().Before(found.date()):
				found = *e
			}
		}
		if i++; i == len(c.table) {
			i = 0
		}
	}
	return found, ok
}
