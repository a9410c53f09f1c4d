FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /tocsin ./cmd/tocsin

# Alpine, because its wget serves health checks: /readyz of web, and of worker and scheduler at TOCSIN_METRICS_LISTEN.
FROM alpine:3
RUN adduser -D -H -u 10001 tocsin && install -d -o tocsin -g tocsin -m 0700 /var/lib/tocsin
COPY --from=build /tocsin /usr/local/bin/tocsin
# PORT and not TOCSIN_LISTEN: platforms that set a PORT of their own are obeyed.
ENV PORT=8080 TOCSIN_DATA_DIR=/var/lib/tocsin
USER 10001
VOLUME /var/lib/tocsin
EXPOSE 8080
ENTRYPOINT ["tocsin"]
CMD ["serve"]
