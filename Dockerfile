# One recipe for the images of api, relay, worker, hooks and ctl:
#   docker build --build-arg SERVICE=api --build-arg VERSION=v0.2.0 .
FROM golang:1.26.8-trixie AS build
ARG SERVICE
# Each module builds alone. cgo is for librdkafka, which comes with its Go package, linked for glibc.
ENV GOWORK=off CGO_ENABLED=1
WORKDIR /src
# The module files come first: until one of them changes, the downloaded modules stay in the cache.
COPY db/go.mod db/go.sum db/
COPY db/testdb/go.mod db/testdb/go.sum db/testdb/
COPY service/go.mod service/go.sum service/
COPY ${SERVICE}/go.mod ${SERVICE}/go.sum ${SERVICE}/
RUN go mod download -C ${SERVICE}
COPY deploy/ready deploy/ready
RUN go build -C deploy/ready -ldflags=-s -o ../../out/ready .
COPY db db
COPY service service
COPY ${SERVICE} ${SERVICE}
ARG VERSION=unreleased
RUN go build -C ${SERVICE} -ldflags="-s -X github.com/legendary-wallet/legendary-wallet/service.version=${VERSION}" -o ../out/service .

# dbmate and the migrations, for those who run `dbmate up` themselves: docker build --target migrate .
# What is shipped migrates by ctl, of which any number may run at once.
FROM ghcr.io/amacneil/dbmate:2.28.0 AS migrate
COPY db/migrations /db/migrations
USER 65532:65532
CMD ["--wait", "--no-dump-schema", "up"]

FROM debian:13.6-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/out/ /usr/local/bin/
# In a container every service has the same admin port, open to the container's network: health
# checks and metrics ask there. Never publish it.
ENV ADMIN_ADDR=:9080
USER 65532:65532
ENTRYPOINT ["service"]
