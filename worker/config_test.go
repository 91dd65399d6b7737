package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/service"
)

var required = []string{"DATABASE_URL=postgres://worker@db/wallet", "REDIS_URL=redis://redis:6379/0", "KAFKA_BROKERS=kafka:9092"}

func configOf(environ []string) (config, error) {
	env := service.NewEnv(environ)
	return parseConfig(env), env.Err()
}

func TestSettings(t *testing.T) {
	t.Parallel()
	c, err := configOf(append(required, "RDKAFKA_SASL_USERNAME=worker", "BATCH_INTERVAL=0s"))
	if err != nil {
		t.Fatal(err)
	}
	if c.batchInterval != 0 || c.batchSize != 2000 || c.sweepAfter != 30*time.Second || c.topic != "wallet-operations" || c.adminAddr != "127.0.0.1:9082" {
		t.Errorf("defaults: %+v", c)
	}
	if c.eventsTopic != "wallet-events" || c.eventsSource != "legendary-wallet" {
		t.Errorf("events go to %q as %q", c.eventsTopic, c.eventsSource)
	}
	if none, err := configOf(append(required, "EVENTS_TOPIC= ")); none.eventsTopic != "" || err != nil {
		t.Errorf("EVENTS_TOPIC is empty, and events go to %q, %v", none.eventsTopic, err)
	}
	for property, want := range map[string]any{
		"sasl.username": "worker", "group.id": "wallet-worker", "bootstrap.servers": "kafka:9092",
		"enable.auto.offset.store": false, // the worker's promises rest on it
	} {
		if got := c.kafka[property]; got != want {
			t.Errorf("%s = %v, want %v", property, got, want)
		}
	}
}

func TestEveryWrongSettingIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	for fact, test := range map[string]struct {
		environ []string
		named   []string
	}{
		"nothing is set":  {nil, []string{"DATABASE_URL", "REDIS_URL", "KAFKA_BROKERS"}},
		"all is nonsense": {[]string{"DATABASE_URL=x", "REDIS_URL=x", "KAFKA_BROKERS=x", "LOG_LEVEL=x", "BATCH_INTERVAL=-1s", "BATCH_SIZE=0", "SWEEP_AFTER=30", "ADMIN_ADDR=9082"}, []string{"DATABASE_URL", "REDIS_URL", "LOG_LEVEL", "BATCH_INTERVAL", "BATCH_SIZE", "SWEEP_AFTER", "ADMIN_ADDR"}},
		"beyond a limit":  {append(required, "BATCH_SIZE=5001"), []string{"BATCH_SIZE"}},
		"Kafka's own":     {append(required, "RDKAFKA_NO_SUCH_THING=1"), []string{"RDKAFKA_", "no.such.thing"}},
		"the worker's":    {append(required, "RDKAFKA_GROUP_ID=mine", "RDKAFKA_ENABLE_AUTO_OFFSET_STORE=true"), []string{"RDKAFKA_GROUP_ID", "RDKAFKA_ENABLE_AUTO_OFFSET_STORE"}},
		"one topic":       {append(required, "EVENTS_TOPIC=wallet-operations"), []string{"EVENTS_TOPIC: is TOPIC"}},
		"a source":        {append(required, "EVENTS_SOURCE=a b"), []string{"EVENTS_SOURCE"}},
		"a long source":   {append(required, "EVENTS_SOURCE="+strings.Repeat("s", maxSource+1)), []string{"EVENTS_SOURCE"}},
		"no URI":          {append(required, "EVENTS_SOURCE=%zz"), []string{"EVENTS_SOURCE"}},
		"several at once": {[]string{"RDKAFKA_NO_SUCH_THING=1"}, []string{"DATABASE_URL", "no.such.thing"}},
	} {
		var log bytes.Buffer
		if code := program.Start(context.Background(), test.environ, &log); code != 2 {
			t.Errorf("%s: exit code %d, want 2", fact, code)
		}
		for _, name := range test.named {
			if !strings.Contains(log.String(), name) {
				t.Errorf("%s: %s is not named: %s", fact, name, log.String())
			}
		}
	}
}

