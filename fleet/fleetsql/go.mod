module github.com/svctoken/svctoken/fleet/fleetsql

go 1.26.0

require github.com/svctoken/svctoken v0.1.0

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	golang.org/x/crypto v0.58.0 // indirect
)

replace github.com/svctoken/svctoken => ../..
