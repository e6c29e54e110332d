//go:build linux

package filesource_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svctoken/svctoken/filesource"
)

var (
	toolsAll   = flag.Bool("tools.all", false, "run all tools of TestTools, instead of a dozen")
	toolsDir   = flag.String("tools.dir", "", "the folder for TestTools' files, on another file system for example; empty: a temporary one")
	toolsLines = flag.Int("tools.lines", 40, "how many lines the files of TestTools have at least")
	toolsTimes = flag.Int("tools.times", 1, "how often TestTools runs each tool")
	toolsOnly  = flag.String("tools.only", "", "run the tools alone whose names have this in them")
	toolsAtOne = flag.Int("tools.parallel", 16, "how many files TestTools saves at once")
)

// A tool is a program, or a script, that saves a file. The script has these variables:
//
//	FILE  the path of the tokens file, DIR its folder, BASE its name
//	NEW   a file with the text that is to be saved, which was read right before
//	OP    add or del, and the token's NAME and LINE, for a tool that edits by itself
//	RE    the name as a regular expression
//	TMP   a folder for the tool alone
type tool struct {
	name    string
	needs   string // a program; empty: the shell's own, and coreutils
	short   bool   // whether it is one of the dozen
	appends bool   // whether it adds without reading, so that what others add meanwhile stays
	links   bool   // whether the file is behind ..data, as in a volume of Kubernetes
	script  string
}

