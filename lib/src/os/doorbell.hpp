// A socket pair by which two processes wake each other: each sleeps on its end and rings through it.
// Not an eventfd, which both would share together with its blocking mode: with ends of their own, no
// side can make the other's calls block.
#pragma once

#include "os/fd.hpp"

#include <utility>

namespace bulkhead::os {

/// The two ends, close-on-exec. Throws bulkhead::error.
[[nodiscard]] std::pair<unique_fd, unique_fd> make_doorbell();
/// Makes the other end readable. Never blocks.
void ring(int end) noexcept;
/// Takes the rings so far; many of them may need several calls. Never blocks. False when the other
/// end is gone.
bool silence(int end) noexcept;

}  // namespace bulkhead::os
