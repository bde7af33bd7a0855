package command

import (
	"context"
)

// runLogout erases the key kept with -keep.
func runLogout(a *app, _ context.Context) error {
	state, err := a.openState()
	if err != nil {
		return err
	}
	erased, err := state.EraseKept()
	if err != nil {
		return err
	}
	if erased {
		a.out.notice("the kept key is erased; the next command needs the card")
	} else {
		a.out.notice("no key was kept")
	}
	return nil
}
