// What /proc and /sys tell: who lives, how large, how many CPUs.
#include "os/procfs.hpp"

#include "os/fd.hpp"
#include "os/memory_group.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <sstream>
#include <string_view>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace bulkhead::os {
namespace {

/// The path of this process in the hierarchy of a cgroup v1 controller, or of v2 (""); "/" when it is in
/// none. Lines are "0::/path" or "4:memory:/path".
std::string cgroup_path(const std::string& controller) {
    std::ifstream self("/proc/self/cgroup");
    for (std::string line; std::getline(self, line);) {
        const auto names = line.find(':') + 1;
        const auto path = line.find(':', names);
        if (names == 0 || path == std::string::npos) continue;
        std::istringstream all(line.substr(names, path - names));
        std::string name;
        bool found = path == names && controller.empty();
        while (std::getline(all, name, ',')) found = found || name == controller;
        if (found) return line.substr(path + 1);
    }
    return "/";
}

/// The directory of this process in such a hierarchy, and those above it.
std::vector<std::string> cgroup_levels(const std::string& controller) {
    const std::string root = "/sys/fs/cgroup" + (controller.empty() ? "" : "/" + controller);
    std::vector<std::string> levels{root};
    const std::string path = cgroup_path(controller);
    for (auto end = path.find('/', 1); path.size() > 1; end = path.find('/', end + 1)) {
        levels.push_back(root + path.substr(0, end));
        if (end == std::string::npos) break;
    }
    return levels;
}

std::string cgroup_file(const std::string& controller, const std::string& name) {
    return cgroup_levels(controller).back() + "/" + name;
}

}  // namespace

void limit_own_memory(std::uint64_t bytes) noexcept {
    rlimit limit{};
    ::getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
    limit.rlim_max = limit.rlim_cur;  // a task cannot raise it
    ::setrlimit(RLIMIT_DATA, &limit);
}

std::uint64_t own_private_bytes() noexcept {
    // No stream, which would allocate.
    char text[128];
    const unique_fd file(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
    const auto got = ::read(file.get(), text, sizeof text - 1);
    if (got <= 0) return 0;
    text[got] = '\0';
    unsigned long long total = 0;
    unsigned long long resident = 0;
    unsigned long long shared = 0;
    // NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit
    if (std::sscanf(text, "%llu %llu %llu", &total, &resident, &shared) != 3) return 0;
    return (resident - std::min(resident, shared)) *
           static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
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

std::optional<process_stat> stat_of(pid_t id) noexcept {
    constexpr unsigned state_field = 3;
    constexpr unsigned flags_field = 9;
    constexpr unsigned threads_field = 20;
    constexpr unsigned start_time_field = 22;
    constexpr unsigned code_begin_field = 26;
    constexpr unsigned environment_begin_field = 50;
    constexpr unsigned environment_end_field = 51;
    char path[32];
    (void)std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(id));
    const unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
    char text[1024];
    const auto got = file ? ::read(file.get(), text, sizeof text) : -1;
    if (got <= 0) return std::nullopt;
    std::string_view rest(text, static_cast<std::size_t>(got));
    // The program's name, in parentheses, may hold anything.
    const auto name_end = rest.rfind(") ");
    if (name_end == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(name_end + 2);
    process_stat line{};
    for (unsigned field = state_field; !rest.empty(); ++field) {
        const auto end = rest.find(' ');
        const std::string_view word = rest.substr(0, end);
        const char* const last = word.data() + word.size();
        if (field == state_field) line.state = word.front();
        if (field == flags_field) std::from_chars(word.data(), last, line.flags);
        if (field == threads_field) std::from_chars(word.data(), last, line.threads);
        if (field == start_time_field) std::from_chars(word.data(), last, line.started_ticks);
        if (field == code_begin_field) std::from_chars(word.data(), last, line.code_begin);
        if (field == environment_begin_field) {
            std::from_chars(word.data(), last, line.environment_begin);
        }
        if (field == environment_end_field) {
            std::from_chars(word.data(), last, line.environment_end);
            return line;
        }
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    return std::nullopt;
}

bool has_empty_environment(const process_stat& of) noexcept {
    return of.code_begin != 0 && of.environment_end != 0 &&
           of.environment_begin == of.environment_end;
}

std::vector<pid_t> ids_in(const std::string& directory) {
    std::vector<pid_t> ids;
    DIR* const entries = ::opendir(directory.c_str());
    if (entries == nullptr) return ids;
    while (const dirent* entry = ::readdir(entries)) {
        const std::string_view name = entry->d_name;
        pid_t id = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
        if (error == std::errc{} && end == name.data() + name.size()) ids.push_back(id);
    }
    ::closedir(entries);
    return ids;
}

std::uint64_t oom_kills() noexcept {
    try {
        for (const auto& file :
             {cgroup_file("", "memory.events"), cgroup_file("memory", "memory.oom_control")}) {
            if (::access(file.c_str(), R_OK) == 0) return counter_in(file, "oom_kill");
        }
    } catch (...) {
        return 0;
    }
    return counter_in("/proc/vmstat", "oom_kill");
}

unsigned usable_cpus() noexcept {
    cpu_set_t set;
    CPU_ZERO(&set);
    unsigned cpus = 1;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        cpus = static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
    }
    const auto at_most = [&](double quota, double period) {
        if (quota <= 0 || period <= 0) return;
        cpus = std::clamp(static_cast<unsigned>(quota / period + 0.999), 1U, cpus);
    };
    try {
        // Each level may set a quota: v2 "max 100000" or "150000 100000", v1 -1 or 150000.
        double quota = 0;
        double period = 0;
        for (const auto& level : cgroup_levels("")) {
            std::ifstream limits(level + "/cpu.max");
            if (limits >> quota >> period) at_most(quota, period);
        }
        for (const auto& level : cgroup_levels("cpu")) {
            std::ifstream quotas(level + "/cpu.cfs_quota_us");
            std::ifstream periods(level + "/cpu.cfs_period_us");
            if (quotas >> quota && periods >> period) at_most(quota, period);
        }
    } catch (...) {
        return cpus;
    }
    return cpus;
}

}  // namespace bulkhead::os
