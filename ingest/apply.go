package ingest

// settings are a configuration with the rules that were compiled for it. They
// are never changed: another configuration is another settings.
type settings struct {
	Config
	rules *rules
}

// cfg is the configuration in force. What looks at more than one value of it
// for one request keeps the settings that were in force when that came.
func (s *Server) cfg() *Config { return &s.set.Load().Config }

func (s *Server) rules() *rules { return s.set.Load().rules }
