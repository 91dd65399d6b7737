package db

const (
	// AllTenants stands for every tenant where a query asks for one. No tenant can have this name.
	AllTenants = "*"

	// DefaultTenant has the wallets of keys that have all tenants.
	DefaultTenant = "default"
)
