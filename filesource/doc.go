// Package filesource reads service account tokens from a service_tokens file, the
// format that Elasticsearch's elasticsearch-service-tokens tool writes, and keeps
// up with the file's changes.
//
// For most uses, open the file and give it to a cache:
//
//	file, err := filesource.Open("config/service_tokens", filesource.Config{})
//	if err != nil {
//		return err // lists every bad line
//	}
//	defer file.Close()
//	cache, err := tokencache.New(group, "file", file, tokencache.Config{})
//
// # Format
//
// UTF-8 text with one namespace/service/token_name:hash a line. A line that
// begins with # in its first column, or is blank, is skipped; white space around
// a line is trimmed. These hashes are understood:
//
//	{PBKDF2_STRETCH}cost$salt$key  written for new tokens, with a cost of 10000
//	{PBKDF2}cost$salt$key          PBKDF2-HMAC-SHA512
//	$2a$ $2b$ $2y$                 bcrypt, cost 04 to 14
//	{SSHA256}salt key              salted SHA-256
//
// A missing file has no tokens. A line that breaks the format makes the whole
// file bad, see [FormatError]. A line whose hash is of no known form, or weak
// ({SHA}, {MD5}), is skipped with a warning, and so is the first of two lines for
// one token.
//
// # Changes
//
// An open [File] looks at the file each Config.Poll. It notices in-place writes,
// atomic renames, swaps of a symbolic link anywhere in the path (as Kubernetes
// does with ..data), deletion and creation; a file in the middle of a write is
// waited for. A host with a watcher of its own calls [File.Reload].
//
// The new tokens are in place before the caches are told. Any real change clears
// the caches of the file, and no other; one in comments, blank lines or order
// clears nothing. A bad file changes nothing at all, unless Config.FailClosed:
// the last good tokens stay, and [File.Status] and Config.OnReload tell the host.
//
// # Concurrency
//
// All methods are safe for concurrent use by multiple goroutines. Open starts one
// goroutine, the poller, unless Config.Poll is negative; [File.Close] ends it.
package filesource
