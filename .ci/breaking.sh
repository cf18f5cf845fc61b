#!/usr/bin/env bash
# Compares the contracts with those of the main branch: a change that breaks a client fails.
# On the main branch itself, with nothing uncommitted, they are compared with those of the commit before.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "buf breaking: not compared, because $1"
    exit 0
}

git rev-parse --verify --quiet HEAD >/dev/null || skip "there is no commit yet"

main=""
for branch in origin/main main; do
    if git rev-parse --verify --quiet "$branch^{commit}" >/dev/null; then
        main=$branch
        break
    fi
done
against=""
if [ -n "$main" ]; then
    against=$(git merge-base HEAD "$main" || true)
fi
if [ -z "$against" ] || { [ "$against" = "$(git rev-parse HEAD)" ] && [ -z "$(git status --porcelain -- protos)" ]; }; then
    against=$(git rev-parse --verify --quiet "HEAD~1^{commit}") || skip "there is no earlier commit here"
fi
git ls-tree -r --name-only "$against" -- protos | grep -q '\.proto$' || skip "commit ${against:0:12} has no contracts"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
paths=()
for path in buf.yaml protos third_party; do
    if git cat-file -e "$against:$path" 2>/dev/null; then
        paths+=("$path")
    fi
done
git archive "$against" -- "${paths[@]}" | tar -x -C "$folder"
buf breaking --against "$folder"
echo "buf breaking: compatible with commit ${against:0:12}"
