# Static binaries built on the host (make build) and nothing else: the image is
# built without a registry and weighs what the binaries weigh.
FROM scratch
COPY bin/node bin/subscriber /
ENTRYPOINT ["/node"]
