// The lifeline: a socket pair that ties a worker to its parent. Its end-of-file is the parent's death
// (or wish to part); descriptors of large payloads travel over it.
#pragma once

#include "os/fd.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace bulkhead::os {

/// SOCK_SEQPACKET, close-on-exec. Throws bulkhead::error.
[[nodiscard]] std::pair<unique_fd, unique_fd> make_lifeline();

enum class send_result : std::uint8_t { sent, full, gone };

/// Sends `fd` marked with `tag`. With `block` false gives `full` instead of waiting.
[[nodiscard]] send_result send_fd(int socket, int fd, std::uint64_t tag, bool block) noexcept;

struct received_fd {
    unique_fd fd;
    std::uint64_t tag = 0;
};
/// The next one's tag, if one has arrived; it stays there.
[[nodiscard]] std::optional<std::uint64_t> next_tag(int socket) noexcept;
/// The next one that has arrived, if any; never waits. Without a descriptor when this process had
/// none free. Messages of another form are dropped.
[[nodiscard]] std::optional<received_fd> receive_fd(int socket) noexcept;

}  // namespace bulkhead::os
