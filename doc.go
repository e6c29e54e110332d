// Package svctoken is the root of the module; its packages hold everything.
package svctoken
