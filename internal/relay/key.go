package relay

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
)

const (
	keyType = "PRIVATE KEY" // PKCS #8 in PEM: RFC 7468, section 10
	// keyMax bounds the key file in bytes: Ed25519 takes 119.
	keyMax = 8 << 10
)

// Fingerprint returns the fingerprint of the relay with this state directory, by
// which clients know it: 64 lower-case hexadecimal digits. It makes the key if
// there is none yet.
func Fingerprint(dir string) (string, error) {
	key, err := loadKey(dir)
	if err != nil {
		return "", err
	}
	defer key.Erase()
	return trust.Fingerprint(key.Public().SPKI()), nil
}

// loadKey reads the relay's identity key, and makes it on the first start. Two
// processes that start at once get the same key.
func loadKey(dir string) (*trust.Key, error) {
	if err := state.MakeDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, state.RelayKey)
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := state.RefuseClients(dir); err != nil {
		return nil, err
	}
	key, err = trust.GenerateKey(trust.KeyEd25519)
	if err != nil {
		return nil, err
	}
	der := key.PKCS8()
	text := pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der})
	err = state.CreateFile(path, text)
	clear(der)
	clear(text)
	if err == nil {
		return key, nil
	}
	key.Erase()
	// Another process was first. If it already serves, its sweep may even have
	// removed the half-written file of this one.
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return readKey(path)
	}
	return nil, fmt.Errorf("relay key: %w", err)
}

func readKey(path string) (*trust.Key, error) {
	text, err := state.ReadFile(path, keyMax)
	if err != nil {
		return nil, fmt.Errorf("relay key: %w", err)
	}
	defer clear(text)
	block, rest := pem.Decode(text)
	if block == nil || block.Type != keyType || len(rest) > 0 {
		return nil, fmt.Errorf("relay key: %s is not one private key in PEM", path)
	}
	defer clear(block.Bytes)
	key, err := trust.ParseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("relay key: %s: %w", path, err)
	}
	return key, nil
}
