#!/usr/bin/env bash
# Runs the scenario, and tells the next steps where the evidence is.
# Reads: SCENARIO, OLD_REF, OLD_VERSION, NEW_VERSION, FOLDER, STRATEGY, ARGUMENTS.
# The step's status is that of `hitless run`, which also writes the step summary and annotations.
set -uo pipefail

refs=()
if [ -n "$OLD_REF" ]; then
    refs=(
        --set "versions.$OLD_VERSION.cwd=\"$PWD/.hitless/old/$FOLDER\""
        --set "versions.$NEW_VERSION.cwd=\"$PWD/.hitless/new/$FOLDER\""
    )
fi
# Whoever wrote the workflow separates further arguments with spaces, as in a shell.
eval "more=($ARGUMENTS)"

out=$(mktemp -d "${RUNNER_TEMP:-/tmp}/hitless-XXXXXX")
hitless run "$SCENARIO" --strategy "$STRATEGY" --no-live --out "$out" "${refs[@]}" "${more[@]}"
status=$?

folder=$(find "$out" -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)
{
    echo "folder=$folder"
    echo "verdict=$(sed -n 's/^ *"verdict": "\([a-z]*\)".*/\1/p' "$folder/verdict.json" 2> /dev/null | head -n 1)"
} >> "$GITHUB_OUTPUT"
exit $status
