package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Migrations is the folder migrations/, for dbmate.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// PendingMigrations lists the migrations that this program knows and the database lacks, by file
// name. A database may be ahead of the program: migrations work with the previous
// version of the code.
func PendingMigrations(ctx context.Context, conn walletdb.DBTX) ([]string, error) {
	return PendingOf(ctx, conn, Migrations)
}

// PendingOf is PendingMigrations for another folder migrations/.
func PendingOf(ctx context.Context, conn walletdb.DBTX, folder fs.FS) ([]string, error) {
	applied, err := walletdb.New(conn).AppliedMigrations(ctx)
	if missing := new(pgconn.PgError); errors.As(err, &missing) && missing.Code == "42P01" {
		applied, err = nil, nil // an empty database has no table of them
	}
	if err != nil {
		return nil, fmt.Errorf("read applied migrations: %w", err)
	}
	files, err := fs.ReadDir(folder, "migrations")
	if err != nil {
		return nil, err
	}
	var pending []string
	for _, file := range files {
		version, _, _ := strings.Cut(file.Name(), "_")
		if !slices.Contains(applied, version) {
			pending = append(pending, file.Name())
		}
	}
	return pending, nil
}
