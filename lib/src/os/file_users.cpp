// From /proc/PID/maps and /proc/PID/fd, see proc_pid_maps(5).
#include "os/file_users.hpp"

#include "os/procfs.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace bulkhead::os {
namespace {

namespace fs = std::filesystem;

/// "7f00-7f01 rw-s 00000000 00:1b 1234   /dev/shm/name"
file_id mapped_file(const std::string& line) {
    std::istringstream words(line);
    std::string range;
    std::string permissions;
    std::string offset;
    std::string device;
    ino_t inode = 0;
    words >> range >> permissions >> offset >> device >> inode;
    char* colon = nullptr;
    const auto major = static_cast<unsigned>(std::strtoul(device.c_str(), &colon, 16));
    const bool has_minor = colon != nullptr && *colon == ':';
    const auto minor = has_minor ? static_cast<unsigned>(std::strtoul(colon + 1, nullptr, 16)) : 0U;
    return {::makedev(major, minor), inode};
}

constexpr off_t mark_at = off_t{1} << 62;

struct flock mark(short type) noexcept {
    struct flock what {};
    what.l_type = type;
    what.l_whence = SEEK_SET;
    what.l_start = mark_at;
    what.l_len = 1;
    return what;
}

}  // namespace

void mark_use(int fd) noexcept {
    auto what = mark(F_RDLCK);
    (void)::fcntl(fd, F_OFD_SETLK, &what);
}

bool is_marked(int fd) noexcept {
    auto what = mark(F_WRLCK);
    return ::fcntl(fd, F_OFD_GETLK, &what) == 0 && what.l_type != F_UNLCK;
}

std::map<file_id, std::set<pid_t>> users_of(const std::set<file_id>& files) {
    std::map<file_id, std::set<pid_t>> users;
    if (files.empty()) return users;
    for (const pid_t pid : ids_in("/proc")) {
        const fs::path process = "/proc/" + std::to_string(pid);
        const auto note = [&](const file_id& file) {
            if (files.contains(file)) users[file].insert(pid);
        };
        std::ifstream maps(process / "maps");
        for (std::string line; std::getline(maps, line);) note(mapped_file(line));
        for (const int descriptor : ids_in(process / "fd")) {
            struct stat about {};
            const fs::path file = process / "fd" / std::to_string(descriptor);
            if (::stat(file.c_str(), &about) == 0) note({about.st_dev, about.st_ino});
        }
    }
    return users;
}

}  // namespace bulkhead::os
