// Files of cgroupfs: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel.
#include "os/memory_group.hpp"

#include "os/fd.hpp"

#include <bulkhead/error.hpp>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace bulkhead::os {
namespace {

/// The error number, 0 when all went well. One write: these files take a value whole.
int write_file(const std::string& path, const std::string& text) {
    const unique_fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) return errno;
    return ::write(file.get(), text.data(), text.size()) < 0 ? errno : 0;
}

bool lists(const std::string& path, const std::string& word) {
    std::ifstream file(path);
    for (std::string one; file >> one;) {
        if (one == word) return true;
    }
    return false;
}

/// A group without processes that is younger may be about to get its first.
constexpr std::time_t settled_after_s = 10;

/// Removes groups that are left over because their program and its keeper were killed together, or because the
/// program was itself a compartment of another: empty ones of processes that are no more.
void sweep(const std::string& directory) {
    for (const auto& path : memory_groups_in(directory, "")) {
        const std::string mark = path.substr(memory_group_path(directory, "").size());
        int pid = 0;
        (void)std::from_chars(mark.data(), mark.data() + mark.size(), pid);
        struct stat about {};
        const bool settled = ::stat(path.c_str(), &about) == 0 &&
                             std::time(nullptr) - about.st_ctime >= settled_after_s;
        if (pid > 0 && settled && ::kill(pid, 0) != 0 && errno == ESRCH) ::rmdir(path.c_str());
    }
}

[[noreturn]] void refuse(const std::string& directory, const std::string& why) {
    throw usage_error("bulkhead: worker_cgroup '" + directory + "' " + why);
}

}  // namespace

memory_cgroup::memory_cgroup(std::string directory) : directory_(std::move(directory)) {
    std::error_code failed;
    const auto absolute = std::filesystem::canonical(directory_, failed);
    if (failed) refuse(directory_, "is not there: " + failed.message());
    directory_ = absolute;  // for a keeper that works elsewhere, and for later
    const std::string controllers = directory_ + "/cgroup.controllers";
    is_v2_ = ::access(controllers.c_str(), F_OK) == 0;
    if (!is_v2_ && ::access((directory_ + "/memory.limit_in_bytes").c_str(), F_OK) != 0) {
        refuse(directory_, "is no directory of cgroup v2, nor one of v1's memory controller");
    }
    if (is_v2_ && !lists(controllers, "memory")) {
        refuse(directory_,
               "has no memory controller (cgroup.controllers does not list it; systemd: "
               "Delegate=yes)");
    }
    if (::access(directory_.c_str(), W_OK) != 0) {
        refuse(directory_, "cannot be written to by this user (systemd: Delegate=yes)");
    }
    sweep(directory_);
    const std::string enabled = directory_ + "/cgroup.subtree_control";
    if (!is_v2_ || lists(enabled, "memory")) return;
    const int failure = write_file(enabled, "+memory");
    if (failure == EBUSY) {
        refuse(directory_,
               "has processes of its own, so it cannot have limited groups: move them into a "
               "group in it first (systemd: DelegateSubgroup=)");
    }
    if (failure != 0) {
        refuse(directory_, "does not let groups in it be limited: cgroup.subtree_control: " +
                               errno_text(failure));
    }
}

std::string memory_group_path(const std::string& directory, const std::string& name) {
    return directory + "/bulkhead-" + name;
}

std::vector<std::string> memory_groups_in(const std::string& directory,
                                          const std::string& names_begin) {
    std::vector<std::string> found;
    const std::string path_begins = memory_group_path(directory, names_begin);
    std::error_code failure;
    for (std::filesystem::directory_iterator at(directory, failure), end; !failure && at != end;
         at.increment(failure)) {
        if (at->path().native().starts_with(path_begins)) found.push_back(at->path());
    }
    return found;
}

memory_group::memory_group(std::shared_ptr<const memory_cgroup> in, const std::string& name,
                           std::uint64_t bytes)
    : in_(std::move(in)), path_(memory_group_path(in_->directory(), name)) {
    if (::mkdir(path_.c_str(), 0755) != 0) {
        throw error("bulkhead: cannot make the cgroup " + path_ + ": " + errno_text(errno));
    }
    const std::string limit = in_->is_v2() ? "/memory.max" : "/memory.limit_in_bytes";
    const int failure = write_file(path_ + limit, std::to_string(bytes));
    if (failure != 0) {
        ::rmdir(path_.c_str());
        throw error("bulkhead: cannot limit the memory of the cgroup " + path_ + ": " +
                    errno_text(failure));
    }
    // Where there is no swap accounting, these are not there, and the limit is one of memory alone.
    if (in_->is_v2()) {
        (void)write_file(path_ + "/memory.swap.max", "0");
        (void)write_file(path_ + "/memory.oom.group", "1");  // the compartment as a whole
    } else {
        (void)write_file(path_ + "/memory.memsw.limit_in_bytes", std::to_string(bytes));
    }
}

memory_group::~memory_group() {
    // Where descendants still end, the keeper removes it behind them.
    ::rmdir(path_.c_str());
}

void memory_group::add(pid_t pid) const {
    const int failure = write_file(path_ + "/cgroup.procs", std::to_string(pid));
    if (failure != 0) {
        throw error("bulkhead: cannot put a worker into the cgroup " + path_ + ": " +
                    errno_text(failure));
    }
}

std::uint64_t memory_group::oom_kills() const noexcept {
    return counter_in(path_ + (in_->is_v2() ? "/memory.events" : "/memory.oom_control"),
                      "oom_kill");
}

std::uint64_t counter_in(const std::string& file, const std::string& name) noexcept {
    try {
        std::ifstream lines(file);
        std::string word;
        std::uint64_t count = 0;
        while (lines >> word >> count) {
            if (word == name) return count;
        }
    } catch (...) {
        return 0;
    }
    return 0;
}

}  // namespace bulkhead::os
