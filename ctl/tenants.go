package main

import (
	"context"
	"fmt"
	"regexp"
	"text/tabwriter"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// tenantName is what the table lets in. In particular there is no empty name, and no *.
var tenantName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

func checkTenant(name string) error {
	if !tenantName.MatchString(name) {
		return usageError("a tenant's name must have 1 to 64 small letters, digits, dots, hyphens and underscores, and begin and end with a letter or digit")
	}
	return nil
}

// tenantsList prints every tenant, its valid keys and its times. Tenants begin with their first key.
func tenantsList(c *call) (task, error) {
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		tenants, err := c.q.ListTenants(ctx)
		if err != nil {
			return fmt.Errorf("list tenants: %w", err)
		}
		table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tKEYS\tCREATED\tDISABLED")
		for _, tenant := range tenants {
			fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", tenant.Name, tenant.Keys, moment(&tenant.CreatedAt), moment(tenant.DisabledAt))
		}
		return table.Flush()
	}, nil
}

// tenantsDisable stops a tenant's keys. The api lets them in for up to half a minute longer.
func tenantsDisable(c *call) (task, error) {
	return tenantAction(c, "Requests with the keys of tenant %s are refused until it is enabled again. What it has accepted is applied all the same.",
		(*walletdb.Queries).DisableTenant, "there is no tenant %s that is not disabled")
}

// tenantsEnable lets them in again: at once, but for a key that is known from before.
func tenantsEnable(c *call) (task, error) {
	return tenantAction(c, "Requests with the keys of tenant %s are let in again.",
		(*walletdb.Queries).EnableTenant, "there is no disabled tenant %s")
}

func tenantAction(c *call, does string, do func(*walletdb.Queries, context.Context, string) (int64, error), otherwise string) (task, error) {
	a := newAction(c)
	args, err := a.parse("NAME")
	if err != nil {
		return nil, err
	}
	name := args[0]
	if err := checkTenant(name); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := a.confirm(fmt.Sprintf(does, name)); err != nil {
			return err
		}
		return a.do(ctx, func(q *walletdb.Queries) error {
			changed, err := do(q, ctx, name)
			if err == nil && changed == 0 {
				err = fmt.Errorf(otherwise, name)
			}
			return err
		})
	}, nil
}
