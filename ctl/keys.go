package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// keysCreate prints a new key. It is stored nowhere: who loses it makes another one.
func keysCreate(c *call) (task, error) {
	scopes := c.flags.String("scopes", strings.Join(apikey.Scopes, ","), "what the key may do, separated by commas")
	args, err := c.arguments("CLIENT")
	if err != nil {
		return nil, err
	}
	if client := args[0]; client == "" || len(client) > 64 {
		return nil, usageError("the client's name must have 1 to 64 characters")
	}
	allowed := strings.Split(*scopes, ",")
	for _, scope := range allowed {
		if !slices.Contains(apikey.Scopes, scope) {
			return nil, usageError(fmt.Sprintf("unknown scope %q: there are %s", scope, strings.Join(apikey.Scopes, ", ")))
		}
	}
	return func(ctx context.Context) error {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		key, hash := apikey.New()
		err = db.Write(ctx, c.conn, func(q *walletdb.Queries) error {
			return q.CreateKey(ctx, walletdb.CreateKeyParams{ID: id, Client: args[0], Hash: hash, Scopes: allowed})
		})
		if err != nil {
			return fmt.Errorf("store the key: %w", err)
		}
		_, err = fmt.Fprintln(c.stdout, key)
		return err
	}, nil
}

// keysList prints every key's id, client, scopes and times.
func keysList(c *call) (task, error) {
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		keys, err := c.q.ListKeys(ctx)
		if err != nil {
			return fmt.Errorf("list keys: %w", err)
		}
		table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tCLIENT\tSCOPES\tCREATED\tREVOKED")
		for _, key := range keys {
			revoked := ""
			if key.RevokedAt != nil {
				revoked = key.RevokedAt.UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", key.ID, key.Client, strings.Join(key.Scopes, ","), key.CreatedAt.UTC().Format(time.RFC3339), revoked)
		}
		return table.Flush()
	}, nil
}

// keysRevoke ends a key. The api lets it in for up to half a minute longer.
func keysRevoke(c *call) (task, error) {
	a := newAction(c)
	args, err := a.parse("ID")
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(args[0])
	if err != nil {
		return nil, usageError("ID must be a key's id, as keys list shows it")
	}
	return func(ctx context.Context) error {
		if err := a.confirm(fmt.Sprintf("Requests with key %s are refused from now on, and for ever.", id)); err != nil {
			return err
		}
		err := a.do(ctx, func(q *walletdb.Queries) error {
			revoked, err := q.RevokeKey(ctx, id)
			if err == nil && revoked == 0 {
				err = errors.New("there is no valid key with this id")
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("revoke the key: %w", err)
		}
		return nil
	}, nil
}
