module github.com/svctoken/svctoken/internal/harness/mutate

go 1.26.0
