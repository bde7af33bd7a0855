package trust

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// CRLInfo describes a list that is held.
type CRLInfo struct {
	Issuer     string    // the authority's CN, or its whole name, made visible
	Name       string    // the authority's whole name, not made visible, in the form of RFC 2253
	Kind       string    // base, partition or delta
	Number     string    // hexadecimal, as authorities show it, or ""
	Base       string    // of a delta: the number of the list that it changes
	Entries    int       // certificates on it
	ThisUpdate time.Time // when it was issued
	NextUpdate time.Time // when the next one is due; zero if not given
	Source     string    // a file or an address
	Verified   bool      // its signature held
	Refuted    bool      // its signature did not hold under any key that it was verified with
	Oddity     string    // unusual about it, which changes nothing, or ""
	Flaw       string    // reason to clear nobody by it, or "": it revokes all the same

	ID       string   // the same for copies
	Outdated []string // of a list from Add: the files whose list it leaves nothing to say
	list     *crl
}

// Remark is the oddity and the flaw in one sentence, "" without either.
func (i CRLInfo) Remark() string {
	var remarks remarks
	if i.Oddity != "" {
		remarks.add("unusual: " + i.Oddity)
	}
	if i.Flaw != "" {
		remarks.add("clears nobody: " + i.Flaw)
	}
	return remarks.String()
}

func (h heldCRL) info() CRLInfo {
	_, verified, refuted := h.signer()
	return CRLInfo{
		Issuer:     h.issuerName,
		Name:       h.wholeName,
		Kind:       h.kind(),
		Number:     hex.EncodeToString(h.number),
		Base:       hex.EncodeToString(h.base),
		Entries:    h.entries.count,
		ThisUpdate: h.thisUpdate,
		NextUpdate: h.nextUpdate,
		Source:     h.source,
		Verified:   verified,
		Refuted:    refuted,
		Oddity:     h.oddities.String(),
		Flaw:       h.flaws.String(),
		ID:         hex.EncodeToString(h.id[:8]),
		list:       h.crl,
	}
}

// List describes the lists held, ordered by issuer and age.
func (s *CRLStore) List() []CRLInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	infos := make([]CRLInfo, len(s.held))
	for i, h := range s.held {
		infos[i] = h.info()
	}
	slices.SortFunc(infos, func(a, b CRLInfo) int {
		return cmp.Or(strings.Compare(a.Issuer, b.Issuer), a.ThisUpdate.Compare(b.ThisUpdate), strings.Compare(a.Source, b.Source))
	})
	return infos
}

// kind is the kind of list, for people.
func (c *crl) kind() string {
	switch {
	case c.delta:
		return "delta"
	case c.scope != "":
		return "partition"
	}
	return "base"
}
