// memfd_create, its seals and mmap.
#include "os/memfd.hpp"

#include <bulkhead/error.hpp>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

namespace bulkhead::os {

mapping::mapping(mapping&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

mapping& mapping::operator=(mapping&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

mapping::~mapping() {
    if (address_ != nullptr) ::munmap(address_, bytes_);
}

namespace {

[[noreturn]] void refuse(const char* what, std::size_t bytes, const std::string& why) {
    throw error(std::string("bulkhead: cannot make shared memory of ") + std::to_string(bytes) +
                " bytes for " + what + ": " + why);
}

unique_fd make_unsealed(const char* what, std::size_t bytes) {
    if (exceeds_file_limit(bytes)) {
        refuse(what, bytes, "the limit of file sizes (ulimit -f) is less");
    }
    unique_fd fd(::memfd_create(what, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
        refuse(what, bytes, errno_text(errno));
    }
    return above_stdio(std::move(fd));
}

mapping map(int fd, std::size_t bytes, int protection, const char* what) {
    void* address = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED) {
        throw error(std::string("bulkhead: cannot map ") + std::to_string(bytes) +
                    " bytes of shared memory for " + what + ": " + errno_text(errno));
    }
    return {address, bytes};
}

constexpr int size_seals = F_SEAL_SHRINK | F_SEAL_GROW;

}  // namespace

unique_fd make_memfd(const char* what, std::size_t bytes) {
    auto fd = make_unsealed(what, bytes);
    if (::fcntl(fd.get(), F_ADD_SEALS, size_seals | F_SEAL_SEAL) != 0) {
        refuse(what, bytes, errno_text(errno));
    }
    return fd;
}

mapping map_shared(int fd, std::size_t bytes, const char* what) {
    return map(fd, bytes, PROT_READ | PROT_WRITE, what);
}

own_memory make_own_memory(const char* what, std::size_t bytes) {
    auto fd = make_unsealed(what, bytes);
    auto memory = map_shared(fd.get(), bytes, what);
    if (::fcntl(fd.get(), F_ADD_SEALS, size_seals | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0 &&
        ::fcntl(fd.get(), F_ADD_SEALS, size_seals | F_SEAL_SEAL) != 0) {
        refuse(what, bytes, errno_text(errno));
    }
    return {std::move(fd), std::move(memory)};
}

mapping map_to_read(int fd, std::size_t bytes, const char* what) {
    return map(fd, bytes, PROT_READ, what);
}

bool is_sealed_memory(int fd, std::size_t bytes) noexcept {
    const int seals = ::fcntl(fd, F_GET_SEALS);
    struct statfs system {};
    struct stat info {};
    // Of tmpfs: an access to huge pages may fail where there is none left.
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && ::fstatfs(fd, &system) == 0 &&
           system.f_type == TMPFS_MAGIC && ::fstat(fd, &info) == 0 &&
           static_cast<std::size_t>(info.st_size) >= bytes;
}

}  // namespace bulkhead::os
