package main

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// An age is a duration on a command line, which may be in days: 90d.
type age time.Duration

// String returns the age, in days if it is a whole number of them.
func (a *age) String() string {
	d := time.Duration(*a)
	if d != 0 && d%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	}
	return d.String()
}

// Set parses an age.
func (a *age) Set(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n > 36_500 || n < -36_500 {
			return errors.New("must be a number of days, such as 90d")
		}
		*a = age(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("must be a time such as 90d, 12h or 30m")
	}
	*a = age(d)
	return nil
}

// expiry returns the time of the flag -expires; the zero Time: never.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" || text == "never" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	var in age
	if err := in.Set(text); err != nil || in <= 0 {
		return time.Time{}, errors.New("-expires must be an age such as 90d, a date such as 2030-01-31, or never")
	}
	return now.Add(time.Duration(in)), nil
}
