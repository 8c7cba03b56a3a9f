// Memory cgroups: a limit on all that a worker and its descendants have together, kept by the kernel.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace bulkhead::os {

/// A directory of cgroupfs in which groups can be made: cgroup v2's, or that of v1's memory controller.
class memory_cgroup {
public:
    /// Throws usage_error that says what the directory lacks. Removes what dead programs have left in it. In v2 it switches the memory controller on for
    /// groups in there.
    explicit memory_cgroup(std::string directory);

    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    [[nodiscard]] bool is_v2() const noexcept { return is_v2_; }

private:
    std::string directory_;
    bool is_v2_ = false;
};

/// One group, which ends with its owner here if no process is in it any more.
class memory_group {
public:
    /// Makes it, for `bytes` of memory, swap included. Throws bulkhead::error with the cause.
    memory_group(std::shared_ptr<const memory_cgroup> in, const std::string& name,
                 std::uint64_t bytes);
    ~memory_group();
    memory_group(const memory_group&) = delete;
    memory_group& operator=(const memory_group&) = delete;

    /// What it starts from then on is in the group too. Throws bulkhead::error with the cause.
    void add(pid_t pid) const;
    /// How many of its processes the kernel has killed at the limit; 0 when unknown.
    [[nodiscard]] std::uint64_t oom_kills() const noexcept;

private:
    std::shared_ptr<const memory_cgroup> in_;
    std::string path_;
};

/// "DIRECTORY/bulkhead-NAME": of a group in a directory.
[[nodiscard]] std::string memory_group_path(const std::string& directory, const std::string& name);

/// Those whose names begin so.
[[nodiscard]] std::vector<std::string> memory_groups_in(const std::string& directory,
                                                        const std::string& names_begin);

/// The number behind `name` in a file of "name number" lines, of cgroupfs or /proc; 0 when there is none.
[[nodiscard]] std::uint64_t counter_in(const std::string& file, const std::string& name) noexcept;

}  // namespace bulkhead::os