func TestMovement(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	for fact, test := range map[string]struct {
		looks          [][3]int64 // stored, polled, end; one a second
		stored, polled int        // seconds that each stands still at the end
	}{
		"idle":                            {looks: [][3]int64{{5, 5, 5}, {5, 5, 5}, {5, 5, 5}}, stored: 0, polled: 0},
		"keeping up":                      {looks: [][3]int64{{5, 5, 6}, {6, 6, 7}, {7, 7, 8}}, stored: 0, polled: 0},
		"nothing comes":                   {looks: [][3]int64{{5, 5, 6}, {5, 5, 7}, {5, 5, 7}}, stored: 2, polled: 2},
		"messages come and stay undone":   {looks: [][3]int64{{5, 6, 7}, {5, 7, 8}, {5, 8, 9}}, stored: 2, polled: 0},
		"all messages are here, not done": {looks: [][3]int64{{5, 7, 7}, {5, 7, 7}, {5, 7, 7}}, stored: 2, polled: 0},
		"it begins to stand still":        {looks: [][3]int64{{5, 5, 5}, {5, 5, 5}, {5, 5, 6}, {5, 5, 6}}, stored: 2, polled: 2},
		"it moves again":                  {looks: [][3]int64{{5, 5, 9}, {5, 5, 9}, {6, 6, 9}}, stored: 0, polled: 0},
	} {
		var m movement
		for i, look := range test.looks {
			m = m.follow(at(i), look[0], look[1], look[2])
		}
		last := at(len(test.looks) - 1)
		if stored, polled := int(last.Sub(m.storedSince).Seconds()), int(last.Sub(m.polledSince).Seconds()); stored != test.stored || polled != test.polled {
			t.Errorf("%s: still for %d s and %d s, want %d and %d", fact, stored, polled, test.stored, test.polled)
		}
	}
}

func TestAnOffsetOfALogBeforeCountsForNothing(t *testing.T) {
	t.Parallel()
	const first, end = 3, 9
	for fact, test := range map[string]struct{ offset, begin, want int64 }{
		"within":                             {5, 4, 5},
		"at the end":                         {end, 4, end},
		"past the end":                       {end + 1, 4, first},
		"before retention":                   {2, 1, first},
		"nothing yet":                        {unknownOffset, 4, 4},
		"nothing yet, nothing was committed": {unknownOffset, unknownOffset, first},
		"nothing yet, committed meanwhile":   {unknownOffset, end + 1, end + 1},
	} {
		if got := within(test.offset, test.begin, first, end); got != test.want {
			t.Errorf("%s: %d, want %d", fact, got, test.want)
		}
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	database, redisURL, password := file("postgres://worker:s3cret@db/wallet\n"), file("redis://:s3cret@redis/1"), file("s3cret\n")
	c, err := configOf([]string{"DATABASE_URL_FILE=" + database, "REDIS_URL_FILE=" + redisURL, "KAFKA_BROKERS=kafka:9092", "RDKAFKA_SASL_PASSWORD_FILE=" + password})
	if err != nil || c.database.ConnConfig.Password != "s3cret" || c.redis.(*redis.Client).Options().Password != "s3cret" || c.kafka["sasl.password"] != "s3cret" {
		t.Errorf("%v %+v", err, c)
	}
}

func TestAMistakeInAURLDoesNotTellItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"%s://worker:s3cret/s3cret@host/0", "%s://worker:s3cret@host:port/0", "%s://worker:s3cret@ho st/0", "worker:s3cret@host %s"} {
		_, err := configOf([]string{"DATABASE_URL=" + fmt.Sprintf(url, "postgres"), "REDIS_URL=" + fmt.Sprintf(url, "redis"), "KAFKA_BROKERS=k:1"})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
