#!/usr/bin/env bash
# Puts Apache Pulsar into the folder given, unless it is there. It comes from Maven Central.
set -euo pipefail
home=$1
version=${home##*-}

if [ -x "$home/bin/pulsar" ]; then
    echo "Apache Pulsar $version: there already"
    exit 0
fi
for tool in mvn java; do
    command -v "$tool" >/dev/null || { echo "Apache Pulsar needs $tool: install a JDK 17 and Maven" >&2; exit 1; }
done
mkdir -p "$(dirname "$home")"
# Unpacked beside its place and moved there whole, so that a broken download is never taken for an installation.
folder=$(mktemp -d "$home.XXXXXX")
trap 'rm -rf "$folder"' EXIT
echo "Apache Pulsar $version: downloading (245 MB)"
mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact="org.apache.pulsar:pulsar-server-distribution:$version:tar.gz:bin" -DoutputDirectory="$folder"
tar -xzf "$folder"/*.tar.gz -C "$folder"
mv "$folder/apache-pulsar-$version" "$home"
