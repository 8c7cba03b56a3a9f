// socketpair, with flags that hold for each call.
#include "os/doorbell.hpp"

#include <bulkhead/error.hpp>

#include <cerrno>
#include <sys/socket.h>

namespace bulkhead::os {

std::pair<unique_fd, unique_fd> make_doorbell() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        throw error("bulkhead: cannot make a socket pair for a worker: " + errno_text(errno));
    }
    return {above_stdio(unique_fd(ends[0])), above_stdio(unique_fd(ends[1]))};
}

void ring(int end) noexcept {
    const char one = 1;
    // EAGAIN means that it is full of rings not yet heard: just as good.
    [[maybe_unused]] const auto sent = ::send(end, &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool silence(int end) noexcept {
    char rings[256];
    const auto taken = ::recv(end, rings, sizeof rings, MSG_DONTWAIT);
    return taken > 0 || (taken < 0 && (errno == EAGAIN || errno == EINTR));
}

}  // namespace bulkhead::os
