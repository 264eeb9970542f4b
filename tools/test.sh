#!/usr/bin/env bash
# Every test, two files at a time; files in which a test failed, if there are few, once more and alone.
#
#   tools/test.sh [pytest's arguments]
#
# Two at a time, because real programs are waited for. Not more: what is about milliseconds needs a core that is free now and then.
# Once more, because brokers, clocks and kernels are the real ones and run in real time, on a machine that has other work: a test can
# lose a race the product would not. Who passes only alone is named at the end, and is to be mended; who fails alone, too, has failed.
# Many at once are no lost race, so they get no second chance. Ends with pytest's own status.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pytest=.venv/bin/pytest
lost_races_max=5
# As installed: compiled once, not at each of the several hundred starts of a process, nor each test file by every worker and again.
unset PYTHONDONTWRITEBYTECODE

status=0
"$pytest" -n 2 --dist loadfile "$@" || status=$?
[ "$status" = 1 ] || exit "$status"  # 1: tests failed. Anything else is no result at all.

failed="$("$pytest" --last-failed --last-failed-no-failures none --collect-only "$@" | grep '::' || true)"
count="$(grep -c . <<<"$failed" || true)"
if [ "$count" -lt 1 ] || [ "$count" -gt "$lost_races_max" ]; then
    exit "$status"
fi
echo "test: $count failed beside others; once more, alone"
mapfile -t files < <(cut -d: -f1 <<<"$failed" | sort -u)  # whole files: the tests of one may share a room
status=0
"$pytest" "${files[@]}" || status=$?
if [ "$status" = 0 ]; then
    echo "test: passed alone, failed beside others, to be mended:"
    while read -r name; do echo "test:   $name"; done <<<"$failed"
fi
exit "$status"
