package filesource

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"
)

// A tempFile is a file that will take the place of another.
type tempFile struct {
	name     string
	info     fs.FileInfo
	modified time.Time
	content  uint64
}

const tempSuffix = ".tmp"

func tempPrefix(target string) string { return "." + shortBase(target) + "-" }

// writeTemp writes what the draft's layout says into a file of its own beside the
// target, durably, with the mode, the owner and the attributes of the file that was read.
func (f *File) writeTemp(d *draft, target string) (temp tempFile, err error) {
	like, err := f.original(target)
	if err != nil {
		return tempFile{}, err
	}
	if like.info != nil && !sameFile(like.info, d.seen.info) {
		return tempFile{}, errAgain
	}
	file, err := f.sys.createTemp(filepath.Dir(target), tempPrefix(target)+"*"+tempSuffix)
	if err != nil {
		return tempFile{}, err
	}
	temp.name = file.Name()
	defer func() {
		file.Close()
		if err != nil {
			f.sys.remove(temp.name)
		}
	}()
	if like.info != nil {
		err = f.dress(file, like)
	} else {
		err = f.share(file, filepath.Dir(target))
	}
	if err != nil {
		return temp, err
	}
	hash := f.newHash()
	buffered := bufio.NewWriterSize(io.MultiWriter(file, hash), 1<<16)
	if err := d.layout.writeTo(buffered); err != nil {
		return temp, err
	}
	if err := buffered.Flush(); err != nil {
		return temp, err
	}
	if err := file.Sync(); err != nil {
		return temp, err
	}
	if temp.info, err = file.Stat(); err != nil {
		return temp, err
	}
	if f.cfg.MaxBytes > 0 && temp.info.Size() > f.cfg.MaxBytes { // no reader would accept it
		return temp, fmt.Errorf("%s would have more than %d bytes (Config.MaxBytes)", printable(target), f.cfg.MaxBytes)
	}
	if err := file.Close(); err != nil {
		return temp, err
	}
	temp.content = hash.Sum64()
	temp.modified = temp.info.ModTime().Add(-setBack)
	return temp, f.sys.chtimes(temp.name, temp.modified) // see placed.go
}
