FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /tocsin ./cmd/tocsin
RUN install -d -o 10001 -g 10001 -m 0700 /data && install -d -m 1777 /empty

# The program alone: no shell and nothing else to run. It asks itself whether it is healthy.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /empty /tmp
COPY --from=build --chown=10001:10001 /data /var/lib/tocsin
COPY --from=build /tocsin /usr/local/bin/tocsin
# PORT and not TOCSIN_LISTEN: platforms that set a PORT of their own are obeyed.
ENV PORT=8080 TOCSIN_DATA_DIR=/var/lib/tocsin
USER 10001:10001
VOLUME /var/lib/tocsin
EXPOSE 8080
# Of worker and scheduler it asks at TOCSIN_METRICS_LISTEN.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["tocsin", "health"]
ENTRYPOINT ["tocsin"]
CMD ["serve"]
