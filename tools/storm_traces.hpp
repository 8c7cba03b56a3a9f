// What a storm could leave behind on a machine.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

namespace bulkhead::tools {

/// Once, at first: this process's children and theirs are known by a variable of their environment.
void mark_descendants();
/// Living processes that inherited our mark.
[[nodiscard]] std::size_t descendants();

[[nodiscard]] std::size_t open_descriptors();

/// The library's, in /dev/shm.
[[nodiscard]] std::set<std::string> shm_names();
/// The names that were not there `before`, and still are at the time `until`. Other programs may make and
/// remove some of their own.
[[nodiscard]] std::set<std::string> names_that_stay(const std::set<std::string>& before,
                                                    std::chrono::steady_clock::time_point until);

/// Bytes that are allocated and not freed, in all arenas.
[[nodiscard]] std::int64_t heap_bytes();

}  // namespace bulkhead::tools
