# docker buildx build --platform linux/amd64,linux/arm64 --tag localhost/tunlink:VERSION . The same
# files as `npm run image` makes an archive of: two programs, one runtime, and the libraries they
# load. No shell.
ARG NODE_VERSION=24
FROM node:${NODE_VERSION}-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY build.mjs tsconfig.json LICENSE ./
COPY licences licences
COPY release release
COPY cmd cmd
COPY src src
RUN npm run build && node release/image.mjs --root /image

FROM scratch
COPY --from=build /image /
ENV PATH=/usr/local/bin BUN_BE_BUN=1 MIMALLOC_PURGE_DELAY=-1
WORKDIR /
ENTRYPOINT ["/usr/local/bin/tunlink", "/usr/local/bin/tunlinkd.cjs"]
