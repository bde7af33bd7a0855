//go:build cgo

package card

import (
	"bytes"
	"debug/elf"
	"debug/macho"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// elfFile is the bare header of a shared library for a processor.
func elfFile(class elf.Class, machine elf.Machine) []byte {
	var b bytes.Buffer
	order, typ := binary.LittleEndian, uint16(elf.ET_DYN)
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	if class == elf.ELFCLASS32 {
		binary.Write(&b, order, elf.Header32{Ident: ident, Type: typ, Machine: uint16(machine), Version: 1, Ehsize: 52, Shentsize: 40})
	} else {
		binary.Write(&b, order, elf.Header64{Ident: ident, Type: typ, Machine: uint16(machine), Version: 1, Ehsize: 64, Shentsize: 64})
	}
	return b.Bytes()
}

func machoFile(cpu macho.Cpu) []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, macho.FileHeader{Magic: macho.Magic64, Cpu: cpu, Type: macho.TypeDylib})
	return append(b.Bytes(), 0, 0, 0, 0)
}

func TestModuleThatCannotBeLoaded(t *testing.T) {
	other, otherName := elf.EM_AARCH64, "arm64"
	if runtime.GOARCH == "arm64" {
		other, otherName = elf.EM_X86_64, "amd64"
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		writeFile(t, filepath.Join(dir, name), data, 0o644)
		return filepath.Join(dir, name)
	}
	for _, tc := range []struct {
		name, path string
		kind       Kind
		says       string
	}{
		{"missing", filepath.Join(dir, "none.so"), ModuleMissing, "no PKCS#11 module at"},
		{"a directory", dir, ModuleLoad, "not a file"},
		{"text", write("text.so", []byte("not a library\n")), ModuleLoad, "not a shared library"},
		{"empty", write("empty.so", nil), ModuleLoad, "not a shared library"},
		{"cut short", write("short.so", elfFile(elf.ELFCLASS64, elf.EM_X86_64)[:20]), ModuleLoad, "not a shared library"},
		{"another processor", write("other.so", elfFile(elf.ELFCLASS64, other)), ModuleArch,
			"wrong architecture: it is made for Linux or BSD on " + otherName},
		{"32 bits", write("32.so", elfFile(elf.ELFCLASS32, elf.EM_386)), ModuleArch, "on 386"},
		{"a processor that is not known", write("odd.so", elfFile(elf.ELFCLASS64, elf.EM_68K)), ModuleArch, "EM_68K"},
		{"macOS", write("mac.dylib", machoFile(macho.CpuPpc)), ModuleArch, "macOS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// Through Open, like a user.
			_, err := Open(t.Context(), "pkcs11:?module-path="+escape(tc.path), Options{})
			if e := wantKind(t, err, tc.kind); !strings.Contains(e.Message, tc.says) {
				t.Errorf("said %q, which does not mention %q", e.Message, tc.says)
			}
		})
	}
}

// A library without the entry point of PKCS#11 has its own message.
func TestLibraryThatIsNoModule(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: finds the C library by /proc/self/maps, which only Linux has")
	}
	maps := must(os.ReadFile("/proc/self/maps"))
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) == 6 && strings.Contains(filepath.Base(f[5]), "libc") {
			_, err := Open(t.Context(), "pkcs11:?module-path="+escape(f[5]), Options{})
			if e := wantKind(t, err, ModuleLoad); !strings.Contains(e.Message, "not a PKCS#11 module") {
				t.Errorf("said %q", e.Message)
			}
			return
		}
	}
	t.Fatal("this process has no C library")
}

func TestMachOArchitecture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.dylib")
	for cpu, want := range map[macho.Cpu]string{macho.CpuAmd64: "macOS on amd64", macho.CpuArm64: "macOS on arm64"} {
		writeFile(t, path, machoFile(cpu), 0o644)
		if made, _, err := inspectLibrary(path); err != nil || made != want {
			t.Errorf("%v: %q, %v", cpu, made, err)
		}
	}
}

func TestModulePaths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"libtoken.so", "Other-Module.so", "libtoken.txt", "token.so.2"} {
		writeFile(t, filepath.Join(dir, name), nil, 0o644)
	}
	if err := os.Symlink("libtoken.so", filepath.Join(dir, "link.so")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"token": "libtoken.so", "LIBTOKEN": "libtoken.so", "other-module": "Other-Module.so", "libtoken.so": "", "tok": "",
	} {
		got := namedModules(name, []string{"/nonexistent", dir})
		if want == "" && len(got) != 0 || want != "" && !slices.Equal(got, []string{filepath.Join(dir, want)}) {
			t.Errorf("%q means %q", name, got)
		}
	}
	// One file with two names is one module.
	link := filepath.Join(dir, "link.so")
	if got := existing([]string{link, filepath.Join(dir, "libtoken.so"), dir, "/nonexistent"}); !slices.Equal(got, []string{link}) {
		t.Errorf("existing: %q", got)
	}
	_, err := Open(t.Context(), "pkcs11:?module-path=libtoken.so", Options{})
	wantKind(t, err, BadSpec)
	_, err = Open(t.Context(), "pkcs11:?module-name=no-such-module-anywhere", Options{})
	wantKind(t, err, ModuleMissing)
}

func TestKnownModules(t *testing.T) {
	paths, dirs := knownModules()
	if len(paths) == 0 || !strings.Contains(paths[0], "pteid") {
		t.Errorf("known modules are %q", paths)
	}
	for _, p := range paths {
		if !filepath.IsAbs(p) || !slices.Contains(dirs, filepath.Dir(p)) {
			t.Errorf("%s is not in any of the directories", p)
		}
	}
}
