package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Secured is what SECURE=on adds: certificates of an authority that is made for one stack, and
// passwords. They then speak TLS alone and ask for a password, and the services reach them by
// settings that anyone can give them. A nil one adds nothing.
type Secured struct {
	dir      string
	CA       string // file
	tls      *tls.Config
	Password string // of Redis and Kafka
}

const secureUser = "wallet"

// NewSecured makes the authority and one certificate, for all servers of this machine.
func NewSecured(dir string) (*Secured, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &Secured{dir: dir, CA: filepath.Join(dir, "ca.pem"), Password: "secret-" + rand.Text()}
	ca, certificate, key, err := newCertificates()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{"ca.pem": ca, "server.crt": certificate, "server.key": key, "postgres.key": key, "server.pem": slices.Concat(key, certificate)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return nil, err
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	s.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return s, nil
}

// newCertificates are the authority's, and a server's with its key.
func newCertificates() (ca, certificate, key []byte, err error) {
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "legendary-wallet local"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	authorityDER, authorityErr := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	serverDER, serverErr := x509.CreateCertificate(rand.Reader, server, authority, &serverKey.PublicKey, authorityKey)
	keyDER, keyErr := x509.MarshalPKCS8PrivateKey(serverKey)
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", authorityDER), encode("CERTIFICATE", serverDER), encode("PRIVATE KEY", keyDER), errors.Join(authorityErr, serverErr, keyErr)
}

func (s *Secured) file(name string) string { return filepath.Join(s.dir, name) }

// databaseURL makes a client check the server's certificate.
func (s *Secured) databaseURL(plain string) string {
	if s == nil {
		return plain
	}
	return strings.Replace(plain, "sslmode=disable", "sslmode=verify-full&sslrootcert="+url.QueryEscape(s.CA), 1)
}

// postgresArguments tell the server where its certificate is. It has a key of its own file, which only
// the user that it runs as may read.
func (s *Secured) postgresArguments() []string {
	if s == nil {
		return nil
	}
	return []string{s.dir}
}

// redisURL is where the services find Redis on a port.
func (s *Secured) redisURL(port int) string {
	if s == nil {
		return "redis://" + proc.Address(port) + "/0"
	}
	return fmt.Sprintf("rediss://default:%s@%s/0", s.Password, proc.Address(port))
}

// redisArguments make Redis listen on a port.
func (s *Secured) redisArguments(port int) []string {
	if s == nil {
		return []string{"--port", fmt.Sprint(port)}
	}
	return []string{
		"--port", "0", "--tls-port", fmt.Sprint(port), "--tls-auth-clients", "no", "--requirepass", s.Password,
		"--tls-cert-file", s.file("server.crt"), "--tls-key-file", s.file("server.key"), "--tls-ca-cert-file", s.CA,
	}
}

// redisOptions reads a URL for a client of local's own.
func (s *Secured) redisOptions(url string) (*redis.Options, error) {
	options, err := redis.ParseURL(url)
	if err == nil && s != nil {
		options.TLSConfig = s.tls
	}
	return options, err
}

// protocol is that of Kafka's listener.
func (s *Secured) protocol() string {
	if s == nil {
		return "PLAINTEXT"
	}
	return "SASL_SSL"
}

// brokerProperties are added to the broker's.
func (s *Secured) brokerProperties() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf(`listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
security.inter.broker.protocol=SASL_SSL
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256
sasl.enabled.mechanisms=SCRAM-SHA-256
ssl.keystore.type=PEM
ssl.keystore.location=%[1]s
ssl.truststore.type=PEM
ssl.truststore.location=%[2]s
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="%[3]s" password="%[4]s";
`, s.file("server.pem"), s.CA, secureUser, s.Password)
}

// formatArguments give the broker its user.
func (s *Secured) formatArguments() []string {
	if s == nil {
		return nil
	}
	return []string{"--add-scram", fmt.Sprintf("SCRAM-SHA-256=[name=%s,password=%s]", secureUser, s.Password)}
}

// KafkaOptions are those of a client of local's own.
func (s *Secured) KafkaOptions(brokers string, more ...kgo.Opt) []kgo.Opt {
	options := append([]kgo.Opt{kgo.SeedBrokers(strings.Split(brokers, ",")...)}, more...)
	if s != nil {
		login := scram.Auth{User: secureUser, Pass: s.Password}
		options = append(options, kgo.DialTLSConfig(s.tls), kgo.SASL(login.AsSha256Mechanism()))
	}
	return options
}

// Env are the services' settings.
func (s *Secured) Env() []string {
	if s == nil {
		return nil
	}
	return []string{
		"SSL_CERT_FILE=" + s.CA,
		"RDKAFKA_SECURITY_PROTOCOL=sasl_ssl", "RDKAFKA_SSL_CA_LOCATION=" + s.CA,
		"RDKAFKA_SASL_MECHANISM=SCRAM-SHA-256", "RDKAFKA_SASL_USERNAME=" + secureUser, "RDKAFKA_SASL_PASSWORD=" + s.Password,
	}
}
