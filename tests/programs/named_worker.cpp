// A worker program: its tasks go by name, and crash where a third party's library would.
#include "support/named.hpp"

#include <bulkhead/bulkhead.hpp>

#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <stop_token>
#include <unistd.h>

namespace {

int set_up_with = 0;

test::picture decode(const std::string& bytes) {
    if (bytes == "bad") throw std::invalid_argument("not a picture");
    if (bytes == "evil") std::raise(SIGSEGV);
    return {static_cast<int>(bytes.size()), 1, {bytes.begin(), bytes.end()}};
}

int square(int x) noexcept { return x * x; }

void set_up(int with) { set_up_with = with; }

template <class Left, class Right>
std::string longest(const Left& left, const Right& right) {
    return left.size() < right.size() ? right : left;
}

int wait_for_stop(std::stop_token stop, int x) {
    while (!stop.stop_requested()) ::usleep(1000);
    return x;
}

}  // namespace

BULKHEAD_TASK("longest", longest<std::string, std::string>);
BULKHEAD_TASK("decode", decode);
BULKHEAD_TASK("square", square);
BULKHEAD_TASK("set up", set_up);
BULKHEAD_TASK(
    "set up with", +[] { return set_up_with; });
BULKHEAD_TASK("wait for stop", wait_for_stop);
BULKHEAD_TASK("twice", square);
BULKHEAD_TASK("twice", square);

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    std::puts("started by hand");
}
