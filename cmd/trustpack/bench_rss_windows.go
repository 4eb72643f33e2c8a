package main

// peakBytes is 0: the standard library does not tell it here.
func peakBytes() uint64 { return 0 }
