// Which processes have a file open or mapped.
#pragma once

#include <compare>
#include <map>
#include <set>
#include <sys/types.h>

namespace bulkhead::os {

struct file_id {
    dev_t device;
    ino_t inode;
    friend auto operator<=>(const file_id&, const file_id&) = default;
};

/// Notes on an open file that it is in use, for as long as somebody has this descriptor or a copy of it: for
/// those who may not look into /proc/PID of who has it (another user, a process that is not dumpable). A lock of
/// an open file description (fcntl(2)) on a byte that nobody writes; without it, nothing but that is lost.
void mark_use(int fd) noexcept;
/// Whether a description other than `fd`'s has been marked so.
[[nodiscard]] bool is_marked(int fd) noexcept;

/// Of `files`, those that are in use, and by whom. Processes that this user may not look into (another
/// user's) are not seen; nor are those of other PID namespaces.
[[nodiscard]] std::map<file_id, std::set<pid_t>> users_of(const std::set<file_id>& files);

}  // namespace bulkhead::os
