//go:build cgo

package card

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"chatsecure/proto"
)

// The known modules, best first: the own software of the Cartão de Cidadão,
// OpenSC for many cards, p11-kit for all modules that the system has set up, and
// SoftHSM for trials.
var (
	linuxModules = []string{
		"libpteidpkcs11.so",
		"opensc-pkcs11.so", "pkcs11/opensc-pkcs11.so",
		"p11-kit-proxy.so",
		"libykcs11.so", "libykcs11.so.2",
		"softhsm/libsofthsm2.so", "pkcs11/libsofthsm2.so", "libsofthsm2.so",
	}
	darwinModules = []string{
		"libpteidpkcs11.dylib",
		"opensc-pkcs11.so", "pkcs11/opensc-pkcs11.so",
		"p11-kit-proxy.dylib",
		"libykcs11.dylib",
		"softhsm/libsofthsm2.so",
	}
	windowsModules = []string{"pteidpkcs11.dll", "opensc-pkcs11.dll"}
)

// multiarch maps processors to Debian's directory below /usr/lib.
var multiarch = map[string]string{
	"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "386": "i386-linux-gnu",
	"arm": "arm-linux-gnueabihf", "riscv64": "riscv64-linux-gnu",
	"ppc64le": "powerpc64le-linux-gnu", "s390x": "s390x-linux-gnu",
}

// knownModules returns the known paths of modules, best first, and their
// directories.
func knownModules() (paths, dirs []string) {
	var names []string
	switch runtime.GOOS {
	case "darwin":
		names = darwinModules
		dirs = []string{"/usr/local/lib", "/Library/OpenSC/lib", "/opt/homebrew/lib"}
	case "windows":
		names = windowsModules
		dirs = []string{`C:\Windows\System32`, `C:\Program Files\OpenSC Project\OpenSC\pkcs11`}
	default:
		names = linuxModules
		dirs = []string{"/usr/local/lib"}
		if m := multiarch[runtime.GOARCH]; m != "" {
			dirs = append(dirs, "/usr/lib/"+m)
		}
		dirs = append(dirs, "/usr/lib64", "/usr/lib")
	}
	for _, name := range names {
		for _, dir := range dirs {
			paths = append(paths, filepath.Join(dir, filepath.FromSlash(name)))
		}
	}
	for _, p := range paths {
		if dir := filepath.Dir(p); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return paths, dirs
}

// modulePaths returns the modules selected by a URI. A module with several names
// is listed once.
func modulePaths(u *uri) ([]string, error) {
	known, dirs := knownModules()
	switch {
	case u.modulePath != "":
		if !filepath.IsAbs(u.modulePath) {
			// The loader would search its own directories for a bare name.
			return nil, fail(BadSpec, uriHint, "module-path in the card's URI is not absolute: %s", show(u.modulePath))
		}
		return []string{u.modulePath}, nil
	case u.moduleName != "":
		found := existing(namedModules(u.moduleName, dirs))
		if len(found) == 0 {
			return nil, fail(ModuleMissing, "give its file with module-path=", "there is no PKCS#11 module named %s in %s",
				proto.Quote(u.moduleName), strings.Join(dirs, ", "))
		}
		return found, nil
	}
	found := existing(known)
	if len(found) == 0 {
		return nil, fail(NoModule, "install your card's software (for a Cartao de Cidadao: Autenticacao.gov; for many others: opensc), "+
			"or give -card 'pkcs11:?module-path=/PATH', or a software card's directory",
			"no PKCS#11 module is installed in any known place")
	}
	return found, nil
}

// namedModules finds the files of a module-name, which has no case and none of
// the system's affixes (RFC 7512, section 2.3).
func namedModules(name string, dirs []string) []string {
	var found []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // most systems lack some of these directories
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			stem := strings.TrimSuffix(e.Name(), ext)
			if slices.Contains([]string{".so", ".dylib", ".dll"}, ext) &&
				(strings.EqualFold(stem, name) || strings.EqualFold(strings.TrimPrefix(stem, "lib"), name)) {
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	return found
}

// existing returns the paths of regular files, each file once.
func existing(paths []string) []string {
	var found []string
	seen := map[string]bool{}
	for _, p := range paths {
		info, err := os.Stat(p)
		if r := resolve(p); err == nil && info.Mode().IsRegular() && !seen[r] {
			seen[r] = true
			found = append(found, p)
		}
	}
	return found
}

// resolve returns a file's name without links: two names of one file are one
// PKCS#11 library. A missing file is reported on loading.
func resolve(path string) string {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	return filepath.Clean(path)
}

// isProxy reports whether a module is p11-kit's proxy. It initializes and
// finalizes other modules, even those that this program uses directly.
func isProxy(path string) bool { return strings.HasPrefix(filepath.Base(path), "p11-kit-proxy.") }
