package trust

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"time"
)

// The reasons with a meaning of their own (RFC 5280, section 5.3.1).
const (
	reasonUnspecified = 0
	reasonCompromise  = 1
	reasonAffiliation = 3
	reasonSuperseded  = 4
	reasonCessation   = 5
	reasonHold        = 6
	reasonRemove      = 8 // in a delta: no longer on the list
	reasonWithdrawn   = 9
)

var reasonNames = [...]string{
	"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation",
	"certificateHold", "", "removeFromCRL", "privilegeWithdrawn", "aACompromise",
}

// crlEntry is an entry in 25 bytes without padding, because a list may have a million.
type crlEntry struct {
	serial  [maxSerial]byte // with leading zeros
	seconds [4]byte         // Unix time, big-endian, moved into 1970 to 2106; 0 if it is not known
	reason  byte
}

// date returns the date, or the zero time.
func (e *crlEntry) date() time.Time {
	seconds := binary.BigEndian.Uint32(e.seconds[:])
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// setDate stores a date. The zero time is 0, and stands before all others.
func (e *crlEntry) setDate(t time.Time) {
	var seconds int64
	if !t.IsZero() {
		seconds = min(max(t.Unix(), 1), math.MaxUint32)
	}
	binary.BigEndian.PutUint32(e.seconds[:], uint32(seconds))
}

// setSerial stores the contents of an INTEGER. It reports false for a negative number or one
// longer than maxSerial, which no accepted certificate has.
func (e *crlEntry) setSerial(integer []byte) bool {
	if integer[0]&0x80 != 0 {
		return false
	}
	integer = withoutZeros(integer)
	if len(integer) > maxSerial {
		return false
	}
	copy(e.serial[maxSerial-len(integer):], integer)
	return true
}

// parseEntry reads one element of revokedCertificates (RFC 5280, section 5.3). An entry that
// matches no certificate of the authority is zero. An entry whose date cannot be read has the
// earliest: since when the certificate is revoked is not known.
func (c *crl) parseEntry(e derElement) (entry crlEntry) {
	serial, rest, ok := derExpect(e.body, derInteger)
	if !ok || e.tag != derSequence || len(serial.body) == 0 {
		c.flaws.add("an entry of it does not say which certificate it is about")
		return entry
	}
	var date time.Time
	if when, after, ok := derNext(rest); ok && when.tag != derSequence {
		rest, date = after, c.readTime(when)
	}
	if date.IsZero() {
		c.oddities.add("an entry of it has a date that cannot be read")
	}
	reason := c.parseEntryExtensions(rest)
	if c.foreign || !entry.setSerial(serial.body) {
		return crlEntry{}
	}
	entry.setDate(date)
	entry.reason = reason
	return entry
}

// parseEntryExtensions reads crlEntryExtensions and returns the reason.
func (c *crl) parseEntryExtensions(der []byte) (reason byte) {
	if len(der) == 0 {
		return reasonUnspecified
	}
	list, after, ok := derExpect(der, derSequence)
	if !ok {
		c.flaws.add(flawEntryExtensions)
	}
	if len(after) > 0 {
		c.oddities.add("an entry of it has fields that are not known here")
	}
	found := false
	c.eachExtension(list.body, flawEntryExtensions, func(id byte, critical bool, value []byte) {
		switch {
		case id == idReasonCode:
			code, ok := derOnly(value, derEnumerated)
			if !ok || found || len(code) != 1 || int(code[0]) >= len(reasonNames) || reasonNames[code[0]] == "" {
				c.oddities.add("an entry of it gives a reason that is not known here")
				code = []byte{reasonUnspecified}
			}
			reason, found = code[0], true
		case id == idCertificateIssuer:
			c.flaws.add(flawIndirect)
			c.foreign = namesAnother(value, c.issuer)
		case critical:
			c.flaws.add("an entry of it has a critical extension that is not known here")
		}
	})
	return reason
}

// chunkLen is the number of entries stored together. Growth by chunks copies no entry, so the
// memory never peaks above its final size.
const chunkLen = 1 << 14

// maxEntries bounds the entries of one list, before its signature is checked: real lists of
// MaxCRL bytes have fewer, since an entry takes 35.
const maxEntries = 2_000_000

// crlEntries is a set of entries, filled once and then searched: the entries in their order, and
// a hash table of their places (open addressing, linear probing). It is built in a third of
// the time of a sort.
type crlEntries struct {
	chunks [][]crlEntry
	stored uint32
	count  int      // with those that match no certificate
	table  []uint32 // place of an entry, plus one; 0 is free
	built  sync.Once
}

// hashSeed is random, so that no authority can choose colliding serials.
var hashSeed = maphash.MakeSeed()

// add adds an entry, before finish.
func (c *crlEntries) add(e crlEntry) {
	c.count++
	if e == (crlEntry{}) {
		return
	}
	if c.stored%chunkLen == 0 { // most lists are short, so append sizes the first
		c.chunks = append(c.chunks, make([]crlEntry, 0, min(c.stored, chunkLen)))
	}
	last := len(c.chunks) - 1
	c.chunks[last] = append(c.chunks[last], e)
	c.stored++
}

func (c *crlEntries) at(place uint32) *crlEntry {
	return &c.chunks[place/chunkLen][place%chunkLen]
}

// finish makes the set searchable, once. For a long list that takes a while, so nobody does it
// for a list that was fetched before its signature is checked.
func (c *crlEntries) finish() { c.built.Do(c.build) }

// build fills the table. A third of the table stays free: searches are short and
// always end. Entries of one serial number share a place, so a list cannot buy time with
// many of them.
func (c *crlEntries) build() {
	c.table = make([]uint32, c.stored+c.stored/2+1)
	for place := range c.stored {
		e := c.at(place)
		i, there := c.search(e.serial[:])
		if !there {
			c.table[i] = place + 1
		} else {
			c.at(c.table[i] - 1).merge(e)
		}
	}
}

// search returns the place of a serial number in the table, or the free place where its
// search ends.
func (c *crlEntries) search(serial []byte) (i int, there bool) {
	begin, _ := bits.Mul64(maphash.Bytes(hashSeed, serial), uint64(len(c.table)))
	for i = int(begin); c.table[i] != 0; i = (i + 1) % len(c.table) {
		if bytes.Equal(c.at(c.table[i] - 1).serial[:], serial) {
			return i, true
		}
	}
	return i, false
}

// merge makes one entry of two of one serial number, though no list should have two: one that
// removes counts least, then one on hold. A certificate is revoked from the earlier date.
func (e *crlEntry) merge(other *crlEntry) {
	rank := map[byte]int{reasonRemove: -2, reasonHold: -1}
	first, second := e, other
	if rank[second.reason] > rank[first.reason] {
		first, second = second, first
	}
	*e = first.since(listing{crlEntry: *second, revoked: second.reason != reasonRemove})
}

// find returns the entry of a serial number, big-endian without leading zeros.
func (c *crlEntries) find(serial []byte) (found crlEntry, ok bool) {
	var key crlEntry
	if len(serial) == 0 || len(serial) > maxSerial || c.stored == 0 {
		return found, false
	}
	copy(key.serial[maxSerial-len(serial):], serial)
	c.finish()
	if i, there := c.search(key.serial[:]); there {
		return *c.at(c.table[i] - 1), true
	}
	return found, false
}
