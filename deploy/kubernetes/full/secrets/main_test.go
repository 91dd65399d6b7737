package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestCacheIsKnownByItsNameAndPassword(t *testing.T) {
	made := parse(t)
	cache, authority := made["wallet-cache"], made["wallet-ca"]
	pair, err := tls.X509KeyPair([]byte(cache["tls.crt"]), []byte(cache["tls.key"]))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authority["ca.crt"]))
	for _, name := range []string{"cache", "cache.wallet", "localhost"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	address, err := url.Parse(made["wallet-api"]["redis-url"])
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	if hash := fmt.Sprintf("user default on #%x ", sha256.Sum256([]byte(password))); !strings.Contains(cache["users.acl"], hash) {
		t.Errorf("the api's password is not that of %q", cache["users.acl"])
	}
	if !strings.Contains(cache["users.acl"], "user probe on nopass -@all +ping\n") {
		t.Errorf("the probe may do more than ask: %q", cache["users.acl"])
	}
}

// What CloudNativePG needs in order to sign its servers' certificates.
func TestAuthoritySignsForTenYears(t *testing.T) {
	made := parse(t)["wallet-ca"]
	pair, err := tls.X509KeyPair([]byte(made["ca.crt"]), []byte(made["ca.key"]))
	if err != nil {
		t.Fatal(err)
	}
	if !pair.Leaf.IsCA || pair.Leaf.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Error("it may not sign")
	}
	if ends := time.Until(pair.Leaf.NotAfter); ends < 9*365*24*time.Hour {
		t.Errorf("it ends in %v, while the services read it once", ends)
	}
	if !strings.HasPrefix(made["ca.key"], "-----BEGIN EC PRIVATE KEY-----") {
		t.Error("the operator reads no other form of key")
	}
}

// The form is hook.ParseKeys'.
func TestTheKeyOfWebhooksHas32Bytes(t *testing.T) {
	id, encoded, _ := strings.Cut(parse(t)["wallet-hooks-key"]["key"], ":")
	if key, err := base64.StdEncoding.DecodeString(encoded); id == "" || err != nil || len(key) != 32 {
		t.Errorf("%q has %d bytes, %v", id, len(key), err)
	}
}

func TestEveryRunMakesOthers(t *testing.T) {
	first, second := parse(t), parse(t)
	for name, data := range first {
		for key, value := range data {
			if key != "username" && value == second[name][key] {
				t.Errorf("%s: %s is the same again", name, key)
			}
		}
	}
	if len(first) != 8 {
		t.Errorf("there are %d", len(first))
	}
}

// parse returns what the program prints, by name and key.
func parse(t *testing.T) map[string]map[string]string {
	t.Helper()
	var out bytes.Buffer
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	made := map[string]map[string]string{}
	for document := range strings.SplitSeq(strings.TrimPrefix(out.String(), "---\n"), "\n---\n") {
		var s corev1.Secret
		if err := yaml.UnmarshalStrict([]byte(document), &s); err != nil {
			t.Fatal(err)
		}
		if s.Namespace != namespace {
			t.Errorf("%s is in the namespace %q", s.Name, s.Namespace)
		}
		made[s.Name] = s.StringData
	}
	return made
}
