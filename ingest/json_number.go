package ingest

import "strconv"

// number reads a number by the grammar and refuses what float64 cannot hold.
func (s *scanner) number() error {
	from := s.i
	negative := s.b[s.i] == '-'
	if negative {
		s.i++
	}
	var m mantissa
	if s.at('0') {
		s.i++
	} else if s.digits(&m) == 0 {
		return s.errorf("expected a digit")
	}
	scale := 0
	if s.at('.') {
		s.i++
		if scale = s.digits(&m); scale == 0 {
			return s.errorf("expected a digit after '.'")
		}
	}
	plain := true
	if s.at('e') || s.at('E') {
		plain = false
		if s.i++; s.at('+') || s.at('-') {
			s.i++
		}
		if s.digits(&mantissa{}) == 0 {
			return s.errorf("expected a digit in the exponent")
		}
	}
	// Both fit float64 exactly, so their quotient is rounded once: the same
	// number that strconv reads.
	if plain && m.digits <= 15 && scale < len(powersOfTen) {
		f := float64(m.value) / powersOfTen[scale]
		if negative {
			f = -f
		}
		s.add(nodeNumber).num = f
		return nil
	}
	f, err := strconv.ParseFloat(s.b[from:s.i], 64)
	if err != nil {
		s.i = from
		return s.errorf("number out of range")
	}
	s.add(nodeNumber).num = f
	return nil
}

// powersOfTen are those that float64 holds exactly.
var powersOfTen = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// mantissa is the value of the digits read, good while they are no more than 15.
type mantissa struct {
	value  uint64
	digits int // without leading zeros
}

// digits reads digits into m and says how many there were.
func (s *scanner) digits(m *mantissa) int {
	rest, value, known := s.b[s.i:], m.value, m.digits
	n := 0
	for n < len(rest) {
		c := rest[n] - '0'
		if c > 9 {
			break
		}
		if value = value*10 + uint64(c); known > 0 || c > 0 {
			known++
		}
		n++
	}
	m.value, m.digits = value, known
	s.i += n
	return n
}

// integer reads a whole number from 0 to 2^53 without fraction or exponent.
func (s *scanner) integer(name string) (int64, error) {
	from := s.i
	var m mantissa
	n := s.digits(&m)
	if n == 0 || n > 16 || n > 1 && s.b[from] == '0' || m.value > 1<<53 || s.at('.') || s.at('e') || s.at('E') {
		s.i = from
		return 0, s.errorf("%q must be a whole number from 0 to 2^53", name)
	}
	return int64(m.value), nil
}
