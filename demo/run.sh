#!/usr/bin/env bash
# The demo: the simulated organisation, and one stack on this machine that loads it. `demo/run.sh [--once]`.
# One process tree: whatever ends it (Ctrl-C, --once, an error) ends all of it.
set -euo pipefail
home=${FORGE_DEMO_DIR:-.forge}
mkdir -p "$home"
urls=$home/world.json
rm -f "$urls"
[ -n "${ONCE_KEEP_DATA:-}" ] || rm -rf "$home/demo" # another world than last time: its loads start anew

began=$SECONDS
forge-demo serve --speed 1 >"$urls" 2>"$home/world.log" &
world=$!
trap 'kill "$world" 2>/dev/null; wait "$world" 2>/dev/null || true' EXIT
until [ -s "$urls" ]; do
    kill -0 "$world" 2>/dev/null || { cat "$home/world.log" >&2; exit 1; }
    sleep 0.2
done
echo "simulated organisation ready after $((SECONDS - began)) s (its APIs: $urls, its log: $home/world.log)"
field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["urls"][sys.argv[2]])' "$urls" "$1"; }
world_url=$(field world)
forge-demo stack --auth None --url "${world_url%/_world}" --prometheus-url "$(field prometheus)" >"$home/demo.yaml"
forge-observability up -f "$home/demo.yaml" --data-dir "$home" "$@"
