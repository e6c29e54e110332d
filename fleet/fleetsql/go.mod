module github.com/svctoken/svctoken/fleet/fleetsql

go 1.26.0

require github.com/svctoken/svctoken v0.1.0

replace github.com/svctoken/svctoken => ../..
