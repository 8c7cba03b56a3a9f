#!/usr/bin/env bash
# asio_server.sh PROGRAM: starts the service, and sends it lines that crash it or keep it among
# others that do not, over two connections at once.
set -euo pipefail

coproc server { exec "$1"; }
# shellcheck disable=SC2154
pid=$server_PID
trap 'kill "$pid" 2>/dev/null || true' EXIT
read -r _ port <&"${server[0]}"
exec 3<>"/dev/tcp/127.0.0.1/$port" 4<>"/dev/tcp/127.0.0.1/$port"

expect() {
    local answer
    read -r answer <&"$1"
    [[ $answer == "$2" ]] || { echo "it answered \"$answer\" instead of \"$2\"" >&2; exit 1; }
}

printf '1 2 3\ncrash\n4 5\n' >&3
printf '10 20\nhang\ncrash\n7\n' >&4
expect 3 6
expect 3 'the parser was killed by SIGSEGV'
expect 3 9
expect 4 30
read -r late <&4
[[ $late == *'longer than its timeout'* ]] || { echo "it answered \"$late\"" >&2; exit 1; }
expect 4 'the parser was killed by SIGSEGV'
expect 4 7
printf 'no number\n' >&3
expect 3 stol
printf 'half a line' >&4
exec 4>&-
printf '8 9\n' >&3
expect 3 17

kill -TERM "$pid"
wait "$pid"
