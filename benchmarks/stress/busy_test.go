package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestABatchIsDeletedByItsFilters(t *testing.T) {
	add, del := batch(busyBatch)
	rules, filters := strings.Split(strings.TrimSpace(add), "\n"), strings.Split(strings.TrimSpace(del), "\n")
	if len(rules) != busyBatch || len(filters) != busyBatch {
		t.Fatalf("%d rules and %d filters", len(rules), len(filters))
	}
	seen := make(map[string]bool)
	for i, f := range filters {
		if rules[i] != f+",actions=drop" || seen[f] {
			t.Errorf("rule %q, filter %q", rules[i], f)
		}
		seen[f] = true
	}
}

func TestChoresKeepTheirPaceAndSayWhatFailed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &chores{cancel: cancel, begun: time.Now().Add(-time.Second)} // a second late
	caughtUp := make(chan struct{})
	c.keep(ctx, changing, 10, func(i int) (int, error) {
		if i == 10 {
			close(caughtUp)
		}
		return 1000, nil
	})
	c.keep(ctx, scraping, 0, func(i int) (int, error) {
		if i == 3 {
			return 1, errors.New("no metrics")
		}
		return 1, nil
	})
	<-caughtUp
	if err := c.stop(); err == nil || err.Error() != "no metrics" {
		t.Errorf("%v", err)
	}
	if n := c.done[changing]; n < 10_000 || n > 12_000 || c.done[scraping] != 3 {
		t.Errorf("%d changes, %d scrapes", n, c.done[scraping])
	}
	c.took = 2 * time.Second
	if got, want := c.perSecond(scraping), 1.5; got != want {
		t.Errorf("%v a second, want %v", got, want)
	}
}
