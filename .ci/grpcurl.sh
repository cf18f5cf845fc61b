#!/usr/bin/env bash
# Installs grpcurl into the folder given, unless it is there.
set -euo pipefail
bin=$1

if [ -x "$bin/grpcurl" ]; then
    echo "grpcurl: there already"
    exit 0
fi
command -v go >/dev/null || { echo "grpcurl needs Go to be built: install Go, or put grpcurl into $bin" >&2; exit 1; }
mkdir -p "$bin"
echo "grpcurl: building (under a minute)"
GOBIN=$bin go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest
