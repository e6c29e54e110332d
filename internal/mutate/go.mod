module github.com/svctoken/svctoken/internal/mutate

go 1.26.0
