// Memory that several processes map: anonymous (found through its descriptor, gone with the last
// holder) or under a name in /dev/shm (stays until removed). Names are checked by the caller.
#pragma once

#include "os/fd.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace boost::interprocess {
class mapped_region;
}

namespace bulkhead::os {

/// Where named memory lives.
inline constexpr const char* shared_memory_directory = "/dev/shm";

/// A mapped piece of shared memory and its descriptor, which is close-on-exec and stays open as long
/// as the mapping: another process may be pointed to it. Every failure throws bulkhead::error naming
/// `what` ("queue 'jobs'").
class shared_segment {
public:
    shared_segment(shared_segment&&) noexcept;
    shared_segment& operator=(shared_segment&&) noexcept;
    ~shared_segment();

    /// All zero, without a name. Sparse: costs what is written to. Its size is sealed, so a peer
    /// cannot make an access fail by shrinking it.
    [[nodiscard]] static shared_segment create_anonymous(std::size_t bytes,
                                                         const std::string& what);

    /// All zero, wholly allocated (a full /dev/shm is an error here, never SIGBUS later), and not
    /// yet visible: nothing of it stays if the creator dies before publish().
    [[nodiscard]] static shared_segment create_unpublished(std::size_t bytes,
                                                           const std::string& what);

    /// Gives memory of create_unpublished its path, in one step. False when the path is taken.
    [[nodiscard]] bool publish(const std::string& path, const std::string& what) const;

    /// Maps what lies at `path`; nullopt when there is nothing. Refuses what is no regular file, is
    /// another user's, may be opened by others, or is smaller than `bytes_min`.
    [[nodiscard]] static std::optional<shared_segment> open(const std::string& path,
                                                            std::size_t bytes_min,
                                                            const std::string& what);

    /// Maps what descriptor `fd` of process `pid` refers to, with the checks of open().
    /// `must_be_sealed` (for what create_anonymous made): also refuses memory that can be shrunk.
    [[nodiscard]] static shared_segment open_of_process(int pid, int fd, std::size_t bytes_min,
                                                        bool must_be_sealed,
                                                        const std::string& what);

    /// Maps what another process has sent: sealed memory, as of create_anonymous.
    [[nodiscard]] static shared_segment open_sent(unique_fd fd, std::size_t bytes_min,
                                                  const std::string& what);

    [[nodiscard]] std::byte* data() const noexcept;
    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

private:
    shared_segment(unique_fd fd, std::size_t bytes, const std::string& what);
    static shared_segment adopt(unique_fd fd, std::size_t bytes_min, const std::string& what);

    unique_fd fd_;
    std::unique_ptr<boost::interprocess::mapped_region> region_;
};

/// Takes the path away; who has the memory mapped keeps it. False when there was nothing.
bool remove_path(const std::string& path, const std::string& what);

/// The inode of this process's PID namespace; 0 when it cannot be told.
[[nodiscard]] unsigned long long pid_namespace() noexcept;

}  // namespace bulkhead::os
