// Shared memory by O_TMPFILE and linkat, or memfd_create; mapped by Boost.Interprocess. What the
// memory means is left to the layer above.
#include "os/shared_memory.hpp"

#include "os/memfd.hpp"

#include "os/file_users.hpp"

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <bulkhead/error.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>

namespace bulkhead::os {
namespace {

namespace bip = boost::interprocess;

constexpr mode_t owner_only = S_IRUSR | S_IWUSR;
constexpr off_t fallocate_piece = off_t{1} << 20;

/// What mapped_region wants to be constructed from.
struct mappable {
    int fd;
    [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
};

/// A call that a signal comes in between is undone as a whole by kernels before 6.11, again and again. Only then: of one that
/// can never be fulfilled the kernel says so at once, without an attempt.
int allocate_in_pieces(int fd, off_t size) noexcept {
    for (off_t at = 0; at < size; at += fallocate_piece) {
        int error = EINTR;
        while (error == EINTR) {
            error = ::posix_fallocate(fd, at, std::min(fallocate_piece, size - at));
        }
        if (error != 0) return error;
    }
    return 0;
}

[[noreturn]] void fail(const std::string& action, const std::string& what, int error,
                       const std::string& advice = "") {
    throw bulkhead::error("bulkhead: cannot " + action + " " + what + ": " + errno_text(error) +
                          advice);
}

[[noreturn]] void fail_full(std::size_t bytes, const std::string& what) {
    struct statvfs space {};
    std::string figures;
    if (::statvfs(shared_memory_directory, &space) == 0) {
        const auto block_bytes = static_cast<unsigned long long>(space.f_frsize);
        figures = ", of whose " + std::to_string(space.f_blocks * block_bytes) + " bytes " +
                  std::to_string(space.f_bavail * block_bytes) + " are free";
    }
    throw bulkhead::error("bulkhead: cannot create " + what + ": it needs " +
                          std::to_string(bytes) + " bytes of " + shared_memory_directory + figures +
                          ": ask for less, or enlarge " + shared_memory_directory +
                          " (docker: --shm-size)");
}

off_t file_size(std::size_t bytes, const std::string& what) {
    const auto size = static_cast<off_t>(bytes);
    if (size < 0 || static_cast<std::size_t>(size) != bytes) fail("create", what, EFBIG);
    if (exceeds_file_limit(bytes)) {
        fail("create", what, EFBIG, "; it is more than the limit of file sizes (ulimit -f) allows");
    }
    return size;
}

/// Pages are taken as they are touched; what there can never be is refused, as the kernel does for private
/// memory (Documentation/mm/overcommit-accounting, mode 0: "obvious overcommits").
std::uint64_t memory_and_swap_bytes() noexcept {
    struct sysinfo about {};
    if (::sysinfo(&about) != 0) return ~std::uint64_t{0};
    return (std::uint64_t{about.totalram} + about.totalswap) * about.mem_unit;
}

/// What another process says is memory of create_anonymous().
void refuse_unless_as_created(int fd, const std::string& what) {
    struct stat about {};
    if (!is_sealed_memory(fd, 0) || ::fstat(fd, &about) != 0) {
        throw bulkhead::error("bulkhead: " + what +
                              " is no shared memory, or could be shrunk by its sender; refused");
    }
    if (static_cast<std::uint64_t>(about.st_size) > memory_and_swap_bytes()) {
        throw bulkhead::error("bulkhead: " + what + " has " + std::to_string(about.st_size) +
                              " bytes, more than this machine has memory; refused");
    }
}

}  // namespace

shared_segment::shared_segment(shared_segment&&) noexcept = default;
shared_segment& shared_segment::operator=(shared_segment&&) noexcept = default;
shared_segment::~shared_segment() = default;

shared_segment::shared_segment(unique_fd fd, std::size_t bytes, const std::string& what)
    : fd_(std::move(fd)) {
    try {
        region_ =
            std::make_unique<bip::mapped_region>(mappable{fd_.get()}, bip::read_write, 0, bytes);
    } catch (const bip::interprocess_exception& failure) {
        fail("map", what, failure.get_native_error());
    }
}

std::byte* shared_segment::data() const noexcept {
    return static_cast<std::byte*>(region_->get_address());
}

std::size_t shared_segment::size() const noexcept { return region_->get_size(); }

shared_segment shared_segment::create_anonymous(std::size_t bytes, const std::string& what) {
    const off_t size = file_size(bytes, what);
    if (const auto there = memory_and_swap_bytes(); bytes > there) {
        throw bulkhead::error("bulkhead: cannot create " + what + ": it needs " +
                              std::to_string(bytes) + " bytes, and this machine has " +
                              std::to_string(there) + " of memory and swap");
    }
    unique_fd fd =
        above_stdio(unique_fd(::memfd_create("bulkhead", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
    if (!fd) fail("create", what, errno);
    if (::ftruncate(fd.get(), size) != 0) fail("create", what, errno);
    if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        fail("seal", what, errno);
    }
    return {std::move(fd), bytes, what};
}

shared_segment shared_segment::create_unpublished(std::size_t bytes, const std::string& what) {
    const off_t size = file_size(bytes, what);
    unique_fd fd = above_stdio(
        unique_fd(::open(shared_memory_directory, O_TMPFILE | O_RDWR | O_CLOEXEC, owner_only)));
    if (!fd) {
        const std::string place = std::string(" in ") + shared_memory_directory;
        if (errno == ENOENT || errno == ENOTDIR) {
            throw bulkhead::error("bulkhead: cannot create " + what + place +
                                  ": there is no such directory; mount a tmpfs there");
        }
        if (errno == ENOSPC) fail_full(bytes, what);
        fail("create", what + place, errno);
    }
    // The umask is not asked: nobody but the owner, and the owner always.
    if (::fchmod(fd.get(), owner_only) != 0) fail("create", what, errno);
    int error = ::posix_fallocate(fd.get(), 0, size);
    if (error == EINTR) error = allocate_in_pieces(fd.get(), size);
    if (error == ENOSPC) {
        fd.reset();  // or it would be told as full with what this one holds
        fail_full(bytes, what);
    }
    if (error != 0) fail("create", what, error);
    mark_use(fd.get());
    return {std::move(fd), bytes, what};
}

bool shared_segment::publish(const std::string& path, const std::string& what) const {
    const std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        return true;
    }
    if (errno == EEXIST) return false;
    fail("create", what + " as " + path, errno,
         errno == ENOENT ? " (it needs /proc to be mounted)" : "");
}

std::optional<shared_segment> shared_segment::open(const std::string& path, std::size_t bytes_min,
                                                   const std::string& what) {
    // O_NONBLOCK: something other than a file must not make the open wait.
    unique_fd fd = above_stdio(
        unique_fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)));
    if (fd) {
        mark_use(fd.get());
        return adopt(std::move(fd), bytes_min, what);
    }
    if (errno == ENOENT) return std::nullopt;
    fail("open", what + " (" + path + ")", errno,
         errno == EACCES ? "; it belongs to another user, or its permissions were changed" : "");
}

shared_segment shared_segment::open_sent(unique_fd fd, std::size_t bytes_min,
                                         const std::string& what) {
    refuse_unless_as_created(fd.get(), what);
    return adopt(above_stdio(std::move(fd)), bytes_min, what);
}

shared_segment shared_segment::open_of_process(int pid, int fd, std::size_t bytes_min,
                                               bool must_be_sealed, const std::string& what) {
    const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
    struct stat about {};
    if (::stat(path.c_str(), &about) != 0) {
        const int cause = errno;
        fail(
            "reach", what + " of process " + std::to_string(pid), cause,
            cause == EACCES
                ? "; the kernel shows nobody what a process holds that has changed its user, or is "
                  "not dumpable (PR_SET_DUMPABLE): give the object a name"
                : "; the process that sent it must live, and hold it, until it has been received, "
                  "and of a task's result this process must have a descriptor free for it "
                  "(ulimit -n)");
    }
    // Opening a device or a pipe can have effects of its own.
    if (!S_ISREG(about.st_mode)) {
        throw bulkhead::error("bulkhead: " + what + " of process " + std::to_string(pid) +
                              " is not shared memory");
    }
    unique_fd opened =
        above_stdio(unique_fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)));
    if (!opened) fail("open", what + " of process " + std::to_string(pid), errno);
    if (must_be_sealed) {
        refuse_unless_as_created(opened.get(), what + " of process " + std::to_string(pid));
    }
    return adopt(std::move(opened), bytes_min, what);
}

