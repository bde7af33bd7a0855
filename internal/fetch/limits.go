package fetch

import (
	"time"

	"chatsecure/crypto/trust"
)

// The bounds on what fetching may take. Certificates name the addresses: strangers'
// certificates too, if they lead to a trusted anchor.
const (
	// timeout bounds one fetch, from the name's look-up to the last byte.
	timeout = 10 * time.Second
	// dialTimeout leaves time for a second address of the same name.
	dialTimeout = 5 * time.Second
	// Wait bounds the time that anybody waits for lists: two fetches that fail one
	// after the other.
	Wait = 20 * time.Second
	// maxURL bounds an address in bytes; real ones have some hundred.
	maxURL = 1024
	// maxHeader bounds an answer's header in bytes.
	maxHeader = 16 << 10
	// maxLists bounds the remembered addresses, and the files in the cache. All lists
	// of Portugal's citizen authorities are some hundred.
	maxLists = 256
	// maxOfAddress bounds the files of one address. It has lists of more than one scope, key or
	// form only by a fault, or if somebody answers in its place.
	maxOfAddress = 8
	// maxName bounds an address in a file's name.
	maxName = 140
	// maxBytes bounds the cache on disk, and so the part of it in memory: four lists
	// of the greatest length.
	maxBytes = 4 * trust.MaxCRL
	// maxAtOnce bounds the fetches at once. Each is from another host.
	maxAtOnce = 4
)

// The times of fetching.
const (
	// An address that was asked is left alone for backoffMin, and each time for twice as
	// long, up to backoffMax, until its list is there. Each wait is drawn between half
	// and all of it.
	backoffMin = 30 * time.Second
	backoffMax = time.Hour
	// The next list is fetched when a part between these is over of the time that the
	// one at hand has, or of ageMax: an authority may publish one long before the other ends.
	// The part is drawn, so that not everybody comes at once.
	aheadMin, aheadMax = 11. / 16, 13. / 16
	ageMax             = 24 * time.Hour
	// namedFor is the time for which an address is remembered at least after a certificate
	// named it, and so is its back-off.
	namedFor = time.Hour
)

// The bounds on fetching the issuers of one's own certificate.
const (
	// maxIssuer bounds one certificate in bytes, maxIssuerFile an answer, which may
	// have several in PEM. Real ones have 2 kB.
	maxIssuer     = 8 << 10
	maxIssuerFile = 64 << 10
	// maxIssuers bounds the cache. A card needs two or three.
	maxIssuers = 64
	// maxPlaces bounds the addresses tried for one issuer.
	maxPlaces = 4
	// again is the time for which a fetched certificate is not fetched again.
	again = time.Minute
	// issuersTimeout bounds all of it: nobody can talk meanwhile.
	issuersTimeout = 30 * time.Second
)
