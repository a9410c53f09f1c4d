package input

import (
	"fmt"
	"io"
	"reflect"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/rule"
)

// fieldInfo is one field of a body.
type fieldInfo struct {
	index    []int
	channel  rule.Channel // of a field of Contacts; else empty
	min, max *int64
}

// ReadJSON reads the JSON object that is the whole of a body into the fields of the struct v, each a Field or a Must.
// It returns every faulty field. The error is for JSON that is broken, a *SyntaxError, or no object, Faults. The tags
// minimum and maximum are checked, which say the same in the OpenAPI document.
func ReadJSON[T any](body io.Reader, v *T) (Faults, error) {
	infos := fieldsOf(reflect.TypeFor[T]())
	value := reflect.ValueOf(v).Elem()
	var faults Faults
	dec := jsontext.NewDecoder(body)
	err := readObject(dec, func(name string) error {
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		info, known := infos[name]
		if !known {
			faults.Add(ShownName(name), "is not a field of this call")
			return nil
		}
		if message := info.read(info.of(value), raw); message != "" {
			faults.Add(name, message)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name, info := range infos {
		if info.of(value).mandatory() && !value.FieldByIndex(info.index).FieldByName("Set").Bool() {
			faults.AddOnce(name, "is required")
		}
	}
	return faults, nil
}

// RequiredFields lists the fields that must be there in a body of the type t; ok is false for a type that ReadJSON does
// not read.
func RequiredFields(t reflect.Type) (names []string, ok bool) {
	names = []string{}
	for name, info := range fieldsOf(t) {
		if info.channel != "" {
			continue
		}
		f, isField := reflect.TypeAssert[readable](reflect.New(t.FieldByIndex(info.index).Type))
		if !isField {
			return nil, false
		}
		if f.mandatory() {
			names = append(names, name)
		}
	}
	return names, true
}

// Bounds returns the lowest and the highest value of a number in the body that T reads.
func Bounds[T any](name string) (lowest, highest int) {
	info := fieldsOf(reflect.TypeFor[T]())[name]
	return int(*info.min), int(*info.max)
}

func (i *fieldInfo) of(value reflect.Value) readable {
	field := value.FieldByIndex(i.index).Addr().Interface()
	if contacts, is := field.(*Contacts); is {
		return contacts.toRead(i.channel)
	}
	return field.(readable)
}

// read reads a value into a field and returns what is wrong with it, also by the tags of the field.
func (i *fieldInfo) read(to readable, raw jsontext.Value) string {
	if message := to.read(raw); message != "" {
		return message
	}
	if raw.Kind() != '0' || i.min == nil {
		return ""
	}
	if n, _ := wholeNumber(raw); n < *i.min || n > *i.max {
		return fmt.Sprintf("must be from %d to %d", *i.min, *i.max)
	}
	return ""
}

func fieldsOf(t reflect.Type) map[string]*fieldInfo {
	out := map[string]*fieldInfo{}
	for _, f := range reflect.VisibleFields(t) {
		if prefix, is := f.Tag.Lookup(contactsTag); is {
			for _, c := range rule.SettingChannels {
				out[prefix+c.Info().Setting] = &fieldInfo{index: f.Index, channel: c}
			}
			continue
		}
		name := f.Tag.Get("json")
		if name == "" {
			continue // an embedded struct, or what is in a field
		}
		info := &fieldInfo{index: f.Index}
		if lowest, err := strconv.ParseInt(f.Tag.Get("minimum"), 10, 64); err == nil {
			highest, _ := strconv.ParseInt(f.Tag.Get("maximum"), 10, 64) // both or none
			info.min, info.max = &lowest, &highest
		}
		if field, is := reflect.TypeAssert[bounded](reflect.New(f.Type)); is {
			lowest, highest := field.bounds()
			info.min, info.max = &lowest, &highest
		}
		out[name] = info
	}
	return out
}
