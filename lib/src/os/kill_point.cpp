// Which kill point is armed, and the kill.
#ifdef BULKHEAD_KILL_POINTS

#include "os/kill_point.hpp"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>
#include <unistd.h>

namespace bulkhead::os {
namespace {

struct armed {
    std::string name;
    std::string token;  // empty: no other process is asked
    std::atomic<unsigned> left{0};

    armed() {
        const char* at = std::getenv("BULKHEAD_KILL_AT");
        if (at == nullptr) return;
        const std::string text = at;
        const auto colon = text.rfind(':');
        name = text.substr(0, colon);
        left = colon == std::string::npos
                   ? 1U
                   : static_cast<unsigned>(std::strtoul(text.c_str() + colon + 1, nullptr, 10));
        if (const char* file = std::getenv("BULKHEAD_KILL_ONCE")) token = file;
    }
};

armed& the_point() {
    static armed point;
    return point;
}

}  // namespace

void arm_kill_point(std::string_view name, unsigned nth) {
    armed& point = the_point();
    point.name = name;
    point.token.clear();
    point.left = nth;
}

void pass_kill_point(std::string_view name) noexcept {
    armed& point = the_point();
    if (point.left == 0 || point.name != name) return;
    if (point.left.fetch_sub(1) != 1) return;
    if (!point.token.empty() && ::unlink(point.token.c_str()) != 0) return;
    ::kill(::getpid(), SIGKILL);
    while (true) ::pause();  // until it arrives
}

}  // namespace bulkhead::os

#endif
