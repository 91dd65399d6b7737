package main

import (
	"strings"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/service"
)

func TestAllMistakesInSettingsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	env := service.NewEnv([]string{"DATABASE_URL=x", "KAFKA_BROKERS=kafka:9092", "RDKAFKA_GROUP_ID=mine", "ADMIN_ADDR=9083", "EVENTS_TOPIC=", "HOOKS_KEY=a:b", "HOOKS_ALLOW=x", "HOOKS_RETRIES=5s,1", "HOOKS_GIVE_UP=1s"})
	parseConfig(env)
	if env.Err() == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"DATABASE_URL", "RDKAFKA_GROUP_ID", "ADMIN_ADDR", "EVENTS_TOPIC", "HOOKS_KEY", "HOOKS_ALLOW", "HOOKS_RETRIES", "HOOKS_GIVE_UP"} {
		if !strings.Contains(env.Err().Error(), name+": ") {
			t.Errorf("%s is not named in %q", name, env.Err())
		}
	}
}
