package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// settings are what ctl reads from the environment, here and nowhere else. Empty: it is not set.
type settings struct {
	databaseURL, kafkaBrokers, redisURL string
	topic, group, relay                 string
	actor, noColour                     string
	rdkafka                             map[string]string // librdkafka's own, by its names: sasl.username
}

// A setting is what --help says of a variable.
type setting struct{ name, otherwise, means string }

// kafkaProperties stands for every variable that begins so.
const kafkaProperties = "RDKAFKA_*"

// readSettings reads all of them and returns every mistake at once. White space around a value does not
// count, and NAME_FILE names a file that has the value, for the settings that are secrets.
func readSettings(environ []string) (s settings, declared []setting, mistakes []error) {
	env := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = strings.TrimSpace(value)
	}
	mistakes = readFiles(env)
	text := func(name, otherwise string, to *string, means string) {
		declared = append(declared, setting{name, otherwise, means})
		if *to = env[name]; *to == "" {
			*to = otherwise
		}
	}
	optional := func(name string, to *string, means string) { text(name, "", to, means) }

	optional("DATABASE_URL", &s.databaseURL, "Postgres, by the login that owns the tables, or DATABASE_URL_FILE")
	optional("KAFKA_BROKERS", &s.kafkaBrokers, "Kafka: host:port[,host:port]")
	s.rdkafka = map[string]string{}
	for name, value := range env {
		if property, ok := strings.CutPrefix(name, "RDKAFKA_"); ok {
			s.rdkafka[strings.ToLower(strings.ReplaceAll(property, "_", "."))] = value
		}
	}
	declared = append(declared, setting{kafkaProperties, "", "any property of librdkafka: RDKAFKA_SASL_USERNAME; or RDKAFKA_*_FILE"})
	optional("REDIS_URL", &s.redisURL, "the cache, or REDIS_URL_FILE")
	text("TOPIC", "wallet-operations", &s.topic, "the topic that the operations go to")
	text("KAFKA_GROUP", "wallet-worker", &s.group, "the workers' consumer group")
	text("RELAY_NAME", "wallet-relay", &s.relay, "whose position in the outbox it is")
	optional("ACTOR", &s.actor, "who is at work, for ctl actions; otherwise the user's and the host's name")
	optional("NO_COLOR", &s.noColour, "with any value, no colours")
	return s, declared, mistakes
}

// readFiles gives the settings that are secrets their values from files: NAME_FILE says which.
func readFiles(env map[string]string) (mistakes []error) {
	for name, path := range env {
		setting, isFile := strings.CutSuffix(name, "_FILE")
		if !isFile || path == "" || setting != "DATABASE_URL" && setting != "REDIS_URL" && !strings.HasPrefix(setting, "RDKAFKA_") {
			continue
		}
		text, err := os.ReadFile(path)
		value := strings.TrimSpace(string(text))
		switch {
		case err == nil && env[setting] != "":
			err = fmt.Errorf("is set, and %s too", setting)
		case err == nil && value == "":
			err = errors.New("is an empty file")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
		env[setting] = value
		delete(env, name)
	}
	return mistakes
}
