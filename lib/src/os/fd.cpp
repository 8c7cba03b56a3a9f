// errno as text, thread-safe.
#include "os/fd.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/resource.h>

namespace bulkhead::os {

std::string errno_text(int error) {
    const char* name = ::strerrorname_np(error);
    const char* text = ::strerrordesc_np(error);
    if (name == nullptr || text == nullptr) return "error " + std::to_string(error);
    return std::string(text) + " (" + name + ")";
}

bool exceeds_file_limit(std::uint64_t bytes) noexcept {
    rlimit limit{};
    return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           bytes > limit.rlim_cur;
}

std::uint64_t reserve_begin() noexcept {
    constexpr rlim_t reserve_max = 64;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return RLIM_INFINITY;
    return limit.rlim_cur - std::min(reserve_max, limit.rlim_cur / 4);
}

unique_fd above_stdio(unique_fd fd) {
    return fd && fd.get() <= STDERR_FILENO ? duplicate(fd.get()) : std::move(fd);
}

unique_fd duplicate(int fd) {
    unique_fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (!copy) throw error("bulkhead: cannot duplicate a descriptor: " + errno_text(errno));
    return copy;
}

}  // namespace bulkhead::os
