// A task with children of every kind, and how to find the keeper.
#pragma once

#include "support/events.hpp"

#include <csignal>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace test {

/// Five processes in the file `born`, that never end by themselves: a child, its child that ignores
/// SIGTERM, a child in a session of its own, a daemon (forked twice, its parents gone), and a program.
inline void beget(const fs::path& born) {
    const fs::path log = born.string() + ".log";
    const auto live = [&](const char* name) {
        append_line(log, name + (" " + std::to_string(::getpid())));
        while (true) ::pause();
    };
    if (::fork() == 0) {
        if (::fork() == 0) {
            ::signal(SIGTERM, SIG_IGN);
            live("grandchild");
        }
        live("child");
    }
    if (::fork() == 0) {
        ::setsid();
        live("session");
    }
    const pid_t parent_of_daemon = ::fork();
    if (parent_of_daemon == 0) {
        ::setsid();
        if (::fork() == 0) live("daemon");
        ::_exit(0);
    }
    ::waitpid(parent_of_daemon, nullptr, 0);
    if (::fork() == 0) {
        ::setsid();
        append_line(log, "program " + std::to_string(::getpid()));
        ::execlp("sleep", "sleep", "1000", nullptr);
        ::_exit(127);
    }
    until([&] { return lines_of(log).size() == 5; });
    fs::rename(log, born);
}

inline std::vector<pid_t> family(const fs::path& born) {
    await(born);
    std::vector<pid_t> pids;
    for (const auto& line : lines_of(born)) {
        pids.push_back(static_cast<pid_t>(std::stoi(line.substr(line.find(' ')))));
    }
    return pids;
}

inline void beget_and_hang(const fs::path& born) {
    beget(born);
    while (true) ::pause();
}

/// From its first instruction on, before it has taken its name.
inline bool is_keeper(pid_t pid) {
    return content("/proc/" + std::to_string(pid) + "/cmdline").find("--bulkhead-keeper") !=
           std::string::npos;
}

inline std::vector<pid_t> children_of(pid_t parent) {
    std::vector<pid_t> found;
    std::error_code ignored;
    const fs::path threads = "/proc/" + std::to_string(parent) + "/task";
    for (const auto& thread : fs::directory_iterator(threads, ignored)) {
        std::istringstream children(content(thread.path() / "children"));
        for (pid_t child = 0; children >> child;) found.push_back(child);
    }
    return found;
}

/// The children of a process that are keepers, and have taken their name.
inline std::vector<pid_t> keepers_of(pid_t parent) {
    auto found = children_of(parent);
    std::erase_if(found, [](pid_t child) {
        return content("/proc/" + std::to_string(child) + "/comm") != "bulkhead-keeper\n" ||
               is_dead(child);
    });
    return found;
}

/// The one keeper, once it has taken its name.
inline std::vector<pid_t> await_keeper(pid_t parent) {
    std::vector<pid_t> found;
    until([&] {
        found = keepers_of(parent);
        return found.size() == 1;
    });
    return found;
}

}  // namespace test
