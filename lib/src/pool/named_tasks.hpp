// What resolve() makes of an entry by name.
#pragma once

#include <bulkhead/task.hpp>

#include <cstdint>

namespace bulkhead::detail {

[[nodiscard]] task_entry named_entry_at(std::uint64_t offset) noexcept;

}  // namespace bulkhead::detail