// tools are the ways to save a file. Those that edit by themselves have two scripts, for
// add and for del.
var tools = []tool{
	{name: "cat >", short: true, script: `cat "$NEW" > "$FILE"`},
	{name: "cat > with a BOM", script: `{ printf '\xef\xbb\xbf'; sed '1s/^\xef\xbb\xbf//' "$NEW"; } > "$TMP/b"; cat "$TMP/b" > "$FILE"`},
	{name: "cat > with CRLF", script: `sed 's/\r*$/\r/' "$NEW" > "$TMP/c"; cat "$TMP/c" > "$FILE"`},
	{name: "printf > without a last line end", script: `printf %s "$(cat "$NEW")" > "$FILE"`},
	{name: "chmod, cat >, chmod", script: `chmod 600 "$FILE"; cat "$NEW" > "$FILE"; chmod 640 "$FILE"`},
	{name: "cat >>", appends: true, script: both(`printf '%s\n' "$LINE" >> "$FILE"`, `cat "$NEW" > "$FILE"`)},
	{name: "cat >, touch to come", script: `cat "$NEW" > "$FILE"; touch -d 2036-01-01 "$FILE"`},
	{name: "cat >, touch past", script: `cat "$NEW" > "$FILE"; touch -d 2001-01-01 "$FILE"`},
	{name: "truncate, pause, cat >>", script: `truncate -s 0 "$FILE"; sleep 0.3; cat "$NEW" >> "$FILE"`},
	{name: "copytruncate", script: `cp "$FILE" "$FILE.1"; : > "$FILE"; cat "$NEW" > "$FILE"; rm "$FILE.1"`},
	{name: "rm, cat >", script: `rm "$FILE"; cat "$NEW" > "$FILE"`},
	{name: "tee", short: true, script: `tee "$FILE" < "$NEW" > /dev/null`},
	{name: "tee from a pipe", script: `cat "$NEW" | tee "$FILE" > /dev/null`},
	{name: "tee -a", appends: true, script: both(`printf '%s\n' "$LINE" | tee -a "$FILE" > /dev/null`, `tee "$FILE" < "$NEW" > /dev/null`)},
	{name: "cp", short: true, script: `cp "$NEW" "$FILE"`},
	{name: "cp --remove-destination", script: `cp --remove-destination "$NEW" "$FILE"`},
	{name: "install", script: `install -m 640 "$NEW" "$FILE"`},
	{name: "dd", short: true, script: `dd if="$NEW" of="$FILE" bs=64 status=none`},
	{name: "dd conv=notrunc, truncate", script: `dd if="$NEW" of="$FILE" conv=notrunc status=none; truncate -s "$(stat -c %s "$NEW")" "$FILE"`},
	{name: "mv", short: true, script: `cp "$NEW" "$DIR/.n$$"; mv -f "$DIR/.n$$" "$FILE"`},
	{name: "mv from another file system", script: `cp "$NEW" "$OTHER/n$$"; mv -f "$OTHER/n$$" "$FILE"`},
	{name: "sync, mv", script: `cp "$NEW" "$DIR/.n$$"; sync -d "$DIR/.n$$"; mv -f "$DIR/.n$$" "$FILE"`},
	{name: "chmod, mv", script: `cp "$NEW" "$DIR/.n$$"; chmod 640 "$DIR/.n$$"; mv "$DIR/.n$$" "$FILE"`},
	{name: "touch past, mv", script: `cp "$NEW" "$DIR/.n$$"; touch -d 2001-01-01 "$DIR/.n$$"; mv -f "$DIR/.n$$" "$FILE"`},
	{name: "touch to come, mv", script: `cp "$NEW" "$DIR/.n$$"; touch -d 2036-01-01 "$DIR/.n$$"; mv -f "$DIR/.n$$" "$FILE"`},
	{name: "ln -sfn, mv -T", script: `cp "$NEW" "$DIR/v$$"; ln -sfn "v$$" "$FILE.ln"; mv -T "$FILE.ln" "$FILE"`},
	{name: "..data", short: true, links: true, script: `v="..$(date +%s%N)"; mkdir "$DIR/$v"; cp "$NEW" "$DIR/$v/$BASE"; old=$(readlink "$DIR/..data"); ln -s "$v" "$DIR/..data_tmp"; mv -T "$DIR/..data_tmp" "$DIR/..data"; rm -rf "${DIR:?}/$old"`},
	{name: "sed -i", short: true, script: both(`sed -i "\$a $LINE" "$FILE"`, `sed -i "/^$RE:/d" "$FILE"`)},
	{name: "perl -i", needs: "perl", script: both(`perl -i -ne 'print; print "$ENV{LINE}\n" if eof' "$FILE"`, `perl -i -ne 'print unless /^\Q$ENV{NAME}\E:/' "$FILE"`)},
	{name: "ed", needs: "ed", short: true, script: both(`printf '$a\n%s\n.\nw\nq\n' "$LINE" | ed -s "$FILE"`, `printf 'g/^%s:/d\nw\nq\n' "$RE" | ed -s "$FILE"`)},
	{name: "vim backupcopy=yes", needs: "vim", short: true, script: vim("set backupcopy=yes")},
	{name: "vim backupcopy=no", needs: "vim", short: true, script: vim("set backupcopy=no")},
	{name: "vim backupcopy=auto", needs: "vim", script: vim("set backupcopy=auto writebackup")},
	{name: "vim without a backup", needs: "vim", script: vim("set nobackup nowritebackup")},
	{name: "vim with its files beside", needs: "vim", script: vim("set directory=. backupcopy=yes backup")},
	{name: "nano", needs: "nano", script: nano},
	{name: "emacs", needs: "emacs", script: emacs("")},
	{name: "emacs by copying", needs: "emacs", script: emacs("(setq backup-by-copying t)")},
	{name: "rsync", needs: "rsync", script: `cp "$NEW" "$TMP/$BASE"; rsync -a "$TMP/$BASE" "$FILE"`},
	{name: "rsync --inplace", needs: "rsync", script: `cp "$NEW" "$TMP/$BASE"; rsync -a --inplace "$TMP/$BASE" "$FILE"`},
	{name: "rsync -c", needs: "rsync", script: `cp "$NEW" "$TMP/$BASE"; rsync -c "$TMP/$BASE" "$FILE"`},
	{name: "rsync --delay-updates", needs: "rsync", script: `cp "$NEW" "$TMP/$BASE"; rsync -a --delay-updates "$TMP/$BASE" "$FILE"`},
	{name: "git checkout-index", needs: "git", script: `export GIT_DIR="$TMP/git" GIT_WORK_TREE="$DIR"; cd "$DIR"; git init -q; git update-index --add --cacheinfo "100644,$(git hash-object -w "$NEW"),$BASE"; git checkout-index -f -- "$BASE"`},
	{name: "patch", needs: "patch", script: `diff -u "$FILE" "$NEW" > "$TMP/p"; patch -s "$FILE" "$TMP/p"`},
	{name: "tar", needs: "tar", script: `cp "$NEW" "$TMP/$BASE"; tar -C "$TMP" -cf "$TMP/t" "$BASE"; tar -C "$DIR" -xf "$TMP/t"`},
	{name: "tar --overwrite", needs: "tar", script: `cp "$NEW" "$TMP/$BASE"; tar -C "$TMP" -cf "$TMP/t" "$BASE"; tar -C "$DIR" --overwrite -xf "$TMP/t"`},
	{name: "unzip -o", needs: "unzip", script: `cp "$NEW" "$TMP/$BASE"; (cd "$TMP" && zip -q t.zip "$BASE"); unzip -oq "$TMP/t.zip" -d "$DIR"`},
	{name: "dos2unix", needs: "dos2unix", script: `sed 's/$/\r/' "$NEW" > "$FILE"; dos2unix -q "$FILE"`},
	{name: "logrotate copytruncate", needs: "logrotate", script: `printf '"%s" {\n copytruncate\n rotate 1\n su %s %s\n}\n' "$FILE" "$(id -un)" "$(id -gn)" > "$TMP/c"; logrotate -f -s "$TMP/s" "$TMP/c"; cat "$NEW" >> "$FILE"; rm -f "$FILE.1"`},
	{name: "python open w", needs: "python3", script: `python3 -c 'import sys; open(sys.argv[2], "w").write(open(sys.argv[1]).read())' "$NEW" "$FILE"`},
	{name: "python line by line", needs: "python3", script: `python3 -c '
import sys, time
with open(sys.argv[2], "w") as f:
    for line in open(sys.argv[1]).readlines()[:400]:
        f.write(line); f.flush(); time.sleep(0.02)
    f.write("".join(open(sys.argv[1]).readlines()[400:]))' "$NEW" "$FILE"`},
	{name: "python mmap", needs: "python3", script: `python3 -c '
import sys, mmap
new = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "r+b") as f:
    f.truncate(len(new)); m = mmap.mmap(f.fileno(), len(new)); m[:] = new; m.flush(); m.close()' "$NEW" "$FILE"`},
	{name: "ansible lineinfile", needs: "ansible", script: both(
		`ansible -c local -i localhost, localhost -m lineinfile -a "path=$FILE line='$LINE'" > "$TMP/o" 2>&1 || { tail -n 3 "$TMP/o"; exit 1; }`,
		`ansible -c local -i localhost, localhost -m lineinfile -a "path=$FILE regexp='^$NAME:' state=absent" > "$TMP/o" 2>&1 || { tail -n 3 "$TMP/o"; exit 1; }`)},
	{name: "os.WriteFile", short: true},
	{name: "Create and Delete"},
	{name: "provisioning: rm, header, chown, lines", short: true, script: `rm -f "$FILE"; echo '# provisioned' > "$FILE"; chown "$(id -u):$(id -g)" "$FILE"; chmod 640 "$FILE"; grep -v '^#' "$NEW" | while read -r line; do echo "$line"; done >> "$FILE"`},
	{name: "provisioning with subshells", script: `rm -f "$FILE"; echo '# provisioned' > "$FILE"; chown "$(id -u):$(id -g)" "$FILE"; chmod 640 "$FILE"; grep -v '^#' "$NEW" | head -n 60 | while read -r line; do echo "$(echo "$line" | cut -d: -f1):$(echo "$line" | cut -d: -f2-)" >> "$FILE"; done; grep -v '^#' "$NEW" | tail -n +61 >> "$FILE"`},
	{name: "provisioning: mv, header, chown, lines", script: `mv "$FILE" "$FILE.bak"; echo '# provisioned' > "$FILE"; chown "$(id -u):$(id -g)" "$FILE"; chmod 640 "$FILE"; grep -v '^#' "$NEW" >> "$FILE"`},
	{name: "provisioning with a pause", short: true, script: `mv "$FILE" "$FILE.bak"; { echo '# provisioned'; chown "$(id -u):$(id -g)" "$FILE"; chmod 640 "$FILE"; sleep 0.1; cat "$NEW"; } > "$FILE"`},
	{name: "provisioning: a part, chown, the rest", script: `rm "$FILE"; head -n 3 "$NEW" > "$FILE"; chown "$(id -u)" "$FILE"; chmod 640 "$FILE"; tail -n +4 "$NEW" >> "$FILE"`},
}

