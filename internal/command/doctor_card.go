package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/card"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// moduleTrouble are the errors of a module, before any reader is looked at.
var moduleTrouble = []error{
	card.BadSpec, card.NoModule, card.ModuleMissing, card.ModuleArch, card.ModuleLoad, card.NoCgo,
}

func isModuleTrouble(err error) bool {
	return slices.ContainsFunc(moduleTrouble, func(kind error) bool { return errors.Is(err, kind) })
}

// lookAtCard checks module, reader and card. A kept key makes them unnecessary.
func (d *doctor) lookAtCard(ctx context.Context) {
	if d.kept != nil {
		d.leaf, d.chain = d.kept.Bundle.X509, d.kept.Bundle.Chain
		until := dateTime(time.Unix(d.kept.Bundle.NotAfter, 0))
		for _, check := range []string{"module", "reader", "card"} {
			d.ok(check, "not needed: a kept key is used until %s", until)
		}
		return
	}
	opt := d.a.cardOptions()
	opt.PIN, opt.Notice = nil, nil
	report, err := card.Survey(ctx, d.a.opt.card, opt)
	if err == nil && report.Err != nil && isModuleTrouble(report.Err) {
		err = report.Err
	}
	if err != nil {
		d.fail("module", err)
		d.add("reader", doctorSkipped, "", "no module can be asked")
		d.add("card", doctorSkipped, "", "no module can be asked")
		return
	}
	var works, broken, readers []string
	for _, m := range report.Modules {
		if m.Err != nil {
			broken = append(broken, m.Path+": "+m.Err.Error())
		} else {
			works = append(works, m.Path+described(m.Description))
		}
		for _, s := range m.Slots {
			readers = append(readers, fmt.Sprintf("%s in slot %d", s.Description, s.ID))
		}
	}
	message := strings.Join(works, ", ")
	if len(broken) > 0 {
		d.note("module", "name the one that is meant with -card", "%s; not usable: %s",
			message, strings.Join(broken, "; "))
	} else {
		d.ok("module", "%s", message)
	}
	switch spec := d.a.opt.card; {
	case spec != "" && !card.IsURI(spec):
		d.ok("reader", "not needed for a software card")
	case len(readers) == 0:
		d.fail("reader", fail.Errorf(proto.Card, "no reader is found").
			With("plug one in; on Linux, pcscd must run"))
		d.add("card", doctorSkipped, "", "there is no reader for it")
		return
	default:
		d.ok("reader", "%s", strings.Join(readers, ", "))
	}
	d.token(report)
}

// token finds the certificate that would be used, and the CA certificates on the
// same token.
func (d *doctor) token(report *card.Report) {
	t := report.Used()
	switch {
	case report.Err != nil:
		d.fail("card", report.Err)
		return
	case t == nil:
		d.fail("card", fail.Errorf(proto.Card, "no certificate in any reader can be used"))
		return
	}
	d.leaf, d.chain = usedOn(t), authoritiesOn(t)
	message := strings.Join(append([]string{proto.Quote(t.Label)}, t.Flags...), ", ")
	switch {
	case t.Locked != nil:
		d.fail("card", t.Locked)
	case t.Warning != "":
		d.note("card", "make sure of the PIN: the right one brings back all tries", "%s: %s",
			message, t.Warning)
	default:
		d.ok("card", "%s", message)
	}
}

// usedOn returns the certificate on a token that the client would use.
func usedOn(t *card.TokenReport) []byte {
	i := slices.IndexFunc(t.Certificates, func(c card.CertificateReport) bool { return c.Used })
	return t.Certificates[i].DER
}
