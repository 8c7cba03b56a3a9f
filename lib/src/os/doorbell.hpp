// An eventfd that one side rings and the other sleeps on.
#pragma once

#include "os/fd.hpp"

namespace bulkhead::os {

/// Throws bulkhead::error.
[[nodiscard]] unique_fd make_doorbell();
/// Wakes whoever waits for the descriptor to become readable. Never blocks.
void ring(int doorbell) noexcept;
/// Takes all rings so far. Never blocks.
void silence(int doorbell) noexcept;

}  // namespace bulkhead::os
