#!/usr/bin/env bash
# Every linter of the project, one line each; all of them run, and any that fails fails the whole.
set -uo pipefail
cd "$(dirname "$0")/.."
export FORGE_CACHE_DIR="${FORGE_CACHE_DIR:-$HOME/.cache/forge-observability}"
failed=()
step() { # NAME COMMAND...
    local name=$1 log
    shift
    log=$(mktemp)
    local began=$SECONDS
    if "$@" >"$log" 2>&1; then
        printf 'ok      %-14s %3d s\n' "$name" $((SECONDS - began))
    else
        printf 'FAILED  %-14s %3d s\n' "$name" $((SECONDS - began))
        sed 's/^/        /' "$log"
        failed+=("$name")
    fi
    rm -f "$log"
}

chart=charts/forge-observability
tools=$(python3 tests/cluster/cluster.py tools helm helm-docs kube-linter kube-score kubeconform operator-verify | tail -n 1)
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

types() { .venv/bin/mypy api/forge_api cli/forge_observability crds/forge_stack dbt/forge_transform demo/forge_demo \
    operator/forge_operator pipelines/forge_pipelines store/forge_store bench charts/olm; }

# The whole chart, and without the pod of `helm test`, which needs no probes.
render() {
    local template=("$tools/helm" template forge "$chart" --namespace forge-observability --kube-version 1.34.4)
    "${template[@]}" >"$rendered/chart.yaml"
    "${template[@]}" --no-hooks --set metrics.serviceMonitor.enabled=true >"$rendered/objects.yaml"
}

kubeconform() {
    local schemas
    schemas=$(python3 tests/kubernetes_schemas.py "$FORGE_CACHE_DIR/schemas-1.34.4")
    "$tools/kubeconform" -strict -summary -schema-location "$schemas/{{.ResourceKind}}{{.KindSuffix}}.json" \
        -skip CustomResourceDefinition "$rendered/chart.yaml"
}

# charts/lint.yaml names the tests that it is not to do. A limit of the processor only slows an operator down.
kube_score() {
    mapfile -t without < <(sed '1,/^kube-score:/d; s/^  \([a-z-]*\):.*/--ignore-test=\1/' charts/lint.yaml)
    "$tools/kube-score" score --kubernetes-version v1.34 --exit-one-on-warning --ignore-container-cpu-limit \
        "${without[@]}" "$rendered/objects.yaml"
}

# It ends with 0 whatever it finds, but is silent when it finds nothing.
bundle() {
    .venv/bin/python charts/olm/bundle.py "$rendered/bundle" || return
    "$tools/operator-verify" manifests --object_validate "$rendered/bundle" 2>&1 | tee /dev/stderr | (! grep -q .)
}

chart_page() {
    cp -r charts "$rendered/charts"
    "$tools/helm-docs" --chart-search-root "$rendered/charts" --sort-values-order file --log-level warning
    diff "$chart/README.md" "$rendered/$chart/README.md" || { echo "run make generate"; return 1; }
}

# Each room declares what it imports: its image holds nothing else. DEP002 (declared, not imported) is for drivers.
dependencies() {
    local room status=0
    for room in api cli crds dbt demo operator pipelines store; do
        (cd "$room" && ../.venv/bin/deptry . --ignore DEP002 --known-first-party forge_stack) || status=1
    done
    return $status
}

step ruff .venv/bin/ruff check .
step format .venv/bin/ruff format --check .
step mypy types
step imports .venv/bin/lint-imports
step dependencies dependencies
step sqlfluff .venv/bin/sqlfluff lint --config dbt/.sqlfluff dbt/models dbt/tests
step generated .venv/bin/forge-crd --check
step metrics .venv/bin/python -m forge_transform.reference --check
step helm-lint "$tools/helm" lint --strict "$chart"
step helm-render render
step kubeconform kubeconform
step kube-linter "$tools/kube-linter" lint --config charts/lint.yaml "$rendered/objects.yaml"
step kube-score kube_score
step chart-page chart_page
step bundle bundle

if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
