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
		return c.reveal(func() (tokencache.Token, error) { return index.CreateUntil(ctx, c.id, c.by, c.until) })
	case "rotate":
		return c.reveal(func() (tokencache.Token, error) { return index.Rotate(ctx, c.id, time.Duration(c.grace), c.by) })
	case "expire":
		return index.SetExpiry(ctx, c.id, c.until)
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

// doFile runs the commands that a file supports.
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
	n := int64(len(docs))
	if !c.dryRun {
		if n, err = index.DeleteAccount(ctx, c.account); err != nil {
			return err
		}
	}
	if n == 0 {
		return fmt.Errorf("%w of %s", tokencache.ErrNotFound, c.account)
	}
	for _, doc := range docs {
		if err := c.print(line{"token": doc.Token.String(), "deleted": !c.dryRun}, doc.Token.String()); err != nil {
			return err
		}
	}
	return nil
}

// disableUnused disables tokens that are enabled and have not been used for the time of
// -unused.
func (c *command) disableUnused(ctx context.Context, index sqlStore) error {
	return c.eachUnused(ctx, index, func(t token) error {
		if !t.Enabled {
			return nil
		}
		if !c.dryRun {
			if err := index.SetEnabled(ctx, t.Token, false); errors.Is(err, tokencache.ErrNotFound) {
				return nil
			} else if err != nil {
				return err
			}
		}
		return c.printToken(t)
	})
}
