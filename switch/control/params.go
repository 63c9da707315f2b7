package control

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// field finds the field of the structure v that has the JSON name.
func field(v reflect.Value, name string) (reflect.Value, bool) {
	for f := range v.Type().Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name && tag != "-" && f.IsExported() {
			return v.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

// decodeQuery fills the structure in from a query.
func decodeQuery(q url.Values, in any) error {
	v := reflect.ValueOf(in).Elem()
	for name, values := range q {
		f, found := field(v, name)
		if !found {
			return Errorf(CodeBadRequest, "unknown parameter %q", name)
		}
		if len(values) != 1 {
			return Errorf(CodeBadRequest, "parameter %q is given %d times", name, len(values))
		}
		if err := setText(f, values[0]); err != nil {
			return Errorf(CodeBadRequest, "parameter %q: %w", name, err)
		}
	}
	return nil
}

// decodePath fills the structure in from the wildcards of the pattern.
func decodePath(r *http.Request, pattern string, in any) error {
	for part := range strings.SplitSeq(pattern, "/") {
		name, isWild := strings.CutPrefix(part, "{")
		if !isWild {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		f, found := field(reflect.ValueOf(in).Elem(), name)
		if !found {
			return Errorf(CodeInternal, "route %s: no field is called %q", pattern, name)
		}
		if err := setText(f, r.PathValue(name)); err != nil {
			return Errorf(CodeBadRequest, "%s in the path: %w", name, err)
		}
	}
	return nil
}

func setText(f reflect.Value, text string) error {
	switch f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		f.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, f.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a number that fits", text)
		}
		f.SetInt(n)
	default:
		return fmt.Errorf("a %s cannot be given here", f.Type())
	}
	return nil
}

// encodeQuery is decodeQuery's opposite, for the client. Zero values and the names in path are left out.
func encodeQuery(in any, path map[string]bool) (string, error) {
	v := reflect.ValueOf(in).Elem()
	q := url.Values{}
	for f := range v.Type().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		value := v.FieldByIndex(f.Index)
		if path[name] || value.IsZero() {
			continue
		}
		switch value.Kind() {
		case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
			q.Set(name, fmt.Sprint(value.Interface()))
		default:
			return "", fmt.Errorf("control: field %s: a %s cannot be sent in a query", f.Name, f.Type)
		}
	}
	return q.Encode(), nil
}

// encodePath fills the wildcards of a pattern from in and returns the names used.
func encodePath(pattern string, in any) (string, map[string]bool, error) {
	used := map[string]bool{}
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		name, isWild := strings.CutPrefix(part, "{")
		if !isWild {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		f, found := field(reflect.ValueOf(in).Elem(), name)
		if !found {
			return "", nil, fmt.Errorf("control: route %s: no field is called %q", pattern, name)
		}
		text := fmt.Sprint(f.Interface())
		if text == "" {
			return "", nil, &Error{Code: CodeBadRequest, Message: "the " + name + " is empty"}
		}
		parts[i] = url.PathEscape(text)
		used[name] = true
	}
	return strings.Join(parts, "/"), used, nil
}
