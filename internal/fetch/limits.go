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
	// maxLists bounds the remembered addresses and their files. All lists of
	// Portugal's citizen authorities are some hundred.
	maxLists = 256
	// maxHosts bounds the servers among them. An authority has one or two.
	maxHosts = 64
	// maxBytes bounds the cache on disk, and so the part of it in memory: four lists
	// of the greatest length.
	maxBytes = 4 * trust.MaxCRL
	// maxAtOnce bounds the fetches at once. maxPerHost bounds those of one host, so
	// that a slow one leaves room for the others.
	maxAtOnce  = 4
	maxPerHost = 2
	// maxPaths bounds the certificates whose lists were looked up lately.
	maxPaths = 4096
)

// The times of fetching.
const (
	// An address that failed is left alone for backoffMin, doubling up to backoffMax.
	// Each wait is drawn between half and all of it.
	backoffMin = 30 * time.Second
	backoffMax = time.Hour
	// again is the time for which an address is left alone after any answer.
	again = time.Minute
	// tick is the interval between two looks for lists to fetch ahead of time.
	tick = 5 * time.Second
	// namedFor is the time for which a list is fetched ahead after a certificate
	// named it. Certificates in use are looked at every few seconds, and name their lists
	// again every nameEvery.
	namedFor  = time.Hour
	nameEvery = 5 * time.Minute
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
	// issuersTimeout bounds all of it: nobody can talk meanwhile.
	issuersTimeout = 30 * time.Second
)
