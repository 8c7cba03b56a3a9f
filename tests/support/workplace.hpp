// A directory to run the command line tools in, as a shell's user does.
#pragma once

#include "support/forked.hpp"

#include <bulkhead/queue.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <unistd.h>

namespace test {

/// A directory of its own, and the tools in it by name.
class workplace : public leaves_nothing {
public:
    workplace() : directory_(std::filesystem::temp_directory_path() / unique_name()) {
        std::filesystem::create_directory(directory_);
    }
    ~workplace() { std::filesystem::remove_all(directory_); }
    workplace(const workplace&) = delete;
    workplace& operator=(const workplace&) = delete;

    /// Starts `script` with sh, in the directory; W, R and B are the tools, Q is a new queue's name.
    [[nodiscard]] pid_t start(const std::string& script) const {
#ifdef BULKHEAD_TOOLS_DIR
        const std::string tools = BULKHEAD_TOOLS_DIR;
#else
        const std::string tools = std::filesystem::read_symlink("/proc/self/exe").parent_path();
#endif
        const std::string all = "cd '" + directory_.string() + "' && W='" + tools +
                                "/bulkhead-writer' R='" + tools + "/bulkhead-reader' B='" + tools +
                                "/bulkhead' Q='" + queue_ + "'; " + script;
        return forked([&] {
            // A shell's background job, as which the tests may run, ignores it.
            ::signal(SIGINT, SIG_DFL);
            ::execl("/bin/sh", "sh", "-c", all.c_str(), nullptr);
            ::_exit(127);
        });
    }
    [[nodiscard]] int run(const std::string& script) const { return ended(start(script)); }

    void write(const std::string& file, const std::string& content) const {
        std::ofstream(directory_ / file, std::ios::binary) << content;
    }
    [[nodiscard]] std::string read(const std::string& file) const {
        std::ifstream from(directory_ / file, std::ios::binary);
        return {std::istreambuf_iterator<char>(from), {}};
    }
    [[nodiscard]] const std::string& queue_name() const { return queue_; }
    [[nodiscard]] bulkhead::queue<std::string> open() const {
        const std::string path =
            "/dev/shm/bulkhead-" + std::to_string(::geteuid()) + "-queue-" + queue_;
        until([&] { return std::filesystem::exists(path); });
        return bulkhead::queue<std::string>::open(queue_);
    }
    void remove_queue() const { bulkhead::queue<std::string>::remove(queue_); }

private:
    std::filesystem::path directory_;
    std::string queue_ = unique_name();
};

}  // namespace test
