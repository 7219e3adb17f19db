#!/usr/bin/env bash
# Debian packages that tests use: a browser to look at the page with, a PostgreSQL for the API's repository.
# Where they are there already, or where this is no Debian with root, nothing is done, and what lacks them is skipped.
set -euo pipefail
missing=()
command -v chromium >/dev/null || missing+=(chromium)
[ -x "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)" ] || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed: ${missing[*]} (needs root and apt); the tests that use them are skipped"
    exit 0
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
