//go:build !linux

package filesource

// Extended attributes are kept on Linux only.

func attributes(handle) ([]attribute, error) { return nil, nil }

func setAttribute(handle, attribute) error { return nil }

func dropACL(handle) error { return nil }
