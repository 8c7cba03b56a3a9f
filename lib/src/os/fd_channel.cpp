// socketpair, SCM_RIGHTS.
#include "os/fd_channel.hpp"

#include <bulkhead/error.hpp>

#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

namespace bulkhead::os {

namespace {

constexpr std::size_t control_bytes_max = CMSG_SPACE(fds_per_message_max * sizeof(int));

/// Those of a message that was received.
void adopt_fds(const msghdr& message, std::vector<unique_fd>& to) {
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        return;
    }
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const auto fd_at = [&](std::size_t i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        return fd;
    };
    // A socket with unsent bytes in it could make the closing of it wait (SO_LINGER).
    constexpr linger at_once{1, 0};
    for (std::size_t i = 0; i != count; ++i) {
        (void)::setsockopt(fd_at(i), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    try {
        to.reserve(count);
    } catch (...) {
        for (std::size_t i = 0; i != count; ++i) ::close(fd_at(i));
        throw;
    }
    for (std::size_t i = 0; i != count; ++i) to.emplace_back(fd_at(i));
}

/// Whether to receive again. A peer that ends with messages unread leaves ECONNRESET, which the next
/// call reports and clears, whatever that peer had sent before (net/unix/af_unix.c, unix_release_sock).
bool is_passing(int cause) noexcept { return cause == EINTR || cause == ECONNRESET; }

}  // namespace

std::pair<unique_fd, unique_fd> make_lifeline() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        throw error("bulkhead: cannot make a socket pair for a worker: " + errno_text(errno));
    }
    return {above_stdio(unique_fd(ends[0])), above_stdio(unique_fd(ends[1]))};
}

send_result send_fds(int socket, std::span<const int> fds, std::uint64_t tag, bool block) noexcept {
    iovec part{&tag, sizeof tag};
    alignas(cmsghdr) char control[control_bytes_max]{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    while (true) {
        if (::sendmsg(socket, &message, MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT)) >= 0) {
            return send_result::sent;
        }
        if (errno == EINTR) continue;
        // ETOOMANYREFS: too many descriptors are under way in this user's sockets.
        if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS) {
            return send_result::full;
        }
        const bool is_gone = errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN;
        return is_gone ? send_result::gone : send_result::refused;
    }
}

std::optional<std::uint64_t> next_tag(int socket) noexcept {
    std::uint64_t tag = 0;
    while (true) {
        const auto bytes = ::recv(socket, &tag, sizeof tag, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
        if (bytes >= 0) return bytes == sizeof tag ? tag : strange_tag;
        if (!is_passing(errno)) return std::nullopt;
    }
}

std::optional<received_fds> receive_fds(int socket) {
    received_fds got;
    iovec part{&got.tag, sizeof got.tag};
    alignas(cmsghdr) char control[control_bytes_max];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    while (true) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const auto bytes = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (bytes < 0 && is_passing(errno)) continue;
        if (bytes < 0) return std::nullopt;
        const bool was_there = bytes != 0 || message.msg_controllen != 0;
        if (!was_there) return std::nullopt;  // an end of file, or as good as one
        adopt_fds(message, got.fds);
        got.cut_off = (message.msg_flags & MSG_CTRUNC) != 0;
        if (bytes != sizeof got.tag || (message.msg_flags & MSG_TRUNC) != 0) {
            got.tag = strange_tag;
            got.fds.clear();
        }
        return got;
    }
}

}  // namespace bulkhead::os
