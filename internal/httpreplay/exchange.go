package httpreplay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"trustpack/internal/strictyaml"
)

// Exchange is one request to wait for and the reply to give.
//
// A file of exchanges is YAML (or JSON, which is YAML) with one key,
// "exchanges", a list of these:
//
//	exchanges:
//	  - request: {method: GET, path: "/repos/o/r/commits/{{sha \"head\"}}", query: {page: "2"}}
//	    reply:   {status: 200, headers: {Link: "<{{url}}/…>; rel=\"next\""}, json: [{sha: "{{sha \"head\"}}"}]}
//
// Every string in it is a text/template with three functions: url is the base
// URL of the running server, without a slash at its end; sha and value look a
// label up in Values.
type Exchange struct {
	Request Request `yaml:"request"`
	Reply   Reply   `yaml:"reply"`

	source string // file and place in it, for errors
}

// Request says which requests an exchange answers. Of several that match, the
// one that asks for the most wins; two that ask for the same are an error.
type Request struct {
	Method string `yaml:"method"` // default GET
	Path   string `yaml:"path"`   // the whole path, unescaped; default "/"
	// Query must name every parameter of the request; a parameter whose value
	// here is "*" may have any value or be absent.
	Query map[string]string `yaml:"query"`
	// Headers that the request must carry; "*" in a value stands for any text,
	// as in Authorization: "*/eu-central-1/logs/*".
	Headers map[string]string `yaml:"headers"`
	// Target is the X-Amz-Target of the AWS JSON protocols, "Logs_20140328.DescribeLogGroups".
	Target string `yaml:"target"`
	// Form holds fields of a form-encoded body, such as Action of the AWS query
	// protocol. Fields that are not named here are not looked at. A value ""
	// asks that the field is absent.
	Form map[string]string `yaml:"form"`
	// JSON holds members of a JSON body, compared by value, such as nextToken.
	// Members that are not named here are not looked at. A null asks that the
	// member is absent.
	JSON map[string]any `yaml:"json"`
}

// Reply is what is sent back. At most one of Body, BodyFile and JSON is set.
type Reply struct {
	Status   int               `yaml:"status"` // default 200
	Headers  map[string]string `yaml:"headers"`
	Body     string            `yaml:"body"`
	BodyFile string            `yaml:"body_file"` // relative to the file of the exchange
	JSON     any               `yaml:"json"`      // encoded on one line; Content-Type defaults to application/json
}

// Load reads every *.yaml, *.yml and *.json file of the folder and below it,
// save those that an exchange names as body_file. A folder without an exchange
// is an error, since a server of nothing answers nothing.
func Load(fsys fs.FS) ([]Exchange, error) {
	var all []Exchange
	bodies := map[string]bool{}
	var names []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading recorded replies: %w", err)
	}
	perFile := map[string][]Exchange{}
	unreadable := map[string]error{} // excused where the file turns out to be a body
	for _, name := range names {
		exchanges, err := loadFile(fsys, name)
		if err != nil {
			unreadable[name] = err
			continue
		}
		for _, e := range exchanges {
			if e.Reply.BodyFile != "" {
				bodies[path.Join(path.Dir(name), e.Reply.BodyFile)] = true
			}
		}
		perFile[name] = exchanges
	}
	for _, name := range names {
		if bodies[name] {
			continue
		}
		if err := unreadable[name]; err != nil {
			return nil, err
		}
		for i, e := range perFile[name] {
			if e.Reply.BodyFile != "" {
				body, err := fs.ReadFile(fsys, path.Join(path.Dir(name), e.Reply.BodyFile))
				if err != nil {
					return nil, fmt.Errorf("reading recorded replies: %s: exchange %d: %w", name, i+1, err)
				}
				e.Reply.Body, e.Reply.BodyFile = string(body), ""
			}
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("reading recorded replies: no exchange in the folder")
	}
	return all, nil
}

func loadFile(fsys fs.FS, name string) ([]Exchange, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("reading recorded replies: %w", err)
	}
	var file struct {
		Exchanges []Exchange `yaml:"exchanges"`
	}
	if err := strictyaml.Decode(name, data, &file); err != nil {
		return nil, fmt.Errorf("reading recorded replies: %w", err)
	}
	for i := range file.Exchanges {
		e := &file.Exchanges[i]
		e.source = fmt.Sprintf("%s: exchange %d", name, i+1)
		set := 0
		for _, is := range []bool{e.Reply.Body != "", e.Reply.BodyFile != "", e.Reply.JSON != nil} {
			if is {
				set++
			}
		}
		if set > 1 {
			return nil, fmt.Errorf("reading recorded replies: %s: more than one of body, body_file and json", e.source)
		}
	}
	return file.Exchanges, nil
}

// key is equal for two requests that ask for the same.
func (r Request) key() string {
	b, err := json.Marshal(r)
	if err != nil { // a JSON matcher that YAML could decode and JSON cannot hold
		return fmt.Sprintf("%v", r)
	}
	return string(b)
}

func (r Request) String() string {
	s := r.Method + " " + r.Path
	if r.Target != "" {
		s += " " + r.Target
	}
	for _, k := range sortedKeys(r.Query) {
		s += fmt.Sprintf(" %s=%s", k, r.Query[k])
	}
	for _, k := range sortedKeys(r.Form) {
		s += fmt.Sprintf(" %s=%s", k, r.Form[k])
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// globMatch reports whether s is pattern, in which "*" stands for any text.
func globMatch(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}
