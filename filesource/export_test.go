package filesource

// TryLock takes the writers' lock of a folder.
var TryLock = tryLock
