//go:build cgo

package card

import (
	"debug/elf"
	"debug/macho"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"
)

// module is the part of *pkcs11.Ctx used here. All calls are made by the one
// goroutine of the module's library: sessions are not safe for concurrent use.
type module interface {
	Initialize(...pkcs11.InitializeOption) error
	Finalize() error
	GetInfo() (pkcs11.Info, error)
	GetSlotList(tokenPresent bool) ([]uint, error)
	GetSlotInfo(slot uint) (pkcs11.SlotInfo, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error)
	OpenSession(slot uint, flags uint) (pkcs11.SessionHandle, error)
	CloseSession(pkcs11.SessionHandle) error
	Login(sh pkcs11.SessionHandle, userType uint, pin string) error
	Logout(pkcs11.SessionHandle) error
	FindObjectsInit(pkcs11.SessionHandle, []*pkcs11.Attribute) error
	FindObjects(sh pkcs11.SessionHandle, max int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(pkcs11.SessionHandle) error
	GetAttributeValue(pkcs11.SessionHandle, pkcs11.ObjectHandle, []*pkcs11.Attribute) ([]*pkcs11.Attribute, error)
	SignInit(pkcs11.SessionHandle, []*pkcs11.Mechanism, pkcs11.ObjectHandle) error
	Sign(pkcs11.SessionHandle, []byte) ([]byte, error)
}

// loadModule loads a module into this process. The binding drops the loader's
// reason for a failure, so that the file is examined for one.
func loadModule(path string) (module, error) {
	info, err := os.Stat(path)
	switch {
	case isMissing(err):
		return nil, fail(ModuleMissing, "install the card's software, or correct module-path=",
			"there is no PKCS#11 module at %s", show(path)).because(err)
	case err != nil:
		return nil, fail(ModuleLoad, "", "the PKCS#11 module cannot be read: %v", err).because(err)
	case !info.Mode().IsRegular():
		return nil, fail(ModuleLoad, "give the module's file in module-path=", "the PKCS#11 module %s is not a file", show(path))
	}
	if m := pkcs11.New(path); m != nil {
		return m, nil
	}
	return nil, whyNotLoaded(path)
}

// whyNotLoaded reads the reason for a failure to load from the module's header.
func whyNotLoaded(path string) error {
	made, symbols, err := inspectLibrary(path)
	if errors.Is(err, os.ErrPermission) {
		return fail(ModuleLoad, "", "the PKCS#11 module cannot be read: %v", err).because(err)
	}
	if err != nil {
		return fail(ModuleLoad, "", "the PKCS#11 module %s is not a shared library", show(path)).because(err)
	}
	if want := thisMachine(); made != want {
		return fail(ModuleArch, "install the card's software for this kind of system, or use a build of this program for the other",
			"the PKCS#11 module %s has the wrong architecture: it is made for %s, this program for %s", show(path), made, want)
	}
	// In Mach-O, names of C begin with an underscore.
	if symbols != nil && !slices.Contains(symbols, "C_GetFunctionList") && !slices.Contains(symbols, "_C_GetFunctionList") {
		return fail(ModuleLoad, "", "%s is a library, but not a PKCS#11 module", show(path))
	}
	return fail(ModuleLoad, "ldd (on macOS: otool -L) shows the libraries that it does not find",
		"the PKCS#11 module %s cannot be loaded; perhaps a library that it needs is missing", show(path))
}

// machines maps the processors of Go builds to their names by elf.Machine and
// macho.Cpu.
var machines = map[string]struct{ elf, macho string }{
	"amd64":   {"EM_X86_64 ELFCLASS64", macho.CpuAmd64.String()},
	"arm64":   {"EM_AARCH64 ELFCLASS64", macho.CpuArm64.String()},
	"386":     {"EM_386 ELFCLASS32", macho.Cpu386.String()},
	"arm":     {"EM_ARM ELFCLASS32", macho.CpuArm.String()},
	"riscv64": {"EM_RISCV ELFCLASS64", ""},
	"ppc64le": {"EM_PPC64 ELFCLASS64", macho.CpuPpc64.String()},
	"s390x":   {"EM_S390 ELFCLASS64", ""},
}

// thisMachine names the system of this program like inspectLibrary.
func thisMachine() string {
	if runtime.GOOS == "darwin" {
		return "macOS on " + runtime.GOARCH
	}
	return "Linux or BSD on " + runtime.GOARCH
}

// inspectLibrary returns the system of a shared library, and its exported
// functions if they can be read. A universal Mach-O file is for this machine if
// one of its parts is.
func inspectLibrary(path string) (made string, symbols []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	if e, err := elf.NewFile(f); err == nil {
		if list, err := e.DynamicSymbols(); err == nil {
			for _, s := range list {
				symbols = append(symbols, s.Name)
			}
		}
		made := e.Machine.String() + " " + e.Class.String()
		for arch, m := range machines {
			if m.elf == made {
				made = arch
			}
		}
		return "Linux or BSD on " + made, symbols, nil
	}
	if fat, err := macho.NewFatFile(f); err == nil {
		var all []string
		for _, a := range fat.Arches {
			all = append(all, machoArch(a.Cpu))
		}
		if slices.Contains(all, runtime.GOARCH) {
			all = []string{runtime.GOARCH}
		}
		return "macOS on " + strings.Join(all, " and "), nil, nil
	}
	m, err := macho.NewFile(f)
	if err != nil {
		return "", nil, err
	}
	if list, err := m.ImportedSymbols(); err == nil && m.Symtab != nil {
		symbols = list
		for _, s := range m.Symtab.Syms {
			symbols = append(symbols, s.Name)
		}
	}
	return "macOS on " + machoArch(m.Cpu), symbols, nil
}

// machoArch returns the name in Go of a Mach-O processor.
func machoArch(cpu macho.Cpu) string {
	for arch, m := range machines {
		if m.macho == cpu.String() {
			return arch
		}
	}
	return cpu.String()
}
