package tokentest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// deepText returns a text of v and of everything that it points to: fmt stops at the
// second pointer. It leaves out what has a lock of its own, which may change at any time
// and is not data; it writes a TokenID as its qualified name.
func deepText(v any) string {
	d := deepWriter{seen: make(map[seenPointer]bool)}
	d.write(reflect.ValueOf(v))
	return d.String()
}

type deepWriter struct {
	strings.Builder
	seen map[seenPointer]bool // cycles end here
}

type seenPointer struct {
	address uintptr
	of      reflect.Type
}

var (
	tokenIDType  = reflect.TypeFor[tokencache.TokenID]()
	locationType = reflect.TypeFor[time.Location]() // it caches results inside
)

func (d *deepWriter) write(v reflect.Value) {
	switch v.Kind() {
	case reflect.Invalid:
		d.WriteString("nil")
	case reflect.Pointer:
		d.writePointer(v)
	case reflect.Interface:
		d.write(v.Elem())
	case reflect.Struct:
		d.writeStruct(v)
	case reflect.Map:
		d.writeMap(v)
	case reflect.Slice, reflect.Array:
		d.writeList(v)
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		fmt.Fprint(d, v.Type(), v.IsNil())
	default:
		fmt.Fprintf(d, "%#v", v)
	}
}

func (d *deepWriter) writePointer(v reflect.Value) {
	p := seenPointer{v.Pointer(), v.Type()}
	if d.seen[p] {
		d.WriteString("seen")
		return
	}
	d.seen[p] = !v.IsNil()
	d.WriteByte('&')
	d.write(v.Elem())
}

func (d *deepWriter) writeStruct(v reflect.Value) {
	switch t := v.Type(); {
	case t == tokenIDType:
		a := v.FieldByName("Account")
		fmt.Fprintf(d, "%v/%v/%v", a.FieldByName("Namespace"), a.FieldByName("Service"), v.FieldByName("Name"))
		return
	case t == locationType || isLocked(t):
		d.WriteString(t.String())
		return
	}
	d.WriteByte('{')
	for i := range v.NumField() {
		d.WriteString(v.Type().Field(i).Name + ":")
		d.write(v.Field(i))
		d.WriteByte(' ')
	}
	d.WriteByte('}')
}

// isLocked reports whether a struct contains a type for concurrent use, such as a lock.
func isLocked(t reflect.Type) bool {
	for field := range t.Fields() {
		if pkg := field.Type.PkgPath(); pkg == "sync" || pkg == "sync/atomic" {
			return true
		}
	}
	return false
}

func (d *deepWriter) writeMap(v reflect.Value) {
	type entry struct{ key, value string }
	var entries []entry
	for it := v.MapRange(); it.Next(); {
		entries = append(entries, entry{d.apart(it.Key()), d.apart(it.Value())})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.value, b.value)) })
	fmt.Fprint(d, entries)
}

// apart returns the text of a part of v, whose place is not known yet.
func (d *deepWriter) apart(v reflect.Value) string {
	part := deepWriter{seen: d.seen}
	part.write(v)
	return part.String()
}

func (d *deepWriter) writeList(v reflect.Value) {
	if v.Kind() == reflect.Slice && v.Len() > 0 { // a slice may be an element of itself
		p := seenPointer{v.Pointer(), v.Type()}
		if d.seen[p] {
			d.WriteString("seen")
			return
		}
		d.seen[p] = true
	}
	d.WriteByte('[')
	for i := range v.Len() {
		d.write(v.Index(i))
		d.WriteByte(' ')
	}
	d.WriteByte(']')
}
