package main

import "golang.org/x/sys/windows"

// freeBytes is how much this account can still write to the disk of dir.
func freeBytes(dir string) (uint64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var mine, total, free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &mine, &total, &free); err != nil {
		return 0, err
	}
	return mine, nil
}