func both(add, del string) string { return "if [ $OP = add ]; then " + add + "; else " + del + "; fi" }

func vim(set string) string {
	const save = `-c 'wq!' "$FILE" < /dev/null; rm -f "$FILE~"`
	start := "vim -Es -N -u NONE --cmd '" + set + "' "
	return both(start+`-c '$put =$LINE' `+save, start+`-c "g/^$RE:/d" `+save)
}

func emacs(first string) string {
	start := `emacs -Q --batch "$FILE" --eval '(progn ` + first
	return both(start+`(goto-char (point-max)) (insert (getenv "LINE") "\n") (save-buffer))' 2> /dev/null`,
		start+`(flush-lines (concat "^" (getenv "NAME") ":")) (save-buffer))' 2> /dev/null`) + `; rm -f "$FILE~"`
}

// nano takes no commands, so expect types.
const nano = `expect -c '
set timeout 20
spawn -noecho nano -I -x $env(FILE)
sleep 0.3
if {$env(OP) == "add"} { send "\033/"; sleep 0.3; send "$env(LINE)\r" } else { send "\027"; sleep 0.3; send "$env(NAME):\r"; sleep 0.3; send "\013" }
sleep 0.3; send "\017"; sleep 0.3; send "\r"; sleep 0.3; send "\030"; expect eof' > /dev/null`

