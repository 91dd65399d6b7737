package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// keysCreate prints a new key. It is stored nowhere: who loses it makes another one. With the hash of a key that
// there is in another cell, it makes the same key here and prints its id.
func keysCreate(c *call) (task, error) {
	scopes := c.flags.String("scopes", strings.Join(apikey.UsualScopes, ","), "what the key may do, separated by commas; there are also wallets:control, hooks:write and, with --all-tenants, status:read")
	tenant := c.flags.String("tenant", "default", "whose wallets it sees and moves; one that is new is added")
	all := c.flags.Bool("all-tenants", false, "it sees and moves everybody's wallets; those that it opens are the default tenant's")
	hash := c.flags.String("hash", "", "make the key of another cell, whose hash keys list --hashes prints there; give its scopes and tenant too")
	args, err := c.arguments("CLIENT")
	if err != nil {
		return nil, err
	}
	copied, err := hex.DecodeString(*hash)
	if c.given("hash") && (err != nil || len(copied) != sha256.Size) {
		return nil, usageError("the hash must be 64 hexadecimal digits, as keys list --hashes prints it")
	}
	if c.given("hash") && !(c.given("scopes") && (*all || c.given("tenant"))) {
		return nil, usageError("with --hash give the key's scopes, and its tenant or --all-tenants, as keys list --hashes prints them in the other cell")
	}
	if client := args[0]; client == "" || len(client) > 64 {
		return nil, usageError("the client's name must have 1 to 64 characters")
	}
	if *all && c.given("tenant") {
		return nil, usageError("a key has one tenant or all: --tenant and --all-tenants do not go together")
	}
	if err := checkTenant(*tenant); err != nil {
		return nil, err
	}
	allowed := strings.Split(*scopes, ",")
	for _, scope := range allowed {
		if !slices.Contains(apikey.Scopes, scope) {
			return nil, usageError(fmt.Sprintf("unknown scope %q: there are %s", scope, strings.Join(apikey.Scopes, ", ")))
		}
	}
	if !*all && slices.Contains(allowed, apikey.StatusScope) {
		return nil, usageError(apikey.StatusScope + " shows the whole system: it goes with --all-tenants only")
	}
	return func(ctx context.Context) error {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		key, hash := apikey.New()
		wanted := walletdb.CreateKeyParams{ID: id, Client: args[0], Hash: hash, Scopes: allowed, AllTenants: true}
		if !*all {
			tenantHash := apikey.TenantHash(key)
			wanted.Hash, wanted.AllTenants, wanted.Tenant = tenantHash[:], false, tenant
		}
		if len(copied) > 0 {
			wanted.Hash, key = copied, id.String()
		}
		err = db.Write(ctx, c.conn, func(q *walletdb.Queries) error {
			if !*all {
				if err := addTenant(ctx, q, *tenant); err != nil {
					return err
				}
			}
			return q.CreateKey(ctx, wanted)
		})
		if taken := new(pgconn.PgError); errors.As(err, &taken) && taken.ConstraintName == "api_keys_hash_key" {
			return errors.New("there is a key with this hash already: keys list --hashes shows it")
		}
		if err != nil {
			return fmt.Errorf("store the key: %w", err)
		}
		_, err = fmt.Fprintln(c.stdout, key)
		return err
	}, nil
}

// addTenant adds a tenant that is new. A key of a disabled one would be refused, so there is none.
func addTenant(ctx context.Context, q *walletdb.Queries, name string) error {
	if err := q.AddTenant(ctx, name); err != nil {
		return err
	}
	tenant, err := q.LockTenant(ctx, name)
	if err == nil && tenant.DisabledAt != nil {
		err = fmt.Errorf("tenant %s is disabled: ctl tenants enable %s", name, name)
	}
	return err
}

// keysList prints every key's id, client, tenant, scopes and times. * is all tenants.
func keysList(c *call) (task, error) {
	hashes := c.flags.Bool("hashes", false, "print the hash of each key too, with which keys create makes the same key in another cell")
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		keys, err := c.q.ListKeys(ctx)
		if err != nil {
			return fmt.Errorf("list keys: %w", err)
		}
		table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprint(table, "ID\tCLIENT\tTENANT\tSCOPES\tCREATED\tREVOKED")
		if *hashes {
			fmt.Fprint(table, "\tHASH")
		}
		fmt.Fprintln(table)
		for _, key := range keys {
			tenant := "*"
			if key.Tenant != nil {
				tenant = *key.Tenant
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s", key.ID, key.Client, tenant, strings.Join(key.Scopes, ","), moment(&key.CreatedAt), moment(key.RevokedAt))
			if *hashes {
				fmt.Fprintf(table, "\t%x", key.Hash)
			}
			fmt.Fprintln(table)
		}
		return table.Flush()
	}, nil
}

// moment is a time as the lists print it, empty for none.
func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
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
