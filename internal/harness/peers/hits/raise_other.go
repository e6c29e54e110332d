//go:build !unix

package main

func raise() { panic("there are no signals here") }
