// Programs of tests/programs, started for one test.
#pragma once

#include "support/scene.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <string>
#include <vector>

extern "C" char** environ;

namespace test {

/// Runs in a process group of its own, with stdout and stderr in files. Killed if still there at the
/// end.
class program {
public:
    /// `name` as in tests/programs/NAME.cpp.
    program(const scene& scene, const std::string& name, std::vector<std::string> arguments)
        : out_(scene.file(name + ".out")), err_(scene.file(name + ".err")) {
        const std::string path = std::string(BULKHEAD_TEST_PROGRAMS) + "/" + name;
        arguments.insert(arguments.begin(), path);
        std::vector<char*> argv;
        for (auto& argument : arguments) argv.push_back(argument.data());
        argv.push_back(nullptr);

        posix_spawn_file_actions_t files;
        ::posix_spawn_file_actions_init(&files);
        constexpr int flags = O_WRONLY | O_CREAT | O_TRUNC;
        ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out_.c_str(), flags, 0600);
        ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err_.c_str(), flags, 0600);
        posix_spawnattr_t attributes;
        ::posix_spawnattr_init(&attributes);
        ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        ::posix_spawnattr_setpgroup(&attributes, 0);
        const int failure =
            ::posix_spawn(&pid_, path.c_str(), &files, &attributes, argv.data(), environ);
        ::posix_spawn_file_actions_destroy(&files);
        ::posix_spawnattr_destroy(&attributes);
        if (failure != 0) throw std::system_error(failure, std::generic_category(), path);
    }
    ~program() {
        if (!reaped_) (void)kill();
    }
    program(const program&) = delete;
    program& operator=(const program&) = delete;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

    bulkhead::process_status wait() {
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        reaped_ = true;
        return WIFEXITED(status)
                   ? bulkhead::process_status::from_exit(WEXITSTATUS(status))
                   : bulkhead::process_status::from_signal(WTERMSIG(status), WCOREDUMP(status));
    }
    /// Only the program, none of what it started.
    bulkhead::process_status kill() {
        ::kill(pid_, SIGKILL);
        return wait();
    }
    void signal_group(int signal) const { ::kill(-pid_, signal); }

    [[nodiscard]] std::string out() const { return content(out_); }
    [[nodiscard]] std::string err() const { return content(err_); }

private:
    fs::path out_;
    fs::path err_;
    pid_t pid_ = 0;
    bool reaped_ = false;
};

}  // namespace test
