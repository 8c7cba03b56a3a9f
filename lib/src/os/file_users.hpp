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

/// Of `files`, those that are in use, and by whom. Processes that this user may not look into (another
/// user's) are not seen; nor are those of other PID namespaces.
[[nodiscard]] std::map<file_id, std::set<pid_t>> users_of(const std::set<file_id>& files);

}  // namespace bulkhead::os
