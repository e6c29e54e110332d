//go:build linux

package filesource_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	faultsFor  = flag.Duration("faults", 3*time.Second, "for how long to run the fault suite")
	faultsSeed = flag.Uint64("faults.seed", 0, "the seed of its schedules; 0: a random one")
)

// The fault suite: a server follows a file, while editors of all kinds change it, and
// while several processes create and delete tokens, which are killed at random. It
// goes in steps. In each, one editor and some workers begin at random moments; when
// they have ended, the file is left alone until the server has caught up. A model
// then says what must, may and must not be in the file, and the server must
// authenticate exactly what is.
//
// The model:
//
//   - A token that nobody was asked to remove, and that every editor's text holds,
//     must be in the file, and the server must know it at every moment, also during
//     the step.
//   - What a worker has created or deleted, and reported, must be so. If it was
//     killed, or reported an error, it may be so.
//   - An editor that writes back a text which it read before undoes what workers did
//     meanwhile: that may be so. What the editor itself changed may be so, if the
//     file was replaced before it had finished; else it must be.
//   - What an appender has written must be there, if the path still named its file
//     afterwards; unless a worker was killed after its rename, before it could look
//     whether somebody had appended to the file that it replaced.
const (
	suiteRest    = 300 * time.Millisecond
	suitePoll    = 50 * time.Millisecond
	suitePause   = 100 * time.Millisecond // the longest of an editor
	suiteTaint   = 280 * time.Millisecond // an editor that was kept from running for so long proves nothing
	suiteWorkers = 4
	suiteWorlds  = 2
)

const workerEnv = "FILESOURCE_TEST_WORKER"

func TestMain(m *testing.M) {
	if path := os.Getenv(workerEnv); path != "" {
		work(path)
		return
	}
	os.Exit(m.Run())
}

// work is the process of a worker: it takes one order a line, and answers each.
func work(path string) {
	file, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: suiteRest})
	if err != nil {
		fmt.Println("cannot open:", err)
		return
	}
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		op, name, _ := strings.Cut(orders.Text(), " ")
		id, err := tokencache.ParseTokenID(name)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		var secret string
		if op == "create" {
			var token tokencache.Token
			token, err = file.Create(ctx, id)
			secret = token.Secret().Reveal()
		} else if err == nil {
			err = file.Delete(ctx, id)
		}
		cancel()
		if err != nil {
			fmt.Printf("err %q\n", err)
		} else {
			fmt.Printf("ok %s\n", secret)
		}
	}
}

// A worker is such a process, seen from outside.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func newWorker(t *testing.T, path string) *worker {
	t.Helper()
	w := &worker{cmd: exec.Command(os.Args[0])}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+path)
	w.cmd.Stderr = os.Stderr
	in, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.in, w.out = in, bufio.NewScanner(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *worker) kill() {
	w.cmd.Process.Kill()
	w.cmd.Wait()
}

// do gives an order, and returns the answer, or nothing if the worker was killed.
func (w *worker) do(order string) string {
	fmt.Fprintln(w.in, order)
	if w.out.Scan() {
		return w.out.Text()
	}
	return ""
}

type verdict int

const (
	mustNot verdict = iota
	may
	must
)

// A world is one folder with its server, its editors, its workers and its model.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	path    string
	server  *filesource.File
	cache   *tokencache.Cache[filesource.Record]
	workers [suiteWorkers]*worker
	next    int

	secrets map[string]string // of every token that was ever made
	present []string          // the tokens of the file when the step began, sorted
	past    []string          // what the file has said after earlier steps
	alone   bool              // whether the last step was of an editor alone

	mu       sync.Mutex         // guards the rest
	expect   map[string]verdict // what differs from present
	writers  bool               // whether workers take part in the step
	tainted  bool               // whether the machine was too slow for the step to prove anything
	gone     bool               // whether the editor has taken the tokens out for a while
	killed   map[string]string  // what workers that were killed were about to do, by token
	appended string             // what an appender has appended to the file that the path named
	counts   map[string]int
	violated int
	what     string // the step, for messages
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

func (w *world) violation(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tainted {
		return
	}
	w.violated++
	w.t.Errorf("step %d (%s): %s", w.counts["steps"], w.what, fmt.Sprintf(format, args...))
}

func (w *world) set(name string, v verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expect[name] = v
}

// editorsLine returns the line of a token that an editor writes; its secret is
// "supersecret".
func (w *world) editorsLine(name string) string { return name + ":" + hashA + "\n" }

