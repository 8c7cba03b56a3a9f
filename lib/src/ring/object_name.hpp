// The name a user gives an object, and the path it has in /dev/shm.
#pragma once

#include "ring/shared_object.hpp"

#include <string>
#include <string_view>

namespace bulkhead::ring {

/// Bytes of a name; with what stands before it, it still is a file name.
inline constexpr std::size_t name_bytes_max = 200;

/// How the names of all files begin.
inline constexpr std::string_view file_prefix = "bulkhead-";

class object_name {
public:
    /// Throws usage_error for a name that is empty, too long, or holds '/' or a zero byte.
    object_name(object_kind kind, const std::string& name);

    /// "/dev/shm/bulkhead-1000-queue-jobs".
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    /// "queue 'jobs'".
    [[nodiscard]] const std::string& description() const noexcept { return description_; }

private:
    std::string path_;
    std::string description_;
};

}  // namespace bulkhead::ring
