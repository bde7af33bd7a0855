package crypto

// digestLog holds the digest after each record of one direction, from the last one
// that a receipt called read to the newest: the records that a receipt may name.
type digestLog struct {
	base uint64 // seq of d[0]
	d    [][32]byte
}

func newDigestLog(d0 [32]byte) digestLog { return digestLog{d: [][32]byte{d0}} }

// last returns the newest seq and its digest.
func (l *digestLog) last() (uint64, [32]byte) {
	return l.base + uint64(len(l.d)) - 1, l.d[len(l.d)-1]
}

// at returns the digest after record seq if it is held.
func (l *digestLog) at(seq uint64) (d [32]byte, ok bool) {
	if seq < l.base || seq-l.base >= uint64(len(l.d)) {
		return d, false
	}
	return l.d[seq-l.base], true
}

func (l *digestLog) append(d ...[32]byte) { l.d = append(l.d, d...) }

// trim forgets the digests before seq.
func (l *digestLog) trim(seq uint64) {
	if seq <= l.base {
		return
	}
	n := min(seq-l.base, uint64(len(l.d)-1))
	l.base += n
	l.d = l.d[n:]
	if len(l.d) < cap(l.d)/4 {
		l.d = append([][32]byte(nil), l.d...)
	}
}
