#include "storm_traces.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <malloc.h>
#include <sstream>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* mark_variable = "BULKHEAD_STORM_MARK";

}  // namespace

void mark_descendants() { ::setenv(mark_variable, std::to_string(::getpid()).c_str(), 1); }

std::size_t open_descriptors() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++count;
    return count;
}

std::set<std::string> shm_names() {
    std::set<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) {
        const std::string name = entry.path().filename();
        if (name.find("bulkhead") != std::string::npos) names.insert(name);
    }
    return names;
}

std::set<std::string> names_that_stay(const std::set<std::string>& before,
                                      std::chrono::steady_clock::time_point until) {
    auto names = shm_names();
    while (true) {
        const auto now = shm_names();
        std::erase_if(names, [&](const std::string& name) {
            return before.contains(name) || !now.contains(name);
        });
        if (names.empty() || std::chrono::steady_clock::now() >= until) return names;
        ::usleep(10'000);
    }
}

std::size_t descendants() {
    const std::string mark =
        std::string(mark_variable) + "=" + std::to_string(::getpid()) + std::string(1, '\0');
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        if (name == std::to_string(::getpid())) continue;
        std::ifstream file(entry.path() / "environ", std::ios::binary);
        // No istreambuf_iterator: it throws when the process ends meanwhile.
        std::ostringstream read;
        read << file.rdbuf();
        const std::string variables = read.str();
        if (variables.find(mark) != std::string::npos) ++count;
    }
    return count;
}

std::int64_t heap_bytes() {
    const auto heap = ::mallinfo2();
    return static_cast<std::int64_t>(heap.uordblks + heap.hblkhd);
}

}  // namespace bulkhead::tools
