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
// UTF-8 text with one namespace/service/token_name:hash a line. Lines end with \n,
// \r\n, or \r. A line that begins with # in its first column, or is blank, is
// skipped; white space around a line is trimmed. These hashes are understood:
//
//	{PBKDF2_STRETCH}cost$salt$key  written for new tokens, with a cost of 10000
//	{PBKDF2}cost$salt$key          PBKDF2-HMAC-SHA512
//	$2a$ $2b$ $2y$                 bcrypt, cost 04 to 14
//	{SSHA256}salt key              salted SHA-256
//
// A secret that has a NUL byte matches no hash, and one of more than 72 bytes no
// bcrypt hash: several secrets would match one hash otherwise. Elasticsearch
// accepts them.
//
// A missing file has no tokens. A line that breaks the format makes the whole
// file bad, see [FormatError]. A line whose hash is of no known form, or weak
// ({SHA}, {MD5}), is skipped with a warning, and so is the first of two lines for
// one token. Errors, warnings and logs show nothing of a line but a valid name.
//
// The path may be a symbolic link; what it leads to must be a regular file of at
// most Config.MaxBytes. Anything else, a pipe or a device for example, is an error
// and is not read.
//
// # Changes
//
// An open [File] looks at the file each Config.Poll. It notices in-place writes,
// atomic renames, swaps of a symbolic link anywhere in the path (as Kubernetes
// does with ..data), deletion and creation. A host with a watcher of its own calls
// [File.Reload]. Both take a change only when the file has rested:
//
//	renamed or linked into place      10 ms: it is complete
//	in place, all tokens still there  10 ms: nothing is lost if more comes
//	in place, tokens gone or changed  Config.Rest, 400 ms
//	gone, or cannot be read           Config.Rest
//	empty, without tokens, without a  five times Config.Rest: so an in-place save
//	last line end, or badly formed    begins
//
// So a removal is in force within Config.Poll and a few milliseconds where the file
// is replaced by a rename or a link: within 200 ms with a Poll of 50 ms. Written in
// place, it costs Config.Rest more, as nobody can tell a file that is complete from
// one whose writer pauses at the end of a line. A rename is told from a write by the
// file's times: one within 20 ms of the last write counts as a write, as does every
// rename, and every swap of a link, on a system other than Linux. An empty file, and
// a file behind a swapped link that was written to afterwards, count as written in
// place.
//
// A file that never rests is taken without rest after ten times Config.Rest, if it
// looks complete; after twenty times it is reported as one that cannot be read. Time
// in which the process was kept from running counts neither as rest nor as unrest.
//
// The new tokens are in place before the caches are told. Any real change clears
// the caches of the file, and no other; one in comments, blank lines or order
// clears nothing. A bad file changes nothing at all, unless Config.FailClosed:
// the last good tokens stay, and [File.Status] and Config.OnReload tell the host.
// A file that has gone has no tokens, unless Config.KeepMissing.
//
// The poller is all there is: it does not use inotify. That could only shorten the
// wait for the next look, as it loses events when its queue is full, does not see
// changes that other machines make on a network file system, and must watch every
// folder in a path of links; a change has to rest anyway; and it would cost a
// dependency. A host that has a watcher calls Reload.
//
// # Edits
//
// [File.Create] and [File.Delete] replace the file by a rename. They edit a file
// that has rested, and check right before the rename that it is still the one that
// was read and that the path names; if not, they start again, until their context
// is done. What the file says is no proof of rest, also if it is what this File knew
// before: only a file that has not changed since is taken without waiting.
//
// Writers that use this package exclude each other by a lock on a file beside the
// tokens file, .NAME.lock, which stays. It is open to those who may write the
// tokens file: readers cannot hold it. A writer that is killed loses nothing; it may
// leave a temporary file, .NAME-*.tmp, which the next writer removes when it is a
// minute old.
//
// Other programs know nothing of the lock, and no system can rename a file on the
// condition that another is as it was. So between the last check and the rename,
// some microseconds, an edit can collide with them:
//
//	somebody appends whole lines        they are put into the new file; on Windows
//	                                    they are lost
//	the same, and the edit is killed    they are lost, if that is after the rename
//	or fails                            and before it has put them in; an error says
//	                                    so. That its context is done only limits it
//	                                    to ten seconds more
//	somebody writes otherwise, or       that is lost, and the file is what the edit
//	renames another file into place     read, with its change
//
// What a program writes later into a file that it has opened before the rename is
// lost too, as whenever a file is replaced. A program that reads the file, and then
// replaces it, undoes what others did in between.
//
// # Concurrency
//
// All methods are safe for concurrent use by multiple goroutines. Open starts one
// goroutine, the poller, unless Config.Poll is negative; [File.Close] ends it.
package filesource