func (w *world) newName(kind string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return fmt.Sprintf("suite/%s/t%d", kind, w.next)
}

// TestFaults runs the suite: for seconds, or as long as -faults says.
func TestFaults(t *testing.T) {
	t.Parallel()
	seed := *faultsSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	total, violated := make(map[string]int), 0
	var mu sync.Mutex
	t.Run("worlds", func(t *testing.T) {
		for i := range suiteWorlds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, rand.New(rand.NewPCG(seed, uint64(i))))
				for start := time.Now(); time.Since(start) < *faultsFor && w.violated < 10; {
					w.step()
				}
				mu.Lock()
				defer mu.Unlock()
				violated += w.violated
				for what, n := range w.counts {
					total[what] += n
				}
			})
		}
	})
	t.Logf("seed %d: %d violations", seed, violated)
	for _, what := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%8d %s", total[what], what)
	}
	if total["steps"] == 0 || total["steps"] < 2*total["steps that prove nothing"] && *faultsFor > time.Minute {
		t.Error("too few steps that prove something")
	}
}

func newWorld(t *testing.T, rng *rand.Rand) *world {
	w := &world{t: t, rng: rng, dir: t.TempDir(), secrets: make(map[string]string), counts: make(map[string]int)}
	w.path = filepath.Join(w.dir, "service_tokens")
	var content strings.Builder
	content.WriteString("# tokens\n\n")
	for range 6 {
		name := w.newName("base")
		w.secrets[name] = "supersecret"
		content.WriteString(w.editorsLine(name))
	}
	put(t, w.path, content.String())
	w.server, w.cache = open(t, w.path, filesource.Config{Poll: suitePoll, Rest: suiteRest, OnlyChanged: rng.IntN(2) == 0})
	for i := range w.workers {
		w.workers[i] = newWorker(t, w.path)
	}
	t.Cleanup(func() {
		for _, worker := range w.workers {
			worker.kill()
		}
	})
	w.present = w.inFile()
	return w
}

