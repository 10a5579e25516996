#!/usr/bin/env bash
# Checks the old and the new ref out, beside each other, and installs the application in both.
# Reads: OLD_REF, NEW_REF, FOLDER, INSTALL. Without OLD_REF there is nothing to do.
set -euo pipefail

[ -n "$OLD_REF" ] || exit 0

for which in old new; do
    ref=$([ "$which" = old ] && echo "$OLD_REF" || echo "$NEW_REF")
    if ! git rev-parse --quiet --verify "$ref^{commit}" > /dev/null; then
        # A checkout of depth 1 has only its own commit.
        git fetch --quiet --depth 1 origin "$ref" || {
            echo "::error title=hitless::$which-ref: there is no commit $ref"
            exit 2
        }
        ref=FETCH_HEAD
    fi
    git worktree add --quiet --force --detach ".hitless/$which" "$ref"
    if [ -n "$INSTALL" ]; then
        (cd ".hitless/$which/$FOLDER" && bash -euo pipefail -c "$INSTALL")
    fi
done
