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
// An open [File] looks at the file every Config.Poll. It notices in-place writes,
// atomic renames, swaps of a symbolic link anywhere in the path (as Kubernetes
// does with ..data), deletion and creation. A host with a watcher of its own calls
// [File.Reload]. Both take a change only when they have watched the file rest, for as
// long as the first of these lines says that is true of the text:
//
//	badly formed, or no tokens are left    five times Config.Rest: a save in
//	                                       place begins so
//	renamed into place, or behind a link   10 ms, if Linux shows that, and half of
//	that was swapped                       the tokens are still there
//	without a last line end                five times Config.Rest
//	all tokens are still there             10 ms: nothing is lost if more comes
//	anything else; there is no file, or    Config.Rest, 400 ms
//	it cannot be read
//
// The times that a file system stamps prove no rest. They are old while the kernel
// truncates a file, they are those of another machine's clock on a network, and a chmod
// sets them as a rename does. A rename shows in the folder's time as well, which is a
// hint and no proof: so it shortens the wait of the poller and of a reload if most
// tokens stay, and never that of an edit.
//
// A file that never rests is taken without rest after ten times Config.Rest, if it
// looks complete, and after twenty times if it only grows; one that does not look
// complete by then is reported as one that cannot be read. Time in which the process was
// kept from running counts neither as rest nor as unrest. A change that leaves no trace in
// the file's times, as memory maps may make, is noticed within a minute, or by Reload.
//
// The new tokens are in place before the caches are told. Any real change clears
// the caches of the file, and no other; one in comments, blank lines or order
// clears nothing. A bad file changes nothing at all, unless Config.FailClosed or
// Config.KeepBad: the last good tokens stay, and [File.Status] and Config.OnReload tell
// the host. A file that has gone has no tokens, unless Config.KeepMissing. One whose
// path leads to a file without any name is an error: a single file is mounted, and was
// replaced in its own folder. Mount its folder instead.
//
// A file system may hang. Then Status.Looked stands still, and Status.Err says so after
// eight seconds, or twenty times Config.Rest if that is longer, but never less than two
// seconds; Reload returns that error, an edit ends with its context, and Close returns.
//
// The poller is all there is: it does not use inotify. That could only shorten the
// wait for the next look, as it loses events when its queue is full, does not see
// changes that other machines make on a network file system, and must watch every
// folder in a path of links; a change has to rest anyway; and it would cost a
// dependency. A host that has a watcher calls Reload.
//
// # Edits
//
// [File.Create], [File.Rotate] and [File.Delete] replace the file by a rename. They edit
// a file that has rested for Config.Rest, and check right before the rename that it is
// still the one that was read and that the path names; if not, they start again, until
// their context is done. An edit does not wait for a file that this File has watched
// rest or has written itself, nor for one that is older than three seconds and five
// times Config.Rest by the clock of its own file system. An empty file has never rested
// by any clock: it is watched for five times Config.Rest.
//
// The new file has the mode, the owner, the access control list and the other extended
// attributes of the one that it replaces. If one of them cannot be kept, nobody gains a
// right: the group's are dropped. A file that is made anew is for its owner, and in a
// folder whose set-group-id bit is set and which is closed to others, for its group to
// read. Other names of the same file, hard links, keep the old text.
//
// Writers that use this package exclude each other by a lock on a file beside the
// tokens file, .NAME.lock, which stays if something was written. Only users who may
// write the tokens file may open it: readers cannot hold it. A writer that is killed
// loses nothing; it may leave a temporary file, .NAME-*.tmp, which the next writer
// removes when it is a minute old. A name of more than 200 bytes is shortened there.
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
// replaces it, undoes what others did in between. A writer that pauses for longer than
// Config.Rest at the end of a line is taken to be done.
//
// # Concurrency
//
// All methods are safe for concurrent use by multiple goroutines. Open starts one
// goroutine, the poller, unless Config.Poll is negative; [File.Close] ends it, and
// whatever a File is asked for afterwards is an error that wraps tokencache.ErrClosed.
package filesource
