// eventfd calls.
#include "os/doorbell.hpp"

#include <bulkhead/error.hpp>

#include <cstdint>
#include <sys/eventfd.h>

namespace bulkhead::os {

unique_fd make_doorbell() {
    unique_fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) throw error("bulkhead: cannot make an eventfd: " + errno_text(errno));
    return above_stdio(std::move(fd));
}

void ring(int doorbell) noexcept {
    const std::uint64_t one = 1;
    // EAGAIN means that the counter is full of rings not yet heard: just as good.
    [[maybe_unused]] const auto written = ::write(doorbell, &one, sizeof one);
}

void silence(int doorbell) noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto taken = ::read(doorbell, &count, sizeof count);
}

}  // namespace bulkhead::os