// A toolSave is one tool on one file.
type toolSave struct {
	tool   tool
	op     string
	aged   bool
	beside bool // an edit of the library goes on meanwhile
	path   string
	took   time.Duration // from the tool's end until a removal was in force, with a poll of 50 ms
}

func (s *toolSave) String() string {
	age, beside := "fresh", "alone"
	if s.aged {
		age = "aged"
	}
	if s.beside {
		beside = "beside edits"
	}
	return fmt.Sprintf("%s, %s, %s, %s", s.tool.name, s.op, age, beside)
}

// settling is how long files are left alone, so that they are old enough to count as
// rested.
const settling = 3500 * time.Millisecond

// TestTools saves files with real programs, some on files that are older than the
// settling time, while three followers watch each, and edits go on beside some. Every token
// that nobody touches is known at each moment, and is in the file afterwards; each follower
// ends with what the file says. All tools, with -tools.all, take some minutes, and say in
// the end how long a removal took to be in force, tool by tool.
func TestTools(t *testing.T) {
	t.Parallel() // it waits for most of the time
	dir := *toolsDir
	if dir == "" {
		dir = t.TempDir()
	}
	var fresh, aged []*toolSave
	for _, tool := range slices.Repeat(tools, *toolsTimes) {
		if !tool.short && !*toolsAll || !strings.Contains(tool.name, *toolsOnly) || !installed(t, tool.needs) {
			continue
		}
		for i, op := range []string{"del", "add"} {
			for beside := range 2 {
				if !*toolsAll && beside != i {
					continue
				}
				fresh = append(fresh, &toolSave{tool: tool, op: op, beside: beside == 1})
				old := &toolSave{tool: tool, op: op, beside: beside == 1, aged: true}
				old.prepare(t, dir)
				aged = append(aged, old)
			}
		}
	}
	began := time.Now()
	saves(t, fresh, func(s *toolSave) { s.prepare(t, dir); s.run(t) })
	time.Sleep(time.Until(began.Add(settling)))
	saves(t, aged, func(s *toolSave) { s.run(t) })
	took := make(map[string][]time.Duration)
	for _, s := range append(fresh, aged...) {
		if s.op == "del" && !s.beside {
			took[s.tool.name] = append(took[s.tool.name], s.took)
		}
	}
	t.Logf("%d saves; a removal was in force after the tool's end (median, poll 50 ms):", len(fresh)+len(aged))
	for _, name := range slices.Sorted(maps.Keys(took)) {
		slices.Sort(took[name])
		t.Logf("%8v %s", took[name][len(took[name])/2].Round(time.Millisecond), name)
	}
}

