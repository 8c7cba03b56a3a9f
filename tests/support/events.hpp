// Events between processes, as files that come into being at once; and what /proc tells of processes.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#if defined(__has_feature)
#define TEST_HAS_FEATURE(feature) __has_feature(feature)
#else
#define TEST_HAS_FEATURE(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || TEST_HAS_FEATURE(thread_sanitizer)
#define TEST_THREAD_SANITIZER 1
#else
#define TEST_THREAD_SANITIZER 0
#endif

namespace test {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

#if TEST_THREAD_SANITIZER || defined(__SANITIZE_ADDRESS__) || TEST_HAS_FEATURE(address_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

// ---- events: a file that comes into being at once, with what it says

inline void announce(const fs::path& file, std::string_view text = {}) {
    const fs::path unfinished = file.string() + ".tmp" + std::to_string(::getpid());
    std::ofstream(unfinished, std::ios::binary) << text;
    fs::rename(unfinished, file);
}

inline void announce_pid(const fs::path& file) { announce(file, std::to_string(::getpid())); }

/// Waits until another process or thread has made it so.
template <class Predicate>
void until(Predicate&& is_so) {
    while (!is_so()) ::usleep(500);
}

/// What could be read of it. Of a process in /proc that ends meanwhile that is nothing, and no exception,
/// as an istreambuf_iterator would throw.
inline std::string content(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

/// Waits for an announcement.
inline std::string await(const fs::path& file) {
    until([&] { return fs::exists(file); });
    return content(file);
}

inline pid_t await_pid(const fs::path& file) { return static_cast<pid_t>(std::stoi(await(file))); }

/// One record of several processes into one file.
inline void append_line(const fs::path& file, const std::string& line) {
    std::FILE* out = std::fopen(file.c_str(), "a");
    if (out == nullptr) std::abort();
    std::fprintf(out, "%s\n", line.c_str());
    std::fclose(out);
}

inline std::vector<std::string> lines_of(const fs::path& file) {
    std::vector<std::string> lines;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

// ---- processes

/// R, S, D, T, Z, ... of a process (or "PID/task/TID"); 0 when there is none.
inline char process_state(const std::string& process) {
    std::ifstream file("/proc/" + process + "/stat");
    std::string line;
    std::getline(file, line);
    const auto end = line.rfind(')');
    return end == std::string::npos || end + 2 >= line.size() ? '\0' : line[end + 2];
}

inline bool is_dead(pid_t pid) {
    const char state = process_state(std::to_string(pid));
    return state == '\0' || state == 'Z' || state == 'X';
}

inline bool is_asleep(pid_t pid) { return process_state(std::to_string(pid)) == 'S'; }

/// Not even a zombie is left.
inline bool is_gone(pid_t pid) { return process_state(std::to_string(pid)) == '\0'; }

inline void await_dead(pid_t pid) {
    until([&] { return is_dead(pid); });
}

inline constexpr const char* mark_variable = "BULKHEAD_TEST_MARK";

/// Whether a process has an environment of no bytes, rather than none for the moment in which it becomes
/// another program: fields 50 and 51 of its stat say where that lies, 26 where its code does.
inline bool has_empty_environment(const fs::path& process) {
    const std::string line = content(process / "stat");
    std::istringstream fields(line.substr(std::min(line.size(), line.rfind(')') + 1)));
    std::vector<std::string> all(3);
    for (std::string field; fields >> field;) all.push_back(field);
    return all.size() > 51 && all[26] != "0" && all[50] != "0" && all[50] == all[51];
}

/// Of /proc/PID. A thread of the kernel has none, nor an executable.
inline std::string environment_of(const fs::path& process) {
    while (true) {
        std::string variables = content(process / "environ");
        std::error_code none;
        if (!variables.empty() || has_empty_environment(process) ||
            fs::read_symlink(process / "exe", none).empty() ||
            is_dead(static_cast<pid_t>(std::stol(process.filename())))) {
            return variables;
        }
        ::usleep(100);
    }
}

/// Every living process that inherited this mark in its environment, whoever its parent is now.
inline std::vector<pid_t> processes_marked(const std::string& mark) {
    const std::string wanted = std::string(mark_variable) + "=" + mark;
    std::vector<pid_t> found;
    std::set<std::string> seen;
    // One that is missed may have ended between the list of all and the look at it, and have left
    // another.
    for (bool news = true; news && found.empty();) {
        news = false;
        for (const auto& entry : fs::directory_iterator("/proc")) {
            const std::string name = entry.path().filename();
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            if (!seen.insert(name).second) continue;
            news = true;
            const auto pid = static_cast<pid_t>(std::stol(name));
            if (pid == ::getpid()) continue;
            std::istringstream variables(environment_of(entry.path()));
            for (std::string one; std::getline(variables, one, '\0');) {
                if (one == wanted && !is_dead(pid)) {
                    found.push_back(pid);
                    break;
                }
            }
        }
    }
    return found;
}

/// The library's names in /dev/shm that belong to the process `pid`.
inline std::vector<std::string> shm_names_of(pid_t pid) {
    const std::string owner = "-" + std::to_string(pid) + ".";
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) {
        const std::string name = entry.path().filename();
        if (name.find("bulkhead") != std::string::npos && name.find(owner) != std::string::npos) {
            names.push_back(name);
        }
    }
    return names;
}

inline std::vector<std::string> open_files() {
    std::vector<std::string> targets;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
        std::error_code ignored;
        targets.push_back(entry.path().filename().string() + " -> " +
                          fs::read_symlink(entry.path(), ignored).string());
    }
    return targets;
}

template <class Values>
std::string joined(const Values& values) {
    std::ostringstream text;
    for (const auto& value : values) text << "\n  " << value;
    return text.str();
}

}  // namespace test
