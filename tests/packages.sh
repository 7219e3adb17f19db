#!/usr/bin/env bash
# What tests use and no test should wait for, nor two at once fetch: programs built from Go modules, Prometheus, a browser
# to look at the page with, a PostgreSQL for the API's repository. Where the Debian packages are there already, or where
# this is no Debian with root, nothing is done, and what lacks them is skipped.
set -euo pipefail
python3 "$(dirname "$0")/cluster/cluster.py" tools helm kwok >/dev/null
"$(dirname "$0")/../.venv/bin/python" -c 'from forge_demo.prometheus import binaries; binaries()'
missing=()
command -v chromium >/dev/null || missing+=(chromium)
[ -x "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)" ] || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed: ${missing[*]} (needs root and apt); the tests that use them are skipped"
    exit 0
fi
PYTHONPATH="$(dirname "$0")/cluster" python3 -c 'import sys, machine; machine.ensure_packages(sys.argv[1:])' "${missing[@]}"
