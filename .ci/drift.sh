#!/usr/bin/env bash
# Generates the stubs anew, beside the committed ones, and fails when the two differ.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The generators report every file they write: shown only when they fail.
if ! buf generate --output "$folder" 2>"$folder/log"; then
    cat "$folder/log" >&2
    exit 1
fi
if ! diff --recursive --unified --exclude=__pycache__ protos/gen "$folder/protos/gen"; then
    echo "protos/gen is not what the contracts generate: run make proto, and commit what it changes" >&2
    exit 1
fi
echo "generated code: as the contracts say"
