// bad_shm full|missing|readonly DIRECTORY: makes a pool and a named queue where /dev/shm is so, in a
// mount namespace of its own. Prints a result of the pool and the error. Exit code 77: not allowed to
// make a namespace.
#include <bulkhead/bulkhead.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

int square(int x) { return x * x; }

[[noreturn]] void skip(const char* call) {
    std::printf("skipped: %s: %s\n", call, std::strerror(errno));
    std::fflush(stdout);
    ::_exit(77);
}

void enter_namespace() {
    if (::unshare(CLONE_NEWNS) != 0) skip("unshare");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
        skip("mount --make-private");
}

void mount_shm(unsigned long flags, const char* options) {
    if (::mount("tmpfs", "/dev/shm", "tmpfs", flags, options) != 0) skip("mount /dev/shm");
}

/// A /dev that holds nothing but null.
void hide_shm(const fs::path& directory) {
    const fs::path device = directory / "null";
    ::close(::open(device.c_str(), O_CREAT | O_WRONLY, 0600));
    if (::mount("/dev/null", device.c_str(), nullptr, MS_BIND, nullptr) != 0) skip("mount null");
    if (::mount(directory.c_str(), "/dev", nullptr, MS_BIND | MS_REC, nullptr) != 0) {
        skip("mount /dev");
    }
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (argc < 3) return 2;
    const std::string mode = argv[1];
    enter_namespace();
    if (mode == "full") mount_shm(0, "size=16k");
    if (mode == "readonly") mount_shm(MS_RDONLY, nullptr);
    if (mode == "missing") hide_shm(argv[2]);
    try {
        bulkhead::process_pool pool(3);
        std::printf("%d\n", pool.submit(square, 7).get());
        const auto q = bulkhead::queue<int>::create("bad-shm", {.capacity_bytes = 1 << 20});
    } catch (const bulkhead::error& e) {
        std::printf("%s\n", e.what());
        return 3;
    }
    return 0;
}
