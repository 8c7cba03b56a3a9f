#!/bin/sh
# parallel_grep.sh PROGRAM FOLDER: finds what grep finds, tells a bad expression, and survives one that
# overflows the stack of std::regex.
set -eu
ulimit -S -s 8192
ulimit -c 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" 'std::[a-z]+_ptr' "$2" | sort >"$work/found"
grep -rnE 'std::[a-z]+_ptr' "$2" | sort | cmp - "$work/found"
code=0
"$1" 'no such text at all' "$2" || code=$?
test $code = 1
code=0
"$1" '(' "$2/codec.cpp" 2>"$work/said" || code=$?
test $code = 1
grep -q codec.cpp "$work/said"
printf 'ab\n' >"$work/1"
head -c 1000000 /dev/zero | tr '\0' a >"$work/2"
printf 'ab\n' >"$work/3"
"$1" '(a|b)+' "$work/1" "$work/2" "$work/3" >"$work/found" 2>"$work/said"
test "$(wc -l <"$work/found")" = 2
grep -q "2: bulkhead: worker .* was killed by SIGSEGV" "$work/said"
