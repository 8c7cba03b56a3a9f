// socketpair, SCM_RIGHTS.
#include "os/fd_channel.hpp"

#include <bulkhead/error.hpp>

#include <cstring>
#include <sys/socket.h>

namespace bulkhead::os {

namespace {

/// A peer that sends nothing else would keep the receiver for ever.
constexpr int strange_messages_max = 1000;

}  // namespace

std::pair<unique_fd, unique_fd> make_lifeline() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        throw error("bulkhead: cannot make a socket pair for a worker: " + errno_text(errno));
    }
    return {above_stdio(unique_fd(ends[0])), above_stdio(unique_fd(ends[1]))};
}

send_result send_fd(int socket, int fd, std::uint64_t tag, bool block) noexcept {
    iovec part{&tag, sizeof tag};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    while (true) {
        if (::sendmsg(socket, &message, MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT)) >= 0) {
            return send_result::sent;
        }
        if (errno == EINTR) continue;
        // ETOOMANYREFS: too many descriptors are under way in this user's sockets.
        if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS) {
            return send_result::full;
        }
        return send_result::gone;
    }
}

std::optional<std::uint64_t> next_tag(int socket) noexcept {
    std::uint64_t tag = 0;
    while (true) {
        const auto bytes = ::recv(socket, &tag, sizeof tag, MSG_DONTWAIT | MSG_PEEK);
        if (bytes == sizeof tag) return tag;
        if (bytes >= 0 || errno != EINTR) return std::nullopt;
    }
}

std::optional<received_fd> receive_fd(int socket) noexcept {
    for (int i = 0; i != strange_messages_max; ++i) {
        received_fd got;
        iovec part{&got.tag, sizeof got.tag};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const auto bytes = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes <= 0) return std::nullopt;
        const cmsghdr* header = CMSG_FIRSTHDR(&message);
        if (header != nullptr && header->cmsg_level == SOL_SOCKET &&
            header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int))) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
            got.fd.reset(fd);
            if (bytes == sizeof got.tag) return got;
        } else if ((message.msg_flags & MSG_CTRUNC) != 0 && bytes == sizeof got.tag) {
            return got;  // the kernel had no descriptor for it
        }
    }
    return std::nullopt;
}

}  // namespace bulkhead::os
