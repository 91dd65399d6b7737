// Secrets prints the secrets that the overlay full needs and no operator makes: the logins of Postgres, the
// cache's password, the key of webhooks, and the authority that both servers are signed by. Every run makes others, so it is for
// `kubectl create`, which leaves alone what is there:
//
//	GOWORK=off go run ./full/secrets | kubectl create -f -
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	namespace = "wallet"
	// lifetime is long because the services read the authority once, when they start.
	lifetime = 10 * 365 * 24 * time.Hour
)

func main() {
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "secrets:", err)
		os.Exit(1)
	}
}

// write prints nothing unless it has all: half of them would belong to two authorities.
func write(out io.Writer) error {
	authority, err := newAuthority()
	if err != nil {
		return err
	}
	cachePassword := rand.Text()
	redisURL := fmt.Sprintf("rediss://default:%s@cache:6379/0", cachePassword)
	secrets := []corev1.Secret{
		// CloudNativePG signs its servers' certificates with the key.
		secret("wallet-ca", corev1.SecretTypeOpaque, map[string]string{"ca.crt": authority.certificatePEM, "ca.key": authority.keyPEM}),
		login("wallet-owner", "wallet", redisURL),
		login("wallet-api", "api", redisURL),
		login("wallet-relay", "relay", ""),
		login("wallet-worker", "worker", redisURL),
		login("wallet-hooks", "hooks", ""),
		// What the secrets of webhooks are encrypted with in Postgres: a backup without it has lost them.
		secret("wallet-hooks-key", corev1.SecretTypeOpaque, map[string]string{"key": newHooksKey()}),
	}
	certificate, key, err := authority.sign("cache", "cache."+namespace, "cache."+namespace+".svc", "localhost")
	if err != nil {
		return err
	}
	secrets = append(secrets, secret("wallet-cache", corev1.SecretTypeOpaque, map[string]string{
		"tls.crt": certificate, "tls.key": key,
		// Redis gets the hash alone. The probe needs no password: it may say PING and nothing else.
		"users.acl": fmt.Sprintf("user default on #%x ~* &* +@all\nuser probe on nopass -@all +ping\n", sha256.Sum256([]byte(cachePassword))),
	}))
	var all bytes.Buffer
	for _, s := range secrets {
		text, err := yaml.Marshal(s)
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "---\n%s", text)
	}
	_, err = all.WriteTo(out)
	return err
}

// login is a login of Postgres, as CloudNativePG reads it (username, password) and as our programs do.
func login(name, user, redisURL string) corev1.Secret {
	password := rand.Text()
	data := map[string]string{
		corev1.BasicAuthUsernameKey: user, corev1.BasicAuthPasswordKey: password,
		// The service of the primary. The certificate is for that name, so nothing else can pass for it.
		"database-url": fmt.Sprintf("postgres://%s:%s@wallet-postgres-rw:5432/wallet?sslmode=verify-full&sslrootcert=/secrets/ca.crt", user, password),
	}
	if redisURL != "" {
		data["redis-url"] = redisURL
	}
	s := secret(name, corev1.SecretTypeBasicAuth, data)
	s.Labels = map[string]string{"cnpg.io/reload": "true"} // the operator applies a changed password at once
	return s
}

func secret(name string, kind corev1.SecretType, data map[string]string) corev1.Secret {
	s := corev1.Secret{Type: kind, StringData: data}
	s.APIVersion, s.Kind, s.Name, s.Namespace = "v1", "Secret", name, namespace
	return s
}

// newHooksKey is one that HOOKS_KEY takes.
func newHooksKey() string {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	return "first:" + base64.StdEncoding.EncodeToString(key[:])
}

type authority struct {
	certificate            *x509.Certificate
	key                    *ecdsa.PrivateKey
	certificatePEM, keyPEM string
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate("legendary-wallet")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, certificatePEM: encode("CERTIFICATE", der)}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.keyPEM, err = encodeKey(key)
	return a, err
}

// sign returns a server's certificate and key for the names.
func (a *authority) sign(names ...string) (certificatePEM, keyPEM string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := certificate(names[0])
	template.DNSNames, template.KeyUsage = names, x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return "", "", err
	}
	keyPEM, err = encodeKey(key)
	return encode("CERTIFICATE", der), keyPEM, err
}

func certificate(name string) *x509.Certificate {
	serial := new(big.Int).SetBytes([]byte(rand.Text())[:16])
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime),
	}
}

// encodeKey writes the form of an elliptic key that CloudNativePG reads.
func encodeKey(key *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalECPrivateKey(key)
	return encode("EC PRIVATE KEY", der), err
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
