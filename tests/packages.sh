#!/usr/bin/env bash
# What tests use and no test should wait for: programs built from Go modules, a browser to look at the page with, a
# PostgreSQL for the API's repository. Where the Debian packages are there already, or where this is no Debian with
# root, nothing is done, and what lacks them is skipped.
set -euo pipefail
python3 "$(dirname "$0")/cluster/cluster.py" tools helm kwok >/dev/null
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
apt=(apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
