module github.com/legendary-wallet/legendary-wallet/relay

go 1.26.0

require github.com/legendary-wallet/legendary-wallet/db v0.0.0

replace github.com/legendary-wallet/legendary-wallet/db => ../db
