package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

func (c *command) run(ctx context.Context) error {
	if c.name == "migrations" {
		return printMigrations(c.stdout, c.storeName)
	}
	s, err := openStore(ctx, c.storeName, c.name)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := c.do(indexsource.WithActor(ctx, c.by), s); err != nil {
		return err
	}
	if c.wait == "" || c.dryRun {
		return nil
	}
	return c.await(ctx, s)
}

func (c *command) do(ctx context.Context, s store) error {
	if file, ok := s.(fileStore); ok {
		return c.doFile(ctx, file)
	}
	index := s.(sqlStore)
	switch c.name {
	case "create":
		expires, err := expiry(c.expires, time.Now())
		if err != nil {
			return fmt.Errorf("%w%w", err, errUsage)
		}
		return c.reveal(func() (tokencache.Token, error) { return index.CreateUntil(ctx, c.id, c.by, expires) })
	case "rotate":
		return c.reveal(func() (tokencache.Token, error) { return index.Rotate(ctx, c.id, time.Duration(c.grace), c.by) })
	case "expire":
		expires, err := expiry(c.expires, time.Now())
		if err != nil {
			return fmt.Errorf("%w%w", err, errUsage)
		}
		return index.SetExpiry(ctx, c.id, expires)
	case "disable", "enable":
		return index.SetEnabled(ctx, c.id, c.name == "enable")
	case "delete":
		return index.Delete(ctx, c.id)
	case "revoke":
		return c.revoke(ctx, index)
	case "disable-unused":
		return c.disableUnused(ctx, index)
	case "list":
		return c.list(ctx, index)
	case "whois":
		return c.whois(ctx, index)
	case "history":
		return c.history(ctx, index)
	default:
		return index.Migrate(ctx)
	}
}

// doFile does what a file can do.
func (c *command) doFile(ctx context.Context, file fileStore) error {
	switch c.name {
	case "create":
		return c.reveal(func() (tokencache.Token, error) { return file.Create(ctx, c.id) })
	case "rotate":
		return c.reveal(func() (tokencache.Token, error) { return file.Rotate(ctx, c.id) })
	case "delete":
		return file.Delete(ctx, c.id)
	case "whois":
		return c.whoisFile(ctx, file)
	default:
		return c.listFile(file)
	}
}

// revoke deletes an account's tokens.
func (c *command) revoke(ctx context.Context, index sqlStore) error {
	docs, err := index.List(ctx, c.account)
	if err != nil {
		return err
	}
	if !c.dryRun {
		n, err := index.DeleteAccount(ctx, c.account)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w of %s", tokencache.ErrNotFound, c.account)
		}
	}
	for _, doc := range docs {
		if err := c.print(line{"token": doc.Token.String(), "deleted": !c.dryRun}, doc.Token.String()); err != nil {
			return err
		}
	}
	return nil
}

// disableUnused disables what is enabled and was not used for long.
func (c *command) disableUnused(ctx context.Context, index sqlStore) error {
	for t, err := range index.tokens(ctx, c.account) {
		switch {
		case err != nil:
			return err
		case !t.Enabled || !t.unusedFor(time.Duration(c.unused)):
			continue
		case !c.dryRun:
			if err := index.SetEnabled(ctx, t.Token, false); err != nil && !errors.Is(err, tokencache.ErrNotFound) {
				return err
			}
		}
		if err := c.printToken(t); err != nil {
			return err
		}
	}
	return nil
}
