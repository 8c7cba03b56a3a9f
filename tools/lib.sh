# Shared by tools/demo, tools/check and .ci/run. Sourced by bash; defines functions, `root`, `jobs`.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=${BULKHEAD_JOBS:-$(nproc)}

say() { printf '== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# package: command that shows it is there (- for none): what it is for
packages_to_build="
g++:g++:the compiler
cmake:cmake:configures the build
ninja-build:ninja:runs the build
ccache:ccache:makes building again quick
libboost1.81-dev:-:Boost headers (Asio, Process, Interprocess, PFR)
libboost-program-options1.81-dev:-:command lines of tools and examples
libboost-json1.81-dev:-:--json of the tools
"
packages_to_test="
libboost-test1.81-dev:-:Boost.Test
libboost-serialization1.81-dev:-:classes with a serialize() as arguments
pkg-config:pkg-config:tests that the installed package is found
"

dpkg_has() {
    dpkg-query -W -f='${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | grep '^installed '
}

# A Boost package counts in its version of 1.81 and, on a newer system, in the system's own version.
have_package() {
    local package=$1 command=$2 version
    if [[ $command != - ]]; then
        command -v "$command" >/dev/null
    elif ! command -v dpkg-query >/dev/null; then
        true # CMake looks for it and says what it misses
    else
        dpkg_has "$package" >/dev/null && return
        version=$(dpkg_has "${package/1.81/}") &&
            dpkg --compare-versions "${version#installed }" ge 1.81
    fi
}

# need_packages LIST...: installs with apt what is not there; touches nothing when all of it is.
need_packages() {
    local package command why missing=() as_root=()
    while IFS=: read -r package command why; do
        [[ -z $package ]] || have_package "$package" "$command" && continue
        ((${#missing[@]})) || say "Missing on this machine:"
        printf '   %-34s %s\n' "$package" "$why"
        missing+=("$package")
    done <<<"$(printf '%s\n' "$@")"

    if ((${#missing[@]})); then
        command -v apt-get >/dev/null ||
            die "not a Debian-like system (no apt-get); install ${missing[*]} and Boost 1.81"
        if (($(id -u) != 0)); then
            command -v sudo >/dev/null ||
                die "neither root nor sudo; an administrator can: apt-get install ${missing[*]}"
            as_root=(sudo)
        fi
        say "Installing them with ${as_root[*]:+${as_root[*]} }apt-get"
        "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update ||
            say "apt-get update failed; going on with the package lists that are there"
        apt-cache show libboost1.81-dev >/dev/null 2>&1 || missing=("${missing[@]/1.81/}")
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends \
            install "${missing[@]}" ||
            die "apt-get could not install ${missing[*]}"
    fi

    local cmake_version
    cmake_version=$(cmake --version | sed -n '1s/.* //p')
    [[ $(printf '%s\n' 3.25 "$cmake_version" | sort -V | head -n 1) == 3.25 ]] ||
        die "CMake is $cmake_version here; 3.25 or newer is needed (Debian 12 has it; or cmake.org)"
}

# configure DIR [CMAKE_ARGUMENT...]
configure() {
    local dir=$1
    shift
    say "Configuring ${dir#"$root"/}"
    cmake -S "$root" -B "$dir" -G Ninja --log-level=WARNING "$@"
}

# build DIR [TARGET...]
build() {
    local dir=$1
    shift
    say "Building ${dir#"$root"/} with $jobs jobs"
    NINJA_STATUS='[%f/%t, %es] ' cmake --build "$dir" -j "$jobs" ${1:+--target "$@"}
}

# run_tests DIR [CTEST_ARGUMENT...]: two at a time, so that what a test measures is not all noise.
run_tests() {
    local dir=$1
    shift
    say "Testing ${dir#"$root"/}"
    ctest --test-dir "$dir" --output-on-failure --no-tests=error -j "$((jobs < 2 ? jobs : 2))" "$@"
}