shared_segment shared_segment::adopt(unique_fd fd, std::size_t bytes_min, const std::string& what) {
    struct stat about {};
    if (::fstat(fd.get(), &about) != 0) fail("open", what, errno);
    const auto refuse = [&](const std::string& why) {
        throw bulkhead::error("bulkhead: cannot open " + what + ": " + why);
    };
    if (!S_ISREG(about.st_mode)) refuse("it is not a file in shared memory");
    if (about.st_uid != ::geteuid()) {
        refuse("it belongs to user " + std::to_string(about.st_uid) + ", not to user " +
               std::to_string(::geteuid()));
    }
    if ((about.st_mode & (S_IRWXG | S_IRWXO)) != 0 && about.st_nlink != 0) {
        refuse("its permissions let other users in");
    }
    const auto bytes = static_cast<std::size_t>(about.st_size);
    if (bytes < bytes_min) {
        refuse("it has " + std::to_string(bytes) + " bytes, too few to be one (cut short?)");
    }
    return {std::move(fd), bytes, what};
}

bool remove_path(const std::string& path, const std::string& what) {
    if (::unlink(path.c_str()) == 0) return true;
    if (errno == ENOENT) return false;
    fail("remove", what + " (" + path + ")", errno);
}

unsigned long long pid_namespace() noexcept {
    struct stat about {};
    return ::stat("/proc/self/ns/pid", &about) == 0 ? about.st_ino : 0;
}

}  // namespace bulkhead::os
