// What an object tells a tool of itself, from a copy of its memory that was read without its lock: numbers may
// be torn and are believed no further than to be printed.
#pragma once

#include "os/life.hpp"
#include "ring/robust_mutex.hpp"
#include "ring/shared_object.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace bulkhead::ring {

struct object_account {
    std::vector<std::pair<std::string, std::int64_t>> details;
    std::vector<os::life> processes;  ///< listed in it
    std::vector<os::life> threads;

    void add(const std::string& name, std::uint64_t value) {
        details.emplace_back(name, static_cast<std::int64_t>(value));
    }
    /// `whose`: of an object with several.
    void add_lock(const robust_mutex& lock, const std::string& whose = "");
};

/// `body`: the beginning of what follows the header, aligned as in the object itself.
[[nodiscard]] object_account account_of(object_kind kind, std::span<const std::byte> body);

/// No more than account_of() looks at.
inline constexpr std::size_t account_bytes_max = std::size_t{128} << 10;

/// How a kind does it; its layout is `bytes` large.
struct accountant {
    std::size_t bytes;
    void (*account)(const std::byte* body, object_account& to);
};
// Each in the file of its name.
extern const accountant queue_accountant;
extern const accountant guarded_accountant;
extern const accountant array_accountant;
extern const accountant map_accountant;

}  // namespace bulkhead::ring
