module github.com/legendary-wallet/legendary-wallet/deploy/ready

go 1.26.0
