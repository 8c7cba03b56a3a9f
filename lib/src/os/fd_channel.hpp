// The lifeline: a socket pair that ties a worker to its parent. Its end-of-file is the parent's death
// (or wish to part); descriptors of large payloads travel over it.
#pragma once

#include "os/fd.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace bulkhead::os {

/// SOCK_SEQPACKET, close-on-exec. Throws bulkhead::error.
[[nodiscard]] std::pair<unique_fd, unique_fd> make_lifeline();

enum class send_result : std::uint8_t {
    sent,
    full,
    gone,     // the other side
    refused,  // one of the descriptors is none, say; errno tells
};

/// In one message: SCM_MAX_FD of Linux.
inline constexpr std::size_t fds_per_message_max = 253;

/// Sends 1 to fds_per_message_max descriptors marked with `tag`, all or none. With `block` false gives `full`
/// instead of waiting.
[[nodiscard]] send_result send_fds(int socket, std::span<const int> fds, std::uint64_t tag,
                                   bool block) noexcept;

/// Of a message of another form than send_fds() gives it. No sender uses it.
inline constexpr std::uint64_t strange_tag = 0;

struct received_fds {
    std::vector<unique_fd> fds;
    std::uint64_t tag = strange_tag;
    bool cut_off = false;  // this process had too few descriptors free
};
/// The next message's tag, if one has arrived; it stays there. At the end of the file strange_tag, with no message
/// behind it.
[[nodiscard]] std::optional<std::uint64_t> next_tag(int socket) noexcept;
/// The next message that has arrived, if any; never waits, nor does closing what came. Throws std::bad_alloc, the
/// descriptors closed.
[[nodiscard]] std::optional<received_fds> receive_fds(int socket);

}  // namespace bulkhead::os
