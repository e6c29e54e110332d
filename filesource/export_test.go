package filesource

// TryLock takes the writers' lock of a file.
func TryLock(path string) (unlock func(), err error) { return tryLock(beside(path, "lock"), nil) }
