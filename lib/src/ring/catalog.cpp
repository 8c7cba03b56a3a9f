// Looks through /dev/shm. Nothing is mapped and no lock is taken, so neither a damaged object nor a stopped
// process can harm or keep the one who looks.
#include <bulkhead/detail/catalog.hpp>

#include "os/fd.hpp"
#include "os/file_users.hpp"
#include "ring/object_account.hpp"
#include "ring/object_name.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <tuple>
#include <unistd.h>

namespace bulkhead::detail {
namespace {

using ring::object_kind;

/// "bulkhead-1000-queue-jobs".
bool parse_file_name(const std::string& file, object_report& to) {
    if (!file.starts_with(ring::file_prefix)) return false;
    const auto owner_end = file.find('-', ring::file_prefix.size());
    if (owner_end == std::string::npos || owner_end == ring::file_prefix.size()) return false;
    const std::string rest = file.substr(owner_end + 1);
    for (std::uint32_t kind = 1; kind <= static_cast<std::uint32_t>(ring::object_kind_last);
         ++kind) {
        const std::string text = ring::to_string(static_cast<object_kind>(kind));
        if (!rest.starts_with(text + "-")) continue;
        to.kind = text;
        to.name = rest.substr(text.size() + 1);
        return !to.name.empty();
    }
    return false;
}

/// Memory aligned as a mapping is.
struct alignas(64) line {
    std::byte bytes[64];
};

void look_into(int fd, object_report& to) {
    ring::object_header header{};
    if (::pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
        to.trouble = "it is too short to be one";
        return;
    }
    to.trouble = complaint_about(header, to.bytes);
    if (header.pid_namespace != os::pid_namespace()) to.users_known = false;
    if (!to.trouble.empty()) return;
    if (ring::to_string(header.kind) != to.kind) {
        to.trouble = std::string("it is a ") + ring::to_string(header.kind);
        return;
    }
    to.holds = type_name_in(header);
    const std::size_t wanted =
        std::min<std::size_t>(to.bytes - sizeof header, ring::account_bytes_max);
    const auto body = std::make_unique<line[]>(wanted / sizeof(line) + 1);
    const ssize_t got = ::pread(fd, body.get(), wanted, sizeof header);
    if (got < 0) return;
    const auto account = account_of(header.kind, {reinterpret_cast<const std::byte*>(body.get()),
                                                  static_cast<std::size_t>(got)});
    to.details = account.details;
    for (const os::life who : account.processes) {
        if (!os::process_lives(who, os::look::thorough)) to.dead.push_back(os::id_of(who));
    }
    for (const os::life who : account.threads) {
        if (!os::thread_lives(who, os::look::thorough)) to.dead.push_back(os::id_of(who));
    }
}

std::chrono::seconds age_of(const std::string& path, const struct stat& about) {
    struct statx more {};
    timespec since = about.st_ctim;
    if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BTIME, &more) == 0 &&
        (more.stx_mask & STATX_BTIME) != 0) {
        since.tv_sec = static_cast<time_t>(more.stx_btime.tv_sec);
    }
    return std::max(std::chrono::seconds(0), std::chrono::seconds(::time(nullptr) - since.tv_sec));
}

