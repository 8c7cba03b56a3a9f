// What /proc and /sys tell: who lives, how large, how many CPUs.
#include "os/spawn.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sched.h>
#include <sstream>
#include <sys/stat.h>

namespace bulkhead::os {
namespace {

/// Field 22 of /proc/PID/stat; the command before it may hold anything, so count from its end.
std::string start_time(const std::string& pid) {
    std::ifstream file("/proc/" + pid + "/stat");
    std::string line;
    std::getline(file, line);
    const auto end = line.rfind(')');
    if (end == std::string::npos) return {};
    std::istringstream fields(line.substr(end + 1));
    std::string field;
    for (int i = 3; i <= 22; ++i) fields >> field;
    return field;
}

std::string pid_namespace() {
    struct stat info {};
    return ::stat("/proc/self/ns/pid", &info) == 0 ? std::to_string(info.st_ino) : "0";
}

}  // namespace

std::string process_tag() {
    const std::string pid = std::to_string(::getpid());
    return pid + "." + start_time(pid) + "." + pid_namespace();
}

bool tag_lives(const std::string& tag) {
    const auto first = tag.find('.');
    const auto second = tag.find('.', first + 1);
    if (first == std::string::npos || second == std::string::npos) return true;
    if (tag.substr(second + 1) != pid_namespace()) return true;  // cannot be seen from here
    return start_time(tag.substr(0, first)) == tag.substr(first + 1, second - first - 1);
}

std::uint64_t resident_bytes(pid_t pid) noexcept {
    try {
        std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
        std::uint64_t total = 0;
        std::uint64_t resident = 0;
        if (!(file >> total >> resident)) return 0;
        return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    } catch (...) {
        return 0;
    }
}

unsigned usable_cpus() noexcept {
    cpu_set_t set;
    CPU_ZERO(&set);
    unsigned cpus = 1;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        cpus = static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
    }
    try {
        // cgroup v2: "0::/path"; each level may set a quota, "max 100000" or "150000 100000".
        std::ifstream self("/proc/self/cgroup");
        std::string line;
        while (std::getline(self, line) && line.rfind("0::", 0) != 0) {
        }
        std::string path = line.rfind("0::", 0) == 0 ? line.substr(3) : "/";
        while (true) {
            std::ifstream limits("/sys/fs/cgroup" + path + "/cpu.max");
            std::string quota;
            double period = 0;
            if (limits >> quota >> period && quota != "max" && period > 0) {
                double amount = 0;
                const auto* end = quota.data() + quota.size();
                if (std::from_chars(quota.data(), end, amount).ec == std::errc{}) {
                    const auto whole = static_cast<unsigned>(amount / period + 0.999);
                    cpus = std::clamp(whole, 1U, cpus);
                }
            }
            const auto slash = path.rfind('/');
            if (path.size() <= 1 || slash == std::string::npos) break;
            path.resize(slash == 0 ? 1 : slash);
        }
    } catch (...) {
        return cpus;
    }
    return cpus;
}

}  // namespace bulkhead::os
