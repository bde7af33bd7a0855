//go:build !cgo

package card

import "context"

// Without cgo no PKCS#11 module can be loaded; the software card works.

func openToken(context.Context, *uri, Options) (Card, error) { return nil, errNoCgo() }

func surveyTokens(context.Context, *uri) (*Report, error) { return nil, errNoCgo() }

func errNoCgo() error {
	return fail(NoCgo, "build it with CGO_ENABLED=1 and a C compiler, or use a software card: -card DIRECTORY",
		"this program was built without cgo and cannot use a PKCS#11 card")
}