// inFile reads the names in the file, by rules of its own.
func (w *world) inFile() []string {
	content, err := os.ReadFile(w.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(content)) {
		if name, _, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// step runs one step.
func (w *world) step() {
	w.count("steps")
	w.expect, w.tainted, w.gone = make(map[string]verdict), false, false
	w.killed, w.appended = make(map[string]string), ""
	kind := w.rng.IntN(4) // 0: the editor alone, 1: workers alone, else both
	w.what = "workers alone"
	var group sync.WaitGroup
	done, sampled := make(chan struct{}), make(chan struct{})
	e := editors[w.rng.IntN(len(editors))]
	if w.alone && w.rng.IntN(2) == 0 { // what workers knew before is the beginning of what is saved now
		kind, e = 2, editors[0]
	}
	w.writers, w.alone = kind > 0, kind == 0
	if kind != 1 {
		delay, rng := w.delay(), w.fork()
		w.mu.Lock()
		w.gone, w.what = e.gone, fmt.Sprintf("%s, workers: %v", e.name, w.writers)
		w.mu.Unlock()
		group.Go(func() {
			time.Sleep(delay)
			e.edit(w, rng)
			w.count("editor: " + e.name)
		})
	}
	if w.writers {
		free := slices.Clone(w.present) // each is deleted by one worker at most
		w.rng.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
		for i := range w.workers {
			w.order(&group, i, &free)
		}
	}
	go w.sample(done, sampled)
	group.Wait()
	close(done)
	<-sampled
	w.catchUp()
}

func (w *world) delay() time.Duration { return time.Duration(w.rng.Int64N(int64(suitePause))) }

func (w *world) fork() *rand.Rand { return rand.New(rand.NewPCG(w.rng.Uint64(), 1)) }

// order makes a worker create or delete a token, and perhaps kills it meanwhile.
func (w *world) order(group *sync.WaitGroup, i int, free *[]string) {
	op, name := "create", w.newName("worker")
	if w.rng.IntN(2) == 0 && len(*free) > 3 {
		op, name = "delete", (*free)[0]
		*free = (*free)[1:]
	}
	w.set(name, may) // until it has answered
	delay, kill := w.delay(), time.Duration(0)
	if w.rng.IntN(3) == 0 {
		kill = time.Duration(w.rng.Int64N(int64([]time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 400 * time.Millisecond}[w.rng.IntN(3)])))
	}
	group.Go(func() {
		time.Sleep(delay)
		w.count("worker: " + op)
		worker := w.workers[i]
		if kill > 0 {
			timer := time.AfterFunc(kill, func() { worker.cmd.Process.Kill() })
			defer timer.Stop()
		}
		w.answer(op, name, worker.do(op+" "+name))
		if kill > 0 {
			worker.kill()
			w.workers[i] = newWorker(w.t, w.path)
			w.count("kills")
		}
	})
}

// answer takes a worker's answer into the model.
func (w *world) answer(op, name, answer string) {
	secret, ok := strings.CutPrefix(answer, "ok ")
	switch {
	case ok:
		w.mu.Lock()
		defer w.mu.Unlock()
		if op == "create" {
			w.secrets[name] = secret
		}
		if _, editor := w.expect["editor"]; editor {
			return // it may write back what it has read before, and after the worker's last look
		}
		w.expect[name] = mustNot
		if op == "create" {
			w.expect[name] = must
		}
	case answer == "":
		w.mu.Lock()
		defer w.mu.Unlock()
		w.killed[name] = op
	default:
		w.count("worker: error")
		if op == "delete" && strings.Contains(answer, "no such token") {
			w.mu.Lock()
			alone := w.expect["editor"] == mustNot // no editor has written back
			w.mu.Unlock()
			if alone {
				w.violation("%s %s: %s", op, name, answer)
			}
		}
	}
}

// sample checks, until done, that the server knows what it must know at every moment.
// It reports at the end: only then is it known whether the step proves anything.
func (w *world) sample(done, sampled chan struct{}) {
	defer close(sampled)
	var lost []string
	var status filesource.Status
	for {
		select {
		case <-done:
			if lost != nil {
				w.violation("during the step the server does not know %v: %+v", lost, status)
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
		if lost == nil {
			lost, status = w.unknown(), w.server.Status()
		}
	}
}

// unknown returns the tokens that the server must know and does not.
func (w *world) unknown() (lost []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.present {
		if v, changes := w.expect[name]; !w.gone && (!changes || v == must) && !has(w.server, name) {
			lost = append(lost, name)
		}
	}
	return lost
}

// catchUp waits until the server has caught up, and checks file and server against the
// model.
func (w *world) catchUp() {
	names := w.inFile()
	for deadline := time.Now().Add(20 * suiteRest); ; time.Sleep(10 * time.Millisecond) {
		var known []string
		for _, id := range w.server.List() {
			known = append(known, id.String())
		}
		slices.Sort(known)
		if slices.Equal(known, names) && w.server.Status().Err == nil {
			break
		}
		if time.Now().After(deadline) {
			w.violation("the file has %v, the server %v, %+v", names, known, w.server.Status())
			break
		}
	}
	if w.tainted {
		w.count("steps that prove nothing")
	}
	w.compare(names)
	w.authenticate(names)
	w.present = names
	if text, err := os.ReadFile(w.path); err == nil {
		w.past = append(w.past[max(0, len(w.past)-7):], string(text))
	}
}

// compare compares the file with the model.
func (w *world) compare(names []string) {
	for _, name := range w.present {
		if v, changed := w.expect[name]; (!changed || v == must) && !slices.Contains(names, name) {
			w.violation("%s was lost", name)
		}
	}
	for name, v := range w.expect {
		if name == "editor" || name == w.appended && w.killedAfterRename(names) {
			continue
		}
		if in := slices.Contains(names, name); in && v == mustNot || !in && v == must {
			w.violation("%s is in the file: %v; verdict %d", name, in, v)
		}
	}
	for _, name := range names {
		if _, changed := w.expect[name]; !changed && !slices.Contains(w.present, name) {
			w.violation("%s came from nowhere", name)
		}
	}
}

// killedAfterRename reports whether a worker was killed after it had replaced the file.
func (w *world) killedAfterRename(names []string) bool {
	for name, op := range w.killed {
		if slices.Contains(names, name) == (op == "create") {
			w.count("kills after the rename, beside an appender")
			return true
		}
	}
	return false
}

// authenticate asks the server for some tokens that are in the file, and some that
// are not.
func (w *world) authenticate(names []string) {
	all := slices.Sorted(maps.Keys(w.secrets))
	for range 6 {
		name := all[w.rng.IntN(len(all))]
		id, err := tokencache.ParseTokenID(name)
		if err != nil {
			w.t.Fatal(err)
		}
		tok, err := tokencache.NewToken(id, tokencache.NewSecret(w.secrets[name]))
		if err != nil {
			w.t.Fatal(err)
		}
		_, err = w.cache.AuthenticateToken(w.t.Context(), tok)
		if in := slices.Contains(names, name); in != (err == nil) || err != nil && !errors.Is(err, tokencache.ErrRefused) {
			w.violation("%s is in the file: %v; got %v", name, in, err)
		}
		w.count("authentications")
	}
}

// editors are all kinds of editors; the first is the one that saves in place.
var editors = []struct {
	name string
	gone bool // it has the tokens gone for longer than the server waits
	edit func(w *world, rng *rand.Rand)
}{
	{"in place", false, func(w *world, rng *rand.Rand) { w.rewrite(rng, w.saveInPlace) }},
	{"append", false, (*world).appendLine},
	{"append slowly", false, (*world).appendSlowly},
	{"rename", false, func(w *world, rng *rand.Rand) { w.rewrite(rng, w.saveByRename) }},
	{"rename away and back", false, func(w *world, rng *rand.Rand) { w.rewrite(rng, w.saveByBackup) }},
	{"link swap", false, func(w *world, rng *rand.Rand) { w.rewrite(rng, w.saveByLink) }},
	{"truncate and restore", false, func(w *world, rng *rand.Rand) { w.rewrite(rng, w.saveLate) }},
	{"pipe for a while", false, func(w *world, rng *rand.Rand) { w.rewrite(rng, w.saveAfterPipe) }},
	{"delete for a while", true, func(w *world, rng *rand.Rand) { w.rewrite(rng, w.saveAfterDeletion) }},
	{"mode and times", false, func(w *world, rng *rand.Rand) {
		os.Chmod(w.path, []os.FileMode{0o600, 0o640, 0o660}[rng.IntN(3)])
		stamp := time.Now().Add(-time.Duration(rng.IntN(100)) * time.Hour)
		os.Chtimes(w.path, stamp, stamp)
	}},
}

func (w *world) pause(rng *rand.Rand) { time.Sleep(time.Duration(rng.Int64N(int64(suitePause)))) }

// change makes a change of an editor, whose previous change began at last, and returns
// when this one began. It notes if the machine kept the editor from running: the file
// then stayed as the previous change left it for less time than is measured.
func (w *world) change(last time.Time, most time.Duration, act func() error) (began time.Time) {
	began = time.Now()
	if err := act(); err != nil {
		w.t.Error(err)
	}
	if time.Since(last) > most {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.tainted = true
	}
	return began
}

// stays reports whether the path still names the file that was written to.
func (w *world) stays(f *os.File) bool {
	mine, err := f.Stat()
	now, err2 := os.Stat(w.path)
	return err == nil && err2 == nil && os.SameFile(mine, now)
}

func (w *world) appendLine(rng *rand.Rand) { w.appendParts(rng, 1) }

func (w *world) appendSlowly(rng *rand.Rand) { w.appendParts(rng, 2) }

// appendParts appends a line as >> does, in one write or in two with a pause.
func (w *world) appendParts(rng *rand.Rand, parts int) {
	name := w.newName("append")
	w.mu.Lock()
	w.secrets[name], w.expect[name] = "supersecret", may
	w.mu.Unlock()
	f, err := os.OpenFile(w.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer f.Close()
	line, began := w.editorsLine(name), time.Now()
	write := func(part string) func() error {
		return func() error { _, err := f.WriteString(part); return err }
	}
	if parts > 1 {
		cut := rng.IntN(len(line))
		began = w.change(began, suiteTaint, write(line[:cut]))
		line = line[cut:]
		w.pause(rng)
	}
	w.change(began, suiteTaint, write(line))
	if w.stays(f) {
		w.set(name, must)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.appended = name
	}
}

// rewrite saves a text that was read before, without one of the editors' own tokens
// and with another. What workers do meanwhile may be undone.
func (w *world) rewrite(rng *rand.Rand, save func(rng *rand.Rand, content string) (stays bool)) {
	w.set("editor", may)
	content, err := os.ReadFile(w.path)
	if err != nil {
		w.t.Error(err)
		return
	}
	added, removed, removes := w.newName("editor"), "", rng.IntN(3) == 0
	w.mu.Lock()
	w.secrets[added], w.expect[added] = "supersecret", may
	var kept strings.Builder
	for line := range strings.Lines(string(content)) {
		name, _, _ := strings.Cut(line, ":")
		if _, touched := w.expect[name]; removes && removed == "" && !touched && slices.Contains(w.present, name) && len(w.present) > 4 && rng.IntN(3) == 0 {
			removed = name
			w.expect[name] = may
			continue
		}
		kept.WriteString(line)
	}
	w.mu.Unlock()
	kept.WriteString(w.editorsLine(added))
	stays := save(rng, kept.String())
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writers { // whatever they did since the text was read, or do before it is read
		for name, v := range w.expect {
			if strings.HasPrefix(name, "suite/worker/") || v == mustNot || slices.Contains(w.present, name) {
				w.expect[name] = may
			}
		}
		return
	}
	if stays {
		w.expect[added] = must
		if removed != "" {
			w.expect[removed] = mustNot
		}
	}
}

// saveInPlace empties the file and writes it in parts.
func (w *world) saveInPlace(rng *rand.Rand, content string) bool {
	return w.saveInPlaceAfter(rng, content, time.Now())
}

// saveInPlaceAfter is saveInPlace of an editor whose change before began at that time.
func (w *world) saveInPlaceAfter(rng *rand.Rand, content string, last time.Time) bool {
	var f *os.File
	last = w.change(last, suiteTaint, func() (err error) { f, err = os.Create(w.path); return err })
	if f == nil {
		return false
	}
	defer f.Close()
	for _, part := range w.parts(rng, content) {
		w.pause(rng)
		last = w.change(last, suiteTaint, func() error { _, err := f.WriteString(part); return err })
	}
	return w.stays(f)
}

// parts cuts a text into some parts: anywhere, at the end of a line, or where an
// earlier text ended.
func (w *world) parts(rng *rand.Rand, content string) (parts []string) {
	for range rng.IntN(3) {
		cut := rng.IntN(len(content) + 1)
		if rng.IntN(2) == 0 {
			cut = strings.LastIndex(content[:cut], "\n") + 1
		}
		for _, text := range w.past {
			if parts == nil && strings.HasPrefix(content, text) && rng.IntN(2) == 0 {
				cut = len(text)
			}
		}
		parts, content = append(parts, content[:cut]), content[cut:]
	}
	return append(parts, content)
}

func (w *world) saveByRename(rng *rand.Rand, content string) bool {
	temp := w.path + ".new"
	if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
		w.t.Error(err)
	}
	if rng.IntN(2) == 0 {
		w.pause(rng)
	}
	if err := os.Rename(temp, w.path); err != nil {
		w.t.Error(err)
	}
	return true
}

// saveByBackup renames the file away before it writes the new one in its place.
func (w *world) saveByBackup(rng *rand.Rand, content string) bool {
	began := w.change(time.Now(), suiteTaint, func() error { return os.Rename(w.path, w.path+"~") })
	w.pause(rng)
	return w.saveInPlaceAfter(rng, content, began)
}

// saveByLink makes a new version and swaps the link to it.
func (w *world) saveByLink(rng *rand.Rand, content string) bool {
	version := fmt.Sprintf("version-%d", rng.Uint64())
	err := errors.Join(os.WriteFile(filepath.Join(w.dir, version), []byte(content), 0o600),
		os.Symlink(version, filepath.Join(w.dir, "link")), os.Rename(filepath.Join(w.dir, "link"), w.path))
	if err != nil {
		w.t.Error(err)
	}
	return true
}

// saveLate leaves the file empty for longer than Rest, as an editor on a slow disk.
func (w *world) saveLate(_ *rand.Rand, content string) bool {
	var f *os.File
	began := w.change(time.Now(), suiteTaint, func() (err error) { f, err = os.Create(w.path); return err })
	if f == nil {
		return false
	}
	defer f.Close()
	time.Sleep(2 * suiteRest)
	w.change(began, 4*suiteRest, func() error { _, err := f.WriteString(content); return err }) // of five that an empty file gets
	return w.stays(f)
}

// saveAfterPipe has a pipe in the file's place for a while, longer than Rest.
func (w *world) saveAfterPipe(rng *rand.Rand, content string) bool {
	w.change(time.Now(), suiteTaint, func() error {
		return errors.Join(os.Remove(w.path), syscall.Mkfifo(w.path, 0o600))
	})
	time.Sleep(time.Duration(rng.Int64N(int64(3 * suiteRest))))
	return w.saveByRename(rng, content)
}

// saveAfterDeletion deletes the file for so long that its tokens go.
func (w *world) saveAfterDeletion(rng *rand.Rand, content string) bool {
	if err := os.Remove(w.path); err != nil {
		w.t.Error(err)
	}
	start := time.Now()
	for len(w.server.List()) > 0 && !w.writers {
		if time.Since(start) > 10*suiteRest {
			w.violation("the tokens of a file that is gone live on: %v", w.server.List())
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.pause(rng)
	return w.saveInPlace(rng, content)
}
