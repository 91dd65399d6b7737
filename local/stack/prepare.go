package stack

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// prepare makes what the services expect to find in the backing services.
func (s *Stack) prepare(ctx context.Context) error {
	started := time.Now()
	if err := s.Migrate(ctx); err != nil {
		return err
	}
	if err := s.CreateTopic(ctx); err != nil {
		return err
	}
	if err := s.CreateKey(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "  %-9s ready in %4.1f s  migrations, logins, %s, API key\n", "database", time.Since(started).Seconds(), s.Topics())
	return nil
}

// Topics are both, for people to read.
func (s *Stack) Topics() string {
	if s.EventsTopic == "" {
		return s.Topic
	}
	return s.Topic + " and " + s.EventsTopic
}

// Migrate applies the migrations and makes each service's login.
func (s *Stack) Migrate(ctx context.Context) error {
	log, err := os.Create(s.State.Log("migrate"))
	if err != nil {
		return err
	}
	defer log.Close()
	if err := testdb.Migrate(s.Backing.DatabaseURL, log); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.Backing.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	s.Login = map[string]string{}
	for _, service := range []string{"api", "relay", "worker", "hooks"} {
		name := "local_" + service
		_, err := conn.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN
			CREATE ROLE %[1]s LOGIN PASSWORD 'local' IN ROLE wallet_%[2]s;
		EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$`, name, service))
		if err != nil {
			return fmt.Errorf("make the login of %s: %w", service, err)
		}
		u, err := url.Parse(s.Backing.DatabaseURL)
		if err != nil {
			return err
		}
		u.User = url.UserPassword(name, "local")
		s.Login[service] = u.String()
	}
	return nil
}

// CreateTopic makes the topic of operations, and that of events if there is to be one.
func (s *Stack) CreateTopic(ctx context.Context) error {
	create := []string{"topic", "create", s.Topic, s.EventsTopic, "--partitions", fmt.Sprint(TopicPartitions)}
	if s.Backing.Brokers == servers.ClusterBrokers {
		create = append(create, "--replication-factor", "3", "--min-insync-replicas", "2")
	}
	return s.Ctl(ctx, io.Discard, create...)
}

// CreateKey makes an API key that may do everything to every wallet. It is stored nowhere, so each start of
// a stack has its own.
func (s *Stack) CreateKey(ctx context.Context) error {
	var key strings.Builder
	if err := s.Ctl(ctx, &key, "keys", "create", "local", "--all-tenants", "--scopes", strings.Join(apikey.Scopes, ",")); err != nil {
		return err
	}
	s.APIKey = strings.TrimSpace(key.String())
	return nil
}
