package main

import (
	"strings"

	"github.com/legendary-wallet/legendary-wallet/service"
)

// settings are what ctl reads from the environment, here and nowhere else. Empty: it is not set.
type settings struct {
	databaseURL, kafkaBrokers, redisURL string
	topic, eventsTopic, group, relay    string
	actor, noColour                     string
	rdkafka                             map[string]string // librdkafka's own, by its names: sasl.username
}

// readSettings requires nothing: each command says what it needs.
func readSettings(env *service.Env) settings {
	return settings{
		databaseURL: env.Secret("DATABASE_URL", "postgres://postgres:development@localhost:5432/wallet?sslmode=disable",
			"Postgres, by the login that owns the tables."),
		kafkaBrokers: env.Optional("KAFKA_BROKERS", "localhost:9092", "Kafka, one or more host:port with commas between."),
		rdkafka:      service.Librdkafka(env),
		redisURL: env.Secret("REDIS_URL", "redis://localhost:6379/0",
			"The cache, in the forms that the services take. Without it ctl does not look at it."),
		topic:       service.Topic(env),
		eventsTopic: service.EventsTopic(env),
		group:       service.Group(env),
		relay:       service.RelayName(env),
		actor: env.Optional("ACTOR", "alice",
			`Who is at work, for the list of what operators did (ctl actions): needed in a container, where every
			user is the same. Otherwise it is the user's name and the host's.`),
		noColour: env.Optional("NO_COLOR", "1", "With any value, ctl writes without colours, on a terminal too."),
	}
}

// A setting is what --help says of a variable, or of a flag or command.
type setting struct{ name, otherwise, means string }

// described are the settings that env was asked for, in a line each.
func described(env *service.Env) (lines []setting) {
	for _, s := range env.Declared() {
		means := strings.Join(strings.Fields(s.Meaning), " ")
		if s.File {
			means += " Or a file: " + s.Name + "_FILE."
		}
		lines = append(lines, setting{s.Name, s.Default, means})
	}
	return lines
}
