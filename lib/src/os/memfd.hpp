// Anonymous shared memory: a sealed memfd and its mapping.
#pragma once

#include "os/fd.hpp"

#include <cstddef>
#include <span>

namespace bulkhead::os {

/// A shared mapping, unmapped at the end.
class mapping {
public:
    mapping() = default;
    mapping(void* address, std::size_t bytes) noexcept
        : address_(static_cast<std::byte*>(address)), bytes_(bytes) {}
    mapping(mapping&& other) noexcept;
    mapping& operator=(mapping&& other) noexcept;
    ~mapping();

    [[nodiscard]] std::byte* data() const noexcept { return address_; }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_; }

private:
    std::byte* address_ = nullptr;
    std::size_t bytes_ = 0;
};

/// A new memfd of `bytes`, sealed against shrinking and growing, so that a peer cannot turn our reads
/// into SIGBUS. Pages are allocated as they are touched. Throws bulkhead::error naming `what`.
[[nodiscard]] unique_fd make_memfd(const char* what, std::size_t bytes);

/// Maps `bytes` of it shared, for reading and writing. Throws bulkhead::error naming `what`.
[[nodiscard]] mapping map_shared(int fd, std::size_t bytes, const char* what);

/// What the two make, but whoever gets the descriptor can only read (F_SEAL_FUTURE_WRITE; Linux 5.1).
struct own_memory {
    unique_fd fd;
    mapping memory;
};
[[nodiscard]] own_memory make_own_memory(const char* what, std::size_t bytes);
/// Maps `bytes` of what a peer made, for reading. Throws bulkhead::error naming `what`.
[[nodiscard]] mapping map_to_read(int fd, std::size_t bytes, const char* what);

/// True when `fd` is sealed memory of at least `bytes`: what is believed of one that a peer sent.
[[nodiscard]] bool is_sealed_memory(int fd, std::size_t bytes) noexcept;

}  // namespace bulkhead::os