func installed(t *testing.T, program string) bool {
	if program == "" {
		return true
	}
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Errorf("%s is not installed; .ci/setup does", program)
		}
		return false
	}
	return true
}

// saves runs the saves, some at once, in an order of its own.
func saves(t *testing.T, all []*toolSave, run func(*toolSave)) {
	t.Helper()
	all = slices.Clone(all)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slots := make(chan struct{}, *toolsAtOne)
	var group sync.WaitGroup
	for _, s := range all {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			run(s)
		})
	}
	group.Wait()
}

// prepare makes the file.
func (s *toolSave) prepare(t *testing.T, under string) {
	dir, err := os.MkdirTemp(under, "save")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var text strings.Builder
	text.WriteString("# tokens\n")
	for i := range *toolsLines {
		fmt.Fprintf(&text, "tools/untouched/t%d:%s\n", i, hashA)
	}
	text.WriteString("tools/touched/old:" + hashA + "\ntools/untouched/last:" + hashA + "\n")
	s.path = filepath.Join(dir, "service_tokens")
	file := s.path
	if s.tool.links {
		file = filepath.Join(dir, "..1", "service_tokens")
		if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("..1", filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("..data/service_tokens", s.path); err != nil {
			t.Fatal(err)
		}
	}
	put(t, file, text.String())
}

// untouched are the tokens that nobody touches: not all of a large file, to look often.
var untouched = func() (names []string) {
	for i := range 40 {
		names = append(names, fmt.Sprint("tools/untouched/t", i))
	}
	return append(names, "tools/untouched/last")
}()

// run saves the file, with its followers.
func (s *toolSave) run(t *testing.T) {
	var followers []*filesource.File
	for _, poll := range []time.Duration{50 * time.Millisecond, time.Second, -1} {
		file, err := filesource.Open(s.path, filesource.Config{Poll: poll})
		if err != nil {
			t.Error(s, err)
			return
		}
		defer file.Close()
		followers = append(followers, file)
	}
	watch, end := context.WithCancel(t.Context())
	var watching, editing sync.WaitGroup
	watching.Go(func() { s.sample(t, watch, followers) })
	watching.Go(func() {
		for watch.Err() == nil {
			followers[2].Reload()
			time.Sleep(5 * time.Millisecond)
		}
	})
	if s.beside {
		editing.Go(func() { s.edit(t) })
	}
	err := s.save(t)
	ended := time.Now()
	if err != nil {
		t.Errorf("%v: %v", s, err)
	}
	for s.op == "del" && has(followers[0], "tools/touched/old") && time.Since(ended) < 10*time.Second {
		time.Sleep(time.Millisecond)
	}
	s.took = time.Since(ended)
	editing.Wait()
	s.compare(t, followers)
	end()
	watching.Wait()
}

// sample looks each 2 ms whether every follower knows the tokens that nobody touches.
func (s *toolSave) sample(t *testing.T, ctx context.Context, followers []*filesource.File) {
	var lost [3]int
	for ctx.Err() == nil {
		for i, file := range followers {
			if !has(file, untouched...) {
				lost[i]++
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	if lost != [3]int{} {
		t.Errorf("%v: in %d samples a token that nobody touched was not known (poll 50 ms, 1 s, Reload)", s, lost)
	}
}

// edit creates and deletes a token beside the save.
func (s *toolSave) edit(t *testing.T) {
	file, err := filesource.Open(s.path, filesource.Config{Poll: -1})
	if err != nil {
		return // it is being saved
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = file.Create(ctx, fleet.TokenID("beside"))
	if err != nil && !strings.Contains(err.Error(), "bad lines") {
		t.Errorf("%v: Create beside it: %v", s, err)
	}
}

// save runs the tool.
func (s *toolSave) save(t *testing.T) error {
	const name, line = "tools/touched/old", "tools/touched/new:" + hashA
	text := read(t, s.path)
	if s.op == "add" {
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += line + "\n"
	} else {
		text = strings.Replace(text, name+":"+hashA+"\n", "", 1)
	}
	switch s.tool.name {
	case "os.WriteFile":
		return os.WriteFile(s.path, []byte(text), 0o600)
	case "Create and Delete":
		return s.saveByLibrary(t)
	}
	temp := t.TempDir()
	put(t, filepath.Join(temp, "new"), text)
	cmd := exec.Command("bash", "-c", s.tool.script)
	cmd.Env = append(os.Environ(), "FILE="+s.path, "DIR="+filepath.Dir(s.path), "BASE=service_tokens", "NEW="+temp+"/new", "OP="+s.op, "NAME="+name,
		"LINE="+line, `RE=tools\/touched\/old`, "TMP="+temp, "OTHER="+other(s.path), "HOME="+temp, "TERM=xterm", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// other returns a folder on another file system than the path, if there is one.
func other(path string) string {
	if strings.HasPrefix(path, "/dev/shm/") {
		return os.TempDir()
	}
	return "/dev/shm"
}

func (s *toolSave) saveByLibrary(t *testing.T) error {
	file, err := filesource.Open(s.path, filesource.Config{Poll: -1})
	if err != nil {
		return err
	}
	defer file.Close()
	id := token(t, "tools/touched/old", "supersecret").ID()
	if s.op == "del" {
		return file.Delete(t.Context(), id)
	}
	id.Name = "new"
	return second(file.Create(t.Context(), id))
}

// compare waits until each follower knows what the file says, and checks that this is
// right.
func (s *toolSave) compare(t *testing.T, followers []*filesource.File) {
	for i, file := range followers {
		began := time.Now()
		for {
			got, want := len(file.List()), namesIn(read(t, s.path))
			if got == len(want) && has(file, want...) {
				break
			}
			if time.Since(began) > 20*time.Second {
				t.Errorf("%v: follower %d knows %d tokens, the file has %d; %+v", s, i, got, len(want), file.Status())
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	names := namesIn(read(t, s.path))
	slices.Sort(names)
	for _, name := range untouched {
		if _, ok := slices.BinarySearch(names, name); !ok {
			t.Errorf("%v: the file has lost %s", s, name)
			return
		}
	}
	_, touched := slices.BinarySearch(names, map[string]string{"add": "tools/touched/new", "del": "tools/touched/old"}[s.op])
	if !s.beside && touched != (s.op == "add") {
		t.Errorf("%v: the tool has done nothing", s)
	}
	if _, ok := slices.BinarySearch(names, "elastic/fleet-server/beside"); s.beside && s.tool.appends && s.op == "add" && !ok {
		t.Errorf("%v: the token that was created beside it is lost", s)
	}
}

// namesIn returns the names in a text, by rules of its own.
func namesIn(text string) (names []string) {
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		if name, _, ok := strings.Cut(line, ":"); ok && line[0] != '#' {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