os::unique_fd open_to_look(const std::string& path) {
    return os::unique_fd(
        ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
}

struct found_object {
    object_report report;
    os::file_id id{};
    bool marked = false;  ///< as in use
};

/// False when it has gone, or is none.
bool report_on(const std::string& file, found_object& found) {
    object_report& to = found.report;
    if (!parse_file_name(file, to)) return false;
    to.path = std::string(os::shared_memory_directory) + "/" + file;
    const os::unique_fd fd = open_to_look(to.path);
    const int failure = errno;
    struct stat about {};
    const bool there = fd ? ::fstat(fd.get(), &about) == 0 : ::lstat(to.path.c_str(), &about) == 0;
    if (!there || !S_ISREG(about.st_mode)) return false;
    found.id = {about.st_dev, about.st_ino};
    to.owner = about.st_uid;
    to.bytes = static_cast<std::uint64_t>(about.st_size);
    to.age = age_of(to.path, about);
    if (about.st_uid != ::geteuid()) to.users_known = ::geteuid() == 0;
    if (fd) {
        found.marked = os::is_marked(fd.get());
        look_into(fd.get(), to);
    } else {
        to.trouble = os::errno_text(failure);
    }
    return true;
}

std::vector<std::string> file_names() {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(os::shared_memory_directory),
                                                        ::closedir);
    if (directory == nullptr) {
        throw error(std::string("bulkhead: cannot look into ") + os::shared_memory_directory +
                    ": " + os::errno_text(errno));
    }
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(directory.get())) names.emplace_back(entry->d_name);
    return names;
}

[[noreturn]] void fail_to_remove(const object_report& which, int cause) {
    throw error("bulkhead: cannot remove " + which.kind + " '" + which.name + "' (" + which.path +
                "): " + os::errno_text(cause));
}

/// By others than who asks, which has nothing of it open.
bool is_used(const std::string& path, const os::file_id& id) {
    const auto is_marked = [&] {
        const auto fd = open_to_look(path);  // not open any more when its users are looked for
        return fd && os::is_marked(fd.get());
    };
    return is_marked() || !os::users_of({id}).empty();
}

}  // namespace

std::vector<object_report> list_objects() {
    std::vector<found_object> all;
    std::set<os::file_id> ids;
    for (const auto& file : file_names()) {
        found_object one;
        if (!report_on(file, one)) continue;
        ids.insert(one.id);
        all.push_back(std::move(one));
    }
    const auto users = os::users_of(ids);
    std::vector<object_report> reports;
    for (auto& one : all) {
        const auto by = users.find(one.id);
        if (by != users.end()) {
            one.report.attached = {by->second.begin(), by->second.end()};
        } else if (one.marked) {
            one.report.users_known = false;  // processes that may not be looked into
        }
        reports.push_back(std::move(one.report));
    }
    std::sort(reports.begin(), reports.end(), [](const auto& left, const auto& right) {
        return std::tie(left.name, left.kind, left.owner) <
               std::tie(right.name, right.kind, right.owner);
    });
    return reports;
}

bool remove_object(const object_report& which) {
    if (::unlink(which.path.c_str()) == 0) return true;
    if (errno != ENOENT) fail_to_remove(which, errno);
    return false;
}

removal remove_unused_object(const object_report& which) {
    if (!which.users_known) return removal::in_use;
    // Its name is taken aside first, so that nobody can begin to use it after the look at its users, and is
    // put back if somebody had begun before.
    struct stat about {};
    if (::lstat(which.path.c_str(), &about) != 0) return removal::gone;
    const os::file_id id{about.st_dev, about.st_ino};
    if (is_used(which.path, id)) return removal::in_use;
    const std::string aside = which.path + ".removing-" + std::to_string(::getpid());
    if (::rename(which.path.c_str(), aside.c_str()) != 0) {
        if (errno == ENOENT) return removal::gone;
        fail_to_remove(which, errno);
    }
    const bool is_the_same =
        ::lstat(aside.c_str(), &about) == 0 && os::file_id{about.st_dev, about.st_ino} == id;
    if (!is_the_same || is_used(aside, id)) {
        // Where another has come to that name meanwhile, this one lives on without it.
        if (::syscall(SYS_renameat2, AT_FDCWD, aside.c_str(), AT_FDCWD, which.path.c_str(),
                      RENAME_NOREPLACE) != 0) {
            ::unlink(aside.c_str());
        }
        return removal::in_use;
    }
    if (::unlink(aside.c_str()) != 0) fail_to_remove(which, errno);
    return removal::removed;
}

}  // namespace bulkhead::detail
