package service

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

// The settings that several processes have mean the same in each, and say so in the same words.

// DatabaseURL reads DATABASE_URL; nil if it is wrong.
func DatabaseURL(env *Env) *pgxpool.Config {
	url := env.RequiredSecret("DATABASE_URL", "postgres://api:development@localhost:5432/wallet?sslmode=disable",
		`Postgres, by the service's own login. (docker compose sets it.)
		With TLS: ...?sslmode=verify-full&sslrootcert=/path/ca.pem
		The tables are in the schema public, or in that of ...?search_path=SCHEMA. With several servers,
		postgres://...@a:5432,b:5432/wallet, the one that takes writes is used.`)
	if url == "" {
		return nil
	}
	config, err := db.Config(url)
	env.Check("DATABASE_URL", err)
	return config
}

// RedisURL reads REDIS_URL; nil if it is wrong.
func RedisURL(env *Env) redis.UniversalClient {
	url := env.RequiredSecret("REDIS_URL", "redis://localhost:6379/0", redisMeaning)
	if url == "" {
		return nil
	}
	client, err := walletcache.Open(url)
	env.Check("REDIS_URL", err)
	return client
}

const redisMeaning = `Redis, the cache of wallets. (docker compose sets it.)
	With TLS rediss://user:password@host:port/0; SSL_CERT_FILE names the CA, if it is not the system's.
	A cluster: redis://user:password@host:6379?addr=host2:6379&addr=host3:6379 (with one address, name it twice).
	Sentinels: redis://host:26379/0?master_name=NAME&addr=host2:26379&username=user&password=password; before the
	@ is what the Sentinels themselves ask for. The rights of the user: docs/operations.md#redis.`

// Brokers reads KAFKA_BROKERS.
func Brokers(env *Env) string {
	return env.Required("KAFKA_BROKERS", "localhost:9092", "Kafka, one or more host:port with commas between. (docker compose sets it.)")
}

// Topic reads TOPIC.
func Topic(env *Env) string {
	return env.String("TOPIC", "wallet-operations", "The topic that the operations go to. It is created, once, by `ctl topic create`.")
}

// EventsTopic reads EVENTS_TOPIC; "" is none.
func EventsTopic(env *Env) string {
	return env.OrNone("EVENTS_TOPIC", "wallet-events",
		`The topic that says what became of operations. It is created, once, by `+"`ctl topic create`"+` with as many
		partitions as TOPIC. Until then nothing is written for it.`)
}

// Group reads KAFKA_GROUP.
func Group(env *Env) string {
	return env.String("KAFKA_GROUP", "wallet-worker", "The consumer group: all workers of one database have the same.")
}

// RelayName reads RELAY_NAME.
func RelayName(env *Env) string {
	return env.String("RELAY_NAME", "wallet-relay", "Relays of one name share one position in the outbox: one of them leads, the others stand by.")
}

// HooksKey reads HOOKS_KEY. A service that can do without may have none.
func HooksKey(env *Env, required bool) hook.Keys {
	read := env.Secret
	if required {
		read = env.RequiredSecret
	}
	keys, err := hook.ParseKeys(read("HOOKS_KEY", "2026:BASE64",
		`The key that encrypts the secrets of webhooks: id:base64 of 32 bytes (openssl rand -base64 32). Several
		with commas between: the first encrypts, and the others decrypt what they have encrypted. The api and
		hooks have the same. Without one the api has no webhooks.`))
	env.Check("HOOKS_KEY", err)
	return keys
}

// AdminAddr reads ADMIN_ADDR.
func AdminAddr(env *Env, otherwise string) string {
	return env.Addr("ADMIN_ADDR", otherwise, "Where health and metrics are, without any authentication. (The images say :9080.)")
}

// Librdkafka reads the RDKAFKA_ settings as properties of librdkafka.
func Librdkafka(env *Env) map[string]string {
	given := env.Prefix("RDKAFKA_", "",
		`Any other property of librdkafka: RDKAFKA_SASL_USERNAME is sasl.username. TLS and a password:
		RDKAFKA_SECURITY_PROTOCOL=sasl_ssl RDKAFKA_SSL_CA_LOCATION=/path/ca.pem
		RDKAFKA_SASL_MECHANISM=SCRAM-SHA-256 RDKAFKA_SASL_USERNAME=wallet`)
	properties := make(map[string]string, len(given))
	for name, value := range given {
		properties[strings.ToLower(strings.ReplaceAll(name, "_", "."))] = value
	}
	return properties
}

// Properties merges librdkafka's properties: those that are given replace the defaults, so that security needs no
// code in a process, and the rules replace both. A process's guarantees rest on its rules: to give one of them is a
// mistake. M is kafka.ConfigMap, by a parameter because the api needs settings and no librdkafka.
func Properties[M ~map[string]V, V any](env *Env, process string, given map[string]string, defaults, rules M) M {
	properties := maps.Clone(defaults)
	for _, property := range slices.Sorted(maps.Keys(given)) {
		if _, fixed := rules[property]; fixed {
			env.Check(propertySetting(property), errors.New("is set by "+process+" itself"))
		}
		properties[property] = any(given[property]).(V)
	}
	maps.Copy(properties, rules)
	return properties
}

// propertySetting is the setting that sets a property of librdkafka.
func propertySetting(property string) string {
	return "RDKAFKA_" + strings.ToUpper(strings.ReplaceAll(property, ".", "_"))
}
