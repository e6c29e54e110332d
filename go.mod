module github.com/svctoken/svctoken

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/hashicorp/golang-lru/v2 v2.0.7
	golang.org/x/crypto v0.58.0
	golang.org/x/sync v0.24.0
)
